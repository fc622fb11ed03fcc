"""omendb_client: stream vectors into omendb-server, search them in batches. See Client."""
from omendb_client.client import Client
from omendb_client.collection import METRICS, Collection
from omendb_client.errors import (
    Aborted,
    AlreadyExists,
    Cancelled,
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    OmenError,
    ResourceExhausted,
    Unavailable,
    Unimplemented,
)
from omendb_client.insert import InsertResult, InsertStream, ItemError, Progress
from omendb_client.search import PAD_DISTANCE, PAD_ID, SHORTFALLS, SearchResult

__all__ = [
    "METRICS", "PAD_DISTANCE", "PAD_ID", "SHORTFALLS", "Aborted", "AlreadyExists", "Cancelled",
    "Client", "Collection", "DataLoss", "DeadlineExceeded", "FailedPrecondition", "InsertResult",
    "InsertStream", "Internal", "InvalidArgument", "ItemError", "NotFound", "OmenError",
    "Progress", "ResourceExhausted", "SearchResult", "Unavailable", "Unimplemented",
]
__version__ = "0.1.0"

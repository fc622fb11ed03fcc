"""omendb_client: stream vectors into omendb-server, search them in batches. See Client."""
from omendb_client.client import Client
from omendb_client.collection import (METRICS, Calibration, Collection, MemoryEstimate,
                                      Validation)
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
from omendb_client.insert import InsertResult, InsertStream, Progress
from omendb_client.points import ItemError, ReadToken
from omendb_client.search import (
    PAD_DISTANCE,
    PAD_ID,
    SHORTFALLS,
    QueryError,
    QueryOptions,
    SearchResult,
)
from omendb_client.snapshot import Snapshot
from omendb_client.writes import DeleteResult, GetResult, UpsertResult

__all__ = [
    "METRICS", "PAD_DISTANCE", "PAD_ID", "SHORTFALLS", "Aborted", "AlreadyExists", "Cancelled",
    "Calibration", "Client", "Collection", "DataLoss", "DeadlineExceeded", "DeleteResult",
    "FailedPrecondition", "GetResult", "InsertResult", "InsertStream", "Internal",
    "InvalidArgument", "ItemError", "MemoryEstimate", "NotFound", "OmenError", "Progress",
    "QueryError", "QueryOptions", "ReadToken", "ResourceExhausted", "SearchResult", "Snapshot",
    "Unavailable", "Unimplemented", "UpsertResult", "Validation",
]
__version__ = "0.1.0"

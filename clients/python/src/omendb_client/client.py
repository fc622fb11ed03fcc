"""The client: one channel to one server, and the calls that a program makes."""
from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from omendb_client import collection as collections
from omendb_client import search as searching
from omendb_client import wire as wires
from omendb_client.collection import Collection
from omendb_client.errors import DeadlineExceeded, InvalidArgument, Unavailable
from omendb_client.insert import InsertResult, InsertStream, Progress, check_rows
from omendb_client.search import SearchResult
from omendb_client._proto import collection_pb2, vector_pb2

_READY_POLL_SECONDS = 0.05


def _deadline(timeout: float | None) -> float:
    return float("inf") if timeout is None else time.monotonic() + timeout


class Client:
    """A connection to a server: `Client("localhost:7420")`. A context manager; usable from
    several threads. `timeout` is that of every unary call, in seconds; None waits for ever."""

    def __init__(self, target: str = "localhost:7420", *, timeout: float | None = 30.0) -> None:
        self._wire = wires.Wire(target)
        self._timeout = timeout

    def close(self) -> None:
        self._wire.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- collections ------------------------------------------------------------------------

    def create_collection(self, name: str, dim: int, metric: str = "cosine", *, links: int = 0,
                          candidates: int = 0, probes: int = 0,
                          epoch_points: int = 0) -> Collection:
        """Creates a collection. `metric` is "cosine", "l2" (squared) or "ip"; a 0 elsewhere means
        the server's default. Raises AlreadyExists, InvalidArgument."""
        config = collection_pb2.CollectionConfig(
            dim=_unsigned("dim", dim),
            metric=collections.metric_value(metric),
            links=_unsigned("links", links),
            candidates=_unsigned("candidates", candidates),
            probes=_unsigned("probes", probes),
            epoch_points=_unsigned("epoch_points", epoch_points),
        )
        request = collection_pb2.CreateCollectionRequest(name=name, config=config)
        response = wires.call(self._wire.create_collection, request, self._timeout)
        return collections.from_message(response.collection)

    def get_collection(self, name: str, *, with_graph_hash: bool = False) -> Collection:
        """Raises NotFound. The graph's hash takes seconds for millions of points."""
        request = collection_pb2.GetCollectionRequest(name=name, with_graph_hash=with_graph_hash)
        response = wires.call(self._wire.get_collection, request, self._timeout)
        return collections.from_message(response.collection)

    def list_collections(self) -> list[Collection]:
        """All collections, by name."""
        request = collection_pb2.ListCollectionsRequest()
        response = wires.call(self._wire.list_collections, request, self._timeout)
        return [collections.from_message(message) for message in response.collections]

    def delete_collection(self, name: str) -> None:
        """Drops the collection and its files. Raises NotFound."""
        request = collection_pb2.DeleteCollectionRequest(name=name)
        wires.call(self._wire.delete_collection, request, self._timeout)

    # ---- insert -----------------------------------------------------------------------------

    def insert(self, collection: str, ids: ArrayLike, vectors: ArrayLike, *,
               wait: str = "searchable", progress: Callable[[Progress], None] | None = None,
               retry_seconds: float = 60.0, timeout: float | None = None) -> InsertResult:
        """Streams rows in: ids [n] of 0..2**64 - 1, vectors [n, dim] of any float type.

        Returns when everything is "searchable" or, with wait="durable", when it is on the server's
        disk. A row that the server refuses (its id exists, a component is NaN, ...) is in the
        result's `errors`; the others go in. `progress` is called on this thread whenever something
        moved. A broken connection is resumed for up to `retry_seconds` without progress; `timeout`
        bounds the wait after the last row was sent."""
        if wait not in ("durable", "searchable"):
            raise InvalidArgument(f"wait is {wait!r}, wanted 'durable' or 'searchable'")
        ids, vectors = check_rows(ids, vectors)
        total = len(ids)

        def tell(state: Progress) -> None:
            if progress is not None:
                progress(Progress(state.added, state.durable, state.searchable, state.errors,
                                  total))

        with self.insert_stream(collection, retry_seconds=retry_seconds) as stream:
            step = stream.chunk_points
            for begin in range(0, total, step):
                stream.add(ids[begin:begin + step], vectors[begin:begin + step])
                tell(stream.progress)
            stream.close(wait, timeout, tell)
            refused = stream.errors
        return InsertResult(total - len(refused), refused, stream.session_id, stream.log_position)

    def insert_stream(self, collection: str, *, session_id: bytes | None = None,
                      retry_seconds: float = 60.0) -> InsertStream:
        """A stream to add rows to as they come; see InsertStream."""
        return InsertStream(self._wire, collection, session_id=session_id,
                            retry_seconds=retry_seconds, timeout=self._timeout)

    # ---- search -----------------------------------------------------------------------------

    def search(self, collection: str, queries: ArrayLike, k: int = 10, *, ef: int | None = None,
               exact: bool = False, timeout: float | None = None) -> SearchResult:
        """The k nearest points of each query; queries is [n, dim] or [dim].

        `ef` is the size of the search's pool: larger finds more and takes longer; None is the
        server's default. exact=True compares with every point. Any number of queries: they are
        sent in batches. Raises NotFound, InvalidArgument."""
        options = vector_pb2.SearchOptions(
            k=_unsigned("k", k, 1), ef=_unsigned("ef", ef, 1) if ef is not None else 0,
            exact=exact)
        return searching.search(self._wire, collection, queries, options,
                                self._timeout if timeout is None else timeout)

    # ---- health -----------------------------------------------------------------------------

    def health(self, service: str = "") -> str:
        """"SERVING" or "NOT_SERVING" (starting or draining). Raises Unavailable if nobody is
        there, NotFound for a service that the server does not know."""
        return wires.call(self._wire.health_check, service, self._timeout)

    def wait_ready(self, timeout: float | None = 60.0) -> None:
        """Returns when the server is serving. Raises DeadlineExceeded."""
        deadline = _deadline(timeout)
        last = "no answer"
        while True:
            try:
                last = wires.call(self._wire.health_check, "", 1.0)
                if last == "SERVING":
                    return
            except (Unavailable, DeadlineExceeded) as error:
                last = str(error)
            if time.monotonic() >= deadline:
                raise DeadlineExceeded(f"not ready after {timeout} s: {last}")
            time.sleep(_READY_POLL_SECONDS)


def _unsigned(field: str, value: int, lowest: int = 0) -> int:
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
        raise InvalidArgument(f"{field} is {value!r}, wanted an integer")
    if not lowest <= value < 2**32:
        raise InvalidArgument(f"{field} is {value}, wanted {lowest} to {2**32 - 1}", "BAD_LIMIT")
    return int(value)

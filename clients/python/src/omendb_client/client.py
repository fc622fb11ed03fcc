"""The client: one channel to one server, and the calls that a program makes."""
from __future__ import annotations

import os
import pathlib
import time
from collections.abc import Callable, Sequence

from numpy.typing import ArrayLike

from omendb_client import collection as collections
from omendb_client import points, writes
from omendb_client import snapshot as snapshots
from omendb_client import search as searching
from omendb_client import wire as wires
from omendb_client.collection import Collection, MemoryEstimate, Validation
from omendb_client.errors import DeadlineExceeded, Unavailable
from omendb_client.insert import WINDOW_BYTES, InsertResult, InsertStream, Progress
from omendb_client.points import ReadToken
from omendb_client.snapshot import Snapshot
from omendb_client.search import QueryOptions, SearchResult, unsigned
from omendb_client.writes import DeleteResult, GetResult, UpsertResult
from omendb_client._proto import collection_pb2, snapshot_pb2, vector_pb2

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
                          candidates: int = 0, probes: int = 0, epoch_points: int = 0,
                          checkpoint_bytes: int = 0, target_recall: float = 0,
                          originals: str = "f32") -> Collection:
        """Creates a collection. `metric` is "cosine", "l2" (squared) or "ip"; a 0 elsewhere means
        the server's default. `target_recall` (0.5 to 0.999; the default is 0.97) is the share of
        true neighbours that searches without an ef shall find. `originals="f16"` stores the
        vectors rounded to halves, in half of the space. Raises AlreadyExists,
        InvalidArgument."""
        config = collection_pb2.CollectionConfig(
            dim=unsigned("dim", dim),
            metric=collections.metric_value(metric),
            links=unsigned("links", links),
            candidates=unsigned("candidates", candidates),
            probes=unsigned("probes", probes),
            epoch_points=unsigned("epoch_points", epoch_points),
            checkpoint_bytes=unsigned("checkpoint_bytes", checkpoint_bytes),
            target_recall=target_recall,
            originals=collections.originals_value(originals),
        )
        request = collection_pb2.CreateCollectionRequest(name=name, config=config)
        response = wires.call(self._wire.create_collection, request, self._timeout)
        return collections.from_message(response.collection)

    def get_collection(self, name: str, *, with_graph_hash: bool = False) -> Collection:
        """Raises NotFound. The graph's hash takes seconds for millions of points."""
        request = collection_pb2.GetCollectionRequest(name=name, with_graph_hash=with_graph_hash)
        response = wires.call(self._wire.get_collection, request, self._timeout)
        return collections.from_message(response.collection)

    def update_collection(self, name: str, *, target_recall: float = 0, calibrate: bool = False,
                          timeout: float | None = None) -> Collection:
        """Changes the target recall (0: leave it), calibrates ef at once, or both in this order.
        Returns the collection as it is then. A calibration takes as long as up to 256 exact
        searches. Raises NotFound, InvalidArgument, Unavailable (READ_ONLY)."""
        request = collection_pb2.UpdateCollectionRequest(
            name=name, target_recall=target_recall, calibrate=calibrate)
        response = wires.call(self._wire.update_collection, request, self._or_own(timeout))
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

    def validate_collection(self, name: str, *, timeout: float | None = None) -> Validation:
        """Checks every invariant of the collection: for tests and for operators in doubt; writes
        wait meanwhile. Raises NotFound, FailedPrecondition (NOT_AT_REST: writes are under way),
        DataLoss (VIOLATION: the message names it)."""
        request = collection_pb2.ValidateCollectionRequest(name=name)
        response = wires.call(self._wire.validate_collection, request, self._or_own(timeout))
        return collections.validation_from_message(response)

    def estimate_memory(self, dim: int, points: int, *, keyed_points: int = 0,
                        metric: str = "cosine") -> MemoryEstimate:
        """What a collection of so many points would take of memory and disk, by formula, and what
        the server has; nothing is made. `keyed_points` of them have keys as ids. Raises
        InvalidArgument."""
        request = collection_pb2.EstimateMemoryRequest(
            config=collection_pb2.CollectionConfig(dim=unsigned("dim", dim),
                                                   metric=collections.metric_value(metric)),
            points=unsigned("points", points),
            keyed_points=unsigned("keyed_points", keyed_points))
        response = wires.call(self._wire.estimate_memory, request, self._timeout)
        return collections.estimate_from_message(response)

    # ---- snapshots --------------------------------------------------------------------------

    def create_snapshot(self, collection: str, name: str, *,
                        timeout: float | None = None) -> Snapshot:
        """Makes a snapshot of all that is durable now; searches and writes go on. It is in the
        server's data directory, and stays when the collection is deleted. Takes as long as copying
        the collection's memory and vectors on the server's disk: give `timeout`. Raises NotFound,
        AlreadyExists, ResourceExhausted."""
        request = snapshot_pb2.CreateSnapshotRequest(collection=collection, name=name)
        response = wires.call(self._wire.create_snapshot, request, self._or_own(timeout))
        return snapshots.from_message(response.snapshot)

    def list_snapshots(self) -> list[Snapshot]:
        """All snapshots, by name."""
        request = snapshot_pb2.ListSnapshotsRequest()
        response = wires.call(self._wire.list_snapshots, request, self._timeout, again=True)
        return [snapshots.from_message(message) for message in response.snapshots]

    def delete_snapshot(self, name: str) -> None:
        """Raises NotFound."""
        request = snapshot_pb2.DeleteSnapshotRequest(name=name)
        wires.call(self._wire.delete_snapshot, request, self._timeout)

    def verify_snapshot(self, name: str, *, timeout: float | None = None) -> Snapshot:
        """Has the server read all of it and check every checksum. Raises NotFound, DataLoss
        (BAD_SNAPSHOT: the message names the place)."""
        request = snapshot_pb2.VerifySnapshotRequest(name=name)
        response = wires.call(self._wire.verify_snapshot, request, self._or_own(timeout))
        return snapshots.from_message(response.snapshot)

    def download_snapshot(self, name: str, path: str | os.PathLike, *,
                          retry_seconds: float = 60.0,
                          progress: Callable[[int, int], None] | None = None) -> Snapshot:
        """Writes a snapshot into the file `path`, through <path>.part. A broken connection is
        resumed for up to `retry_seconds` without progress, and what an earlier call left in
        <path>.part is not sent again. `progress` is called with the bytes that are there and the
        bytes of the snapshot. Raises NotFound, DataLoss."""
        return snapshots.download(self._wire, name, pathlib.Path(path), retry_seconds, progress)

    def restore_snapshot(self, collection: str, *, path: str | os.PathLike | None = None,
                         snapshot: str | None = None, timeout: float | None = None,
                         progress: Callable[[int, int], None] | None = None) -> Collection:
        """Makes a collection of the file `path` that was downloaded, from this server or another,
        or of a `snapshot` that the server has. It answers as the first one did and takes writes.
        `timeout` is that of the whole upload; None, for ever. Raises AlreadyExists, NotFound,
        DataLoss (BAD_SNAPSHOT, BAD_CHUNK), Unimplemented (of a newer server)."""
        return snapshots.restore(self._wire, collection,
                                 None if path is None else pathlib.Path(path), snapshot, timeout,
                                 progress)

    # ---- streams ----------------------------------------------------------------------------

    def insert(self, collection: str, ids: ArrayLike, vectors: ArrayLike, *,
               mode: str = "insert", ttl: int | None = None, wait: str = "searchable",
               progress: Callable[[Progress], None] | None = None,
               retry_seconds: float = 60.0, timeout: float | None = None) -> InsertResult:
        """Streams rows in: ids [n] are integers of 0..2**64 - 1 or keys (bytes, or str as UTF-8),
        vectors [n, dim] of any float type.

        `mode` says what becomes of an id that exists: "insert" refuses it, "upsert" replaces it,
        "update" refuses those that do not exist. The rows expire after `ttl` seconds.

        Returns when everything is "searchable" or, with wait="durable", when it is on the server's
        disk. A row that the server refuses (its id exists, a component is NaN, ...) is in the
        result's `errors`; the others go in. `progress` is called on this thread whenever something
        moved. A broken connection is resumed for up to `retry_seconds` without progress; `timeout`
        bounds the wait after the last row was sent."""
        writes.check_wait(wait)
        ids, vectors = points.check_rows(ids, vectors)
        points.check_ttl(ttl)
        total = len(ids)

        def tell(state: Progress) -> None:
            if progress is not None:
                progress(Progress(state.added, state.durable, state.searchable, state.errors,
                                  total))

        with self.insert_stream(collection, mode=mode, retry_seconds=retry_seconds) as stream:
            for begin, end in stream.chunk_ranges(ids):
                stream.add(ids[begin:end], vectors[begin:end], ttl=ttl)
                tell(stream.progress)
            stream.close(wait, timeout, tell)
            refused = stream.errors
        return InsertResult(total - len(refused), refused, stream.errors_complete,
                            stream.session_id, stream.log_position, stream.token)

    def insert_stream(self, collection: str, *, mode: str = "insert",
                      session_id: bytes | None = None, errors_seen_seq: int = 0,
                      window_bytes: int = WINDOW_BYTES,
                      retry_seconds: float = 60.0) -> InsertStream:
        """A stream to add rows and deletes to as they come; see InsertStream."""
        return InsertStream(self._wire, collection, mode=mode, session_id=session_id,
                            errors_seen_seq=errors_seen_seq, window_bytes=window_bytes,
                            retry_seconds=retry_seconds, timeout=self._timeout)

    # ---- single points ----------------------------------------------------------------------

    def upsert(self, collection: str, ids: ArrayLike, vectors: ArrayLike, *,
               mode: str = "upsert", ttl: int | None = None, wait: str = "searchable",
               timeout: float | None = None) -> UpsertResult:
        """Writes a few points without a stream; for many use insert(mode="upsert"). What is more
        than one request takes is sent as several, one after the other, each with `timeout`.

        A server that is away is asked again for about a second in mode "upsert" only: in the
        others, a lost answer would come back as a refusal."""
        request = vector_pb2.UpsertRequest(mode=points.check_mode(mode),
                                           wait_for=writes.check_wait(wait))
        request.columns.ttl_s = points.check_ttl(ttl)
        return writes.upsert(self._wire, collection, ids, vectors, request, self._or_own(timeout))

    def delete(self, collection: str, ids: ArrayLike, *, wait: str = "searchable",
               timeout: float | None = None) -> DeleteResult:
        """Deletes points; an id that is not there is no error. Returns when no search that starts
        from now on finds them or, with wait="durable", when that survives a crash."""
        return writes.delete(self._wire, collection, ids, writes.check_wait(wait),
                             self._or_own(timeout))

    def get(self, collection: str, ids: ArrayLike, *, vectors: bool = True,
            timeout: float | None = None) -> GetResult:
        """Looks points up by id, as of the last searchable state. vectors=False: only whether
        they are there."""
        return writes.get(self._wire, collection, ids, vectors, self._or_own(timeout))

    # ---- search -----------------------------------------------------------------------------

    def search(self, collection: str, queries: ArrayLike, k: int = 10, *, ef: int | None = None,
               exact: bool = False, options: Sequence[QueryOptions | None] | None = None,
               min_read: ReadToken | None = None, timeout: float | None = None) -> SearchResult:
        """The k nearest points of each query; queries is [n, dim] or [dim].

        `ef` is the size of the search's pool: larger finds more and takes longer; None is the
        server's default. exact=True compares with every point. `options` has an entry per query
        that stands in for k, ef and exact, or None. `min_read`, the token of a write or a read,
        makes the server wait until it sees at least that. Any number of queries: they are sent in
        batches.

        A query that is refused (a NaN, a wrong dimension) is in the result's `errors`, the others
        are answered; if all were refused, the first error is raised. Raises NotFound,
        InvalidArgument, FailedPrecondition (a token of an earlier life of the collection)."""
        common = QueryOptions(k, ef, exact)
        return searching.search(self._wire, collection, queries, common, options,
                                min_read=min_read, timeout=self._or_own(timeout))

    def _or_own(self, timeout: float | None) -> float | None:
        return self._timeout if timeout is None else timeout

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

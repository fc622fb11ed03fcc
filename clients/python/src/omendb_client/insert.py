"""Streaming insert: one session, its window of unacknowledged chunks, and its resumption.

Happy path: add() cuts the caller's rows into chunks, encodes each once, and puts it into the
window; a thread of gRPC's takes chunks out of it as fast as the server reads them; our own thread
reads the acknowledgements, drops durable chunks from the window and so lets add() go on.

Failure modes:
* The connection breaks, or the server restarts or drains: our thread opens the same session again,
  is told the next sequence number that the server wants, drops what is below it and sends the rest
  once more. A chunk that arrives twice is dropped by the server, so nothing is lost or doubled. It
  gives up when nothing became durable for `retry_seconds`.
* The server refuses a point: an ItemError with its index in the order of the rows added; the
  other points of its chunk go in.
* The server refuses the stream (no such collection, session taken over, ...): the stream is dead,
  and every later call raises that error.
* The server knows less than it acknowledged, or the collection was deleted and made again in
  between: DataLoss, Aborted. Nothing is re-sent then.

Threads: one caller at a time. Everything below _cond is guarded by it.
"""
from __future__ import annotations

import dataclasses
import random
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator

import grpc
import numpy as np
from numpy.typing import ArrayLike

from omendb_client.errors import (
    Aborted,
    Cancelled,
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    OmenError,
    Unavailable,
    from_rpc,
    make,
)
from omendb_client._proto import vector_pb2 as messages
from omendb_client.wire import Wire

# What a chunk needs beside its points and per point beside its floats in a record of the log, with
# room for alignment: 64 + points * (4 * dim + 8 + 2) and some.
_CHUNK_OVERHEAD = 1024
_POINT_OVERHEAD = 16
_CHUNK_POINTS_MAX = 4096  # keeps acknowledgements and progress coming for small vectors
_BACKOFF_FIRST, _BACKOFF_MAX = 0.1, 5.0
_STRANGER_SECONDS = 5.0
_CLIENT_NAME = "omendb_client python"

# Codes that may come from a broken connection. With a reason they are the server's word instead.
_TRANSPORT_CODES = (
    grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.CANCELLED
)


@dataclasses.dataclass(frozen=True)
class ItemError:
    """A point that was refused."""

    index: int  # of the row, counted over everything added to the stream
    id: int
    code: int  # a google.rpc.Code
    reason: str
    message: str


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a stream is, in points. durable and searchable include refused points."""

    added: int
    durable: int
    searchable: int
    errors: int
    total: int  # what insert() was given; for a bare InsertStream the same as added


@dataclasses.dataclass(frozen=True)
class InsertResult:
    inserted: int
    errors: list[ItemError]
    session_id: bytes
    log_position: int  # of the last record; a search whose log_position is not lower saw it

    def raise_for_errors(self) -> "InsertResult":
        """Raises the first item error, if there is one."""
        if self.errors:
            first = self.errors[0]
            code = next((c for c in grpc.StatusCode if c.value[0] == first.code),
                        grpc.StatusCode.UNKNOWN)
            raise make(
                code,
                f"{len(self.errors)} points were refused, the first at index {first.index} with"
                f" id {first.id}: {first.message}",
                first.reason,
            )
        return self


@dataclasses.dataclass
class _Chunk:
    seq: int
    body: bytes | None  # the encoded request; None once it is durable
    wire_bytes: int
    first: int  # index of its first point in the stream
    points: int


class _Connection:
    """One call of Insert; a session lives through several."""

    def __init__(self) -> None:
        self.call: grpc.Call | None = None
        self.opened = False
        self.next_seq = 0  # what this connection sends next
        self.flushes = 0  # how many Flush requests it has sent
        self.dead = False


def check_rows(ids: ArrayLike, vectors: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """ids as uint64 [n] and vectors as a float array [n, dim], or InvalidArgument."""
    vectors = np.asarray(vectors)
    if vectors.ndim != 2 or vectors.shape[1] == 0:
        raise InvalidArgument(f"vectors has shape {vectors.shape}, wanted [n, dim]")
    if vectors.dtype.kind not in "fiu":
        raise InvalidArgument(f"vectors has type {vectors.dtype}, wanted numbers")
    ids = np.asarray(ids)
    if ids.shape != (len(vectors),):
        raise InvalidArgument(f"ids has shape {ids.shape}, wanted [{len(vectors)}]")
    if len(ids) and ids.dtype.kind not in "iu":
        raise InvalidArgument(f"ids has type {ids.dtype}, wanted integers")
    if ids.dtype.kind == "i" and len(ids) and int(ids.min()) < 0:
        raise InvalidArgument(f"ids has {int(ids.min())}, wanted 0 to 2**64 - 1")
    return ids.astype(np.uint64, copy=False), vectors


def _little_endian(vectors: np.ndarray) -> bytes:
    return np.ascontiguousarray(vectors, dtype="<f4").tobytes()


class InsertStream:
    """A session of inserts into one collection. A context manager:

        with client.insert_stream("words") as stream:
            stream.add(ids, vectors)      # as often as you like; blocks while the window is full
            stream.flush()                # everything added is durable
            print(stream.errors)
        # everything is searchable
    """

    def __init__(self, wire: Wire, collection: str, *, session_id: bytes | None = None,
                 retry_seconds: float = 60.0, timeout: float | None = 30.0) -> None:
        """Opens the stream and waits for the server's answer, at most `timeout` seconds.

        The same `session_id` (16 bytes) as that of an earlier stream goes on where that one
        stopped: next_seq says with which chunk."""
        if session_id is not None and len(session_id) != 16:
            raise InvalidArgument(f"session_id has {len(session_id)} bytes, wanted 16")
        self._wire = wire
        self._retry_seconds = retry_seconds
        self.session_id = session_id or uuid.uuid4().bytes
        self.collection = collection
        self._open_request = messages.InsertRequest(
            open=messages.Open(
                collection=collection,
                session_id=self.session_id,
                mode=messages.WRITE_MODE_INSERT_ONLY,
                client_name=_CLIENT_NAME,
            )
        ).SerializeToString()

        self._cond = threading.Condition()
        # Written by the caller.
        self._last_seq = 0
        self._added = 0
        self._flushes = 0
        self._finishing = False
        self._abandoned = False
        # Written by our thread.
        self._is_open = False
        self._opened = messages.Opened()  # the first one; fixed once _is_open
        self._window: deque[_Chunk] = deque()  # not durable yet; the caller appends
        self._window_bytes = 0
        self._spans: deque[_Chunk] = deque()  # not searchable yet, or with errors still to come
        self._durable_seq = self._searchable_seq = self._errors_seq = 0
        self._durable = self._searchable = 0
        self._log_position = 0
        self._errors: dict[int, ItemError] = {}  # by index
        self._connection: _Connection | None = None
        self._failing_since: float | None = None
        self._last_error: OmenError | None = None
        self._failure: OmenError | None = None
        self._finished = False

        self._thread = threading.Thread(target=self._run, name="omendb-insert", daemon=True)
        self._thread.start()
        try:
            self._wait(lambda: self._is_open, timeout, "the stream was opened")
        except BaseException:
            self.abandon()
            raise

    # ---- for the caller ---------------------------------------------------------------------

    @property
    def dim(self) -> int:
        return self._opened.dim

    @property
    def chunk_points(self) -> int:
        """How many points go into one chunk."""
        fit = (self._opened.max_chunk_bytes - _CHUNK_OVERHEAD) // (4 * self.dim + _POINT_OVERHEAD)
        return max(1, min(_CHUNK_POINTS_MAX, fit))

    @property
    def next_seq(self) -> int:
        """The sequence number that the next chunk gets."""
        return self._last_seq + 1

    @property
    def errors(self) -> list[ItemError]:
        """Points refused so far, in the order in which the server told. Complete after flush()."""
        with self._cond:
            return list(self._errors.values())

    @property
    def log_position(self) -> int:
        """Position in the log of the last durable chunk."""
        return self._log_position

    @property
    def progress(self) -> Progress:
        with self._cond:
            return Progress(self._added, self._durable, self._searchable, len(self._errors),
                            self._added)

    def add(self, ids: ArrayLike, vectors: ArrayLike) -> None:
        """Sends rows; returns when the last of them is in the window."""
        ids, vectors = check_rows(ids, vectors)
        if vectors.shape[1] != self.dim:
            raise InvalidArgument(
                f"vectors have {vectors.shape[1]} components, collection {self.collection!r} has"
                f" {self.dim}", "DIMENSION_MISMATCH")
        step = self.chunk_points
        for begin in range(0, len(ids), step):
            self._add_chunk(ids[begin:begin + step], vectors[begin:begin + step])

    def flush(self, wait: str = "durable", timeout: float | None = None,
              on_change: Callable[[Progress], None] | None = None) -> None:
        """Waits until everything added is durable (and its item errors are known) or, with
        wait="searchable", until every search sees it. The stream stays open."""
        target = self._last_seq
        with self._cond:
            self._flushes += 1
            self._cond.notify_all()
        if wait == "durable":
            self._wait(lambda: min(self._durable_seq, self._errors_seq) >= target, timeout,
                       "everything was durable", on_change)
        elif wait == "searchable":
            self._wait(lambda: min(self._searchable_seq, self._errors_seq) >= target, timeout,
                       "everything was searchable", on_change)
        else:
            raise InvalidArgument(f"wait is {wait!r}, wanted 'durable' or 'searchable'")

    def close(self, wait: str = "searchable", timeout: float | None = None,
              on_change: Callable[[Progress], None] | None = None) -> None:
        """Ends the stream once everything is durable or searchable. May be called twice."""
        if wait == "durable" and not self._finished:
            self.flush("durable", timeout, on_change)
            self.abandon()  # what is durable is in the log, whatever becomes of the call
            return
        if wait not in ("durable", "searchable"):
            raise InvalidArgument(f"wait is {wait!r}, wanted 'durable' or 'searchable'")
        with self._cond:
            self._finishing = True
            self._cond.notify_all()
        self._wait(lambda: self._finished, timeout, "everything was searchable", on_change)
        self._thread.join()

    def abandon(self) -> None:
        """Ends the stream now. What was not durable yet may or may not be inserted."""
        with self._cond:
            self._abandoned = True
            if self._connection is not None:
                self._hang_up(self._connection)
            self._cond.notify_all()
        self._thread.join()

    def __enter__(self) -> "InsertStream":
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is not None:
            self.abandon()
        elif not self._abandoned:
            self.close()

    # ---- the caller's side ------------------------------------------------------------------

    def _add_chunk(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        seq = self._last_seq + 1  # only the caller writes it
        request = messages.InsertRequest()  # filled in place: a constructor would copy the floats
        request.chunk.seq = seq
        request.chunk.columns.dim = self.dim
        request.chunk.columns.ids.extend(ids.tolist())
        request.chunk.columns.vectors_f32_le = _little_endian(vectors)
        body = request.SerializeToString()
        credit = self._opened.credit_bytes
        self._wait(lambda: not self._window or self._window_bytes + len(body) <= credit, None,
                   "the window had room")
        with self._cond:
            if self._finishing or self._abandoned:
                raise FailedPrecondition("the stream is closed")
            chunk = _Chunk(seq, body, len(body), self._added, len(ids))
            self._last_seq = seq
            self._added += len(ids)
            self._window.append(chunk)
            self._window_bytes += len(body)
            self._spans.append(chunk)
            self._cond.notify_all()

    def _wait(self, done: Callable[[], bool], timeout: float | None, until: str,
              on_change: Callable[[Progress], None] | None = None) -> None:
        """Waits for `done` or a failure. `on_change` runs on this thread, without the lock."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            with self._cond:
                finished = done()
                if not finished and self._failure is not None:
                    raise self._failure
                if not finished and self._abandoned:
                    raise FailedPrecondition("the stream is closed")
                if not finished:
                    left = None if deadline is None else deadline - time.monotonic()
                    if left is not None and left <= 0:
                        why = f"; last error: {self._last_error}" if self._failing_since else ""
                        raise DeadlineExceeded(f"{timeout} s went by before {until}{why}")
                    self._cond.wait(left)
            if on_change is not None:
                on_change(self.progress)
            if finished:
                return

    # ---- our thread -------------------------------------------------------------------------

    def _run(self) -> None:
        backoff = _BACKOFF_FIRST
        while True:
            connection = _Connection()
            error = self._serve(connection)
            with self._cond:
                connection.dead = True
                self._cond.notify_all()
                if connection.opened:
                    backoff = _BACKOFF_FIRST
                if error is None or self._abandoned:
                    self._finished = error is None
                    return
                if not self._worth_another_try(error):
                    self._failure = error
                    return
                wait_until = time.monotonic() + backoff * random.uniform(0.8, 1.2)
                while not self._abandoned and time.monotonic() < wait_until:
                    self._cond.wait(wait_until - time.monotonic())
            backoff = min(_BACKOFF_MAX, backoff * 2)

    def _serve(self, connection: _Connection) -> OmenError | None:
        """Runs one call to its end; None when the server said that everything is searchable."""
        try:
            with self._cond:
                if self._abandoned:
                    return Cancelled("the stream was abandoned")
                connection.call = self._wire.insert(self._requests(connection))
                self._connection = connection
            for response in connection.call:
                with self._cond:
                    self._take_response(connection, response)
                    self._cond.notify_all()
        except grpc.RpcError as error:
            return from_rpc(error)
        except ValueError as error:  # grpcio's answer on a closed channel
            return Cancelled(str(error), "CLIENT_CLOSED")
        except OmenError as error:
            self._hang_up(connection)
            return error
        with self._cond:
            if not self._finishing or self._durable_seq < self._last_seq:
                return Unavailable("the server ended the stream before everything was durable")
            # Status OK promises that the durable chunks are searchable and all errors told.
            self._advance(self._last_seq, self._last_seq, self._last_seq)
        return None

    @staticmethod
    def _hang_up(connection: _Connection) -> None:
        if connection.call is not None:
            connection.call.cancel()

    def _worth_another_try(self, error: OmenError) -> bool:
        broken = error.code in _TRANSPORT_CODES and not error.reason
        if error.code != grpc.StatusCode.UNAVAILABLE and not broken:
            return False
        self._last_error = error
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
        # Nobody there at all, right at the start: rather a wrong address than a restart.
        stranger = not self._is_open and not error.reason
        patience = min(_STRANGER_SECONDS, self._retry_seconds) if stranger else self._retry_seconds
        return now - self._failing_since < patience

    def _requests(self, connection: _Connection) -> Iterator[bytes]:
        """What gRPC's sending thread pulls from."""
        yield self._open_request
        while (request := self._next_request(connection)) is not None:
            yield request

    def _next_request(self, connection: _Connection) -> bytes | None:
        flush = messages.InsertRequest(flush=messages.Flush()).SerializeToString()
        with self._cond:
            while not connection.dead and not self._abandoned:
                if connection.opened:
                    seq = max(connection.next_seq, self._durable_seq + 1)
                    if seq <= self._last_seq:
                        connection.next_seq = seq + 1
                        # The window starts at durable + 1 and has no gaps.
                        return self._window[seq - self._window[0].seq].body
                    if connection.flushes < self._flushes:
                        connection.flushes = self._flushes
                        return flush
                    if self._finishing:
                        return None
                self._cond.wait()
        return None

    def _take_response(self, connection: _Connection, response: messages.InsertResponse) -> None:
        if response.HasField("opened"):
            self._take_opened(connection, response.opened)
        elif response.HasField("ack"):
            ack = response.ack
            for item in ack.errors:
                self._take_item_error(item)
            self._log_position = max(self._log_position, ack.log_position)
            self._advance(ack.durable_seq, ack.searchable_seq, ack.errors_complete_seq)

    def _take_opened(self, connection: _Connection, opened: messages.Opened) -> None:
        if not self._is_open:
            self._last_seq = opened.next_seq - 1
            self._durable_seq = self._searchable_seq = self._errors_seq = self._last_seq
            self._opened = opened
            self._is_open = True
        elif opened.incarnation != self._opened.incarnation:
            raise Aborted(
                f"collection {self.collection!r} was deleted and created again meanwhile")
        elif not self._durable_seq < opened.next_seq <= self._last_seq + 1:
            raise DataLoss(
                f"the server wants chunk {opened.next_seq} next, but chunks up to"
                f" {self._durable_seq} were durable and {self._last_seq} have been made")
        else:
            # Durable, and the item errors that got lost with the last connection will not come.
            self._advance(opened.next_seq - 1, 0, opened.next_seq - 1)
        connection.next_seq = opened.next_seq
        connection.opened = True

    def _take_item_error(self, item: messages.ItemError) -> None:
        span = next((span for span in self._spans if span.seq == item.seq), None)
        if span is None:
            return  # told before the connection broke
        index = span.first + item.index
        error = ItemError(index, item.id.num, item.code, item.reason, item.message)
        self._errors.setdefault(index, error)  # a resumed stream may tell again

    def _advance(self, durable: int, searchable: int, complete: int) -> None:
        """Moves the watermarks; none ever goes back."""
        if durable > self._durable_seq:
            self._durable_seq = durable
            self._failing_since = None
        while self._window and self._window[0].seq <= self._durable_seq:
            chunk = self._window.popleft()
            self._window_bytes -= chunk.wire_bytes
            self._durable += chunk.points
            chunk.body = None
        for span in self._spans:
            if span.seq > searchable:
                break
            if span.seq > self._searchable_seq:
                self._searchable += span.points
        self._searchable_seq = max(self._searchable_seq, searchable)
        self._errors_seq = max(self._errors_seq, complete)
        while self._spans and self._spans[0].seq <= min(self._searchable_seq, self._errors_seq):
            self._spans.popleft()

"""Streaming writes: one session, its window of unacknowledged chunks, and its resumption.

Happy path: add() and delete() cut what the caller gives into chunks, encode each once, and put it
into the window; a thread of gRPC's takes chunks out of it as fast as the server reads them, but no
more than the server's credit ahead of what is durable; our own thread reads the acknowledgements,
drops durable chunks from the window and so lets add() go on.

Failure modes:
* The connection breaks, or the server restarts: our thread opens the same session again, is told
  the next sequence number that the server wants, drops what is below it and sends the rest once
  more. A chunk that arrives twice is dropped by the server, so nothing is lost or doubled. It
  gives up when nothing became durable for `retry_seconds`.
* The server drains: it takes no more chunks of this call, acknowledges what it has, and ends it.
  Our thread sends nothing meanwhile, and opens the session again after the time that it was told.
* The server refuses a point: an ItemError with its index in the order of what was added; the
  other points of its chunk go in. Item errors that a broken connection swallowed are told again,
  because Open says up to which chunk they are known; what the server has forgotten by then makes
  errors_complete False.
* The server refuses the stream (no such collection, session taken over, ...): the stream is dead,
  and every later call raises that error.
* The server knows less than it acknowledged: DataLoss. The collection was deleted and made again
  in between: FailedPrecondition INCARNATION_CHANGED. Nothing is re-sent then.

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

from omendb_client import points
from omendb_client.errors import (
    Cancelled,
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    OmenError,
    Unavailable,
    from_rpc,
)
from omendb_client.points import ItemError, ReadToken, Refusals
from omendb_client._proto import vector_pb2 as messages
from omendb_client.wire import Wire, backoff
from omendb_client.writes import check_wait, made_again

WINDOW_BYTES = 8 << 20  # enough to keep a server busy, little to send again
_STRANGER_SECONDS = 5.0
_CLIENT_NAME = "omendb_client python"

# Codes that may come from a broken connection. With a reason they are the server's word instead.
_TRANSPORT_CODES = (
    grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.CANCELLED
)


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a stream is, in items: rows and deletes. durable and searchable include refused
    ones."""

    added: int
    durable: int
    searchable: int
    errors: int
    total: int  # what insert() was given; for a bare InsertStream the same as added


@dataclasses.dataclass(frozen=True)
class InsertResult(Refusals):
    inserted: int
    errors: list[ItemError]
    # False if connections broke and the server remembered too few item errors to tell them again:
    # then rows may be missing that `errors` does not name. get() knows.
    errors_complete: bool
    session_id: bytes
    log_position: int  # of the last record; a search whose log_position is not lower saw it
    token: ReadToken | None  # the same for search(min_read=...); None if there were no rows


@dataclasses.dataclass
class _Chunk:
    seq: int
    body: bytes | None  # the encoded request; None once it is durable
    wire_bytes: int
    first: int  # index of its first item in the stream
    items: int


class _Connection:
    """One call of Insert; a session lives through several."""

    def __init__(self) -> None:
        self.call: grpc.Call | None = None
        self.opened = False
        self.next_seq = 0  # what this connection sends next
        self.in_flight = 0  # bytes sent that are not durable
        self.flushes = 0  # how many Flush requests it has sent
        self.drained_s: float | None = None  # the server takes no more; when to come back
        self.dead = False


class InsertStream:
    """A session of writes to one collection. A context manager:

        with client.insert_stream("words") as stream:
            stream.add(ids, vectors)      # as often as you like; blocks while the window is full
            stream.delete(ids)            # after all that was added before
            stream.flush()                # everything is durable
            print(stream.errors)
        # everything is searchable
    """

    def __init__(self, wire: Wire, collection: str, *, mode: str = "insert",
                 session_id: bytes | None = None, errors_seen_seq: int = 0,
                 window_bytes: int = WINDOW_BYTES, retry_seconds: float = 60.0,
                 timeout: float | None = 30.0) -> None:
        """Opens the stream and waits for the server's answer, at most `timeout` seconds.

        The same `session_id` (16 bytes) as that of an earlier stream goes on where that one
        stopped: next_seq says with which chunk. `errors_seen_seq` is that stream's errors_seq:
        later item errors of its chunks come as earlier_errors. At most `window_bytes`, and no
        more than the server's credit, are kept here and on the way."""
        if session_id is not None and len(session_id) != 16:
            raise InvalidArgument(f"session_id has {len(session_id)} bytes, wanted 16")
        self._wire = wire
        self._retry_seconds = retry_seconds
        self.session_id = session_id or uuid.uuid4().bytes
        self.collection = collection
        self._mode = points.check_mode(mode)
        self._errors_seen_seq = errors_seen_seq  # at the start
        self._window_bytes_max = window_bytes

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
        self._credit = 0
        self._errors: dict[int, ItemError] = {}  # by index
        self._earlier: dict[tuple[int, int], ItemError] = {}  # by chunk and place in it
        self._errors_complete = True
        self._connections = 0
        self._sent_seq = 0  # the highest that was ever sent
        self._resent = 0
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
        """How many rows with numbers as ids go into one chunk."""
        return points.rows_per_chunk(self.dim, self._opened.max_chunk_bytes)

    def chunk_ranges(self, ids: points.Ids) -> Iterator[tuple[int, int]]:
        """How add() would cut rows with these ids."""
        return points.cut(ids, self.dim, self._opened.max_chunk_bytes)

    @property
    def next_seq(self) -> int:
        """The sequence number that the next chunk gets."""
        return self._last_seq + 1

    @property
    def durable_seq(self) -> int:
        """Everything up to this chunk is on the server's disk."""
        return self._durable_seq

    @property
    def errors(self) -> list[ItemError]:
        """What was refused so far, in the order in which the server told. Complete after flush(),
        unless errors_complete is False."""
        with self._cond:
            return list(self._errors.values())

    @property
    def earlier_errors(self) -> list[ItemError]:
        """What was refused of chunks that an earlier stream of the session sent, from
        errors_seen_seq on: seq and place say what it was."""
        with self._cond:
            return list(self._earlier.values())

    @property
    def errors_complete(self) -> bool:
        """False if the server forgot item errors before this stream was told of them."""
        return self._errors_complete

    @property
    def errors_seq(self) -> int:
        """All item errors of chunks up to this one are known."""
        return self._errors_seq

    @property
    def log_position(self) -> int:
        """Position in the log of the last durable chunk."""
        return self._log_position

    @property
    def token(self) -> ReadToken | None:
        """A search with it sees all that is durable now; None while nothing is."""
        if self._log_position == 0:
            return None
        return ReadToken(self._opened.incarnation, self._log_position)

    @property
    def progress(self) -> Progress:
        with self._cond:
            return Progress(self._added, self._durable, self._searchable, len(self._errors),
                            self._added)

    @property
    def reconnects(self) -> int:
        """How often the session was opened again."""
        return max(0, self._connections - 1)

    @property
    def resent(self) -> int:
        """Chunks that were sent more than once, counted each time; at most a window for each
        connection that broke."""
        return self._resent

    def add(self, ids: ArrayLike, vectors: ArrayLike, *, ttl: int | None = None) -> None:
        """Sends rows; returns when the last of them is in the window. They expire `ttl` seconds
        after the server took them."""
        ids, vectors = points.check_rows(ids, vectors)
        ttl_s = points.check_ttl(ttl)
        if vectors.shape[1] != self.dim:
            raise InvalidArgument(
                f"vectors have {vectors.shape[1]} components, collection {self.collection!r} has"
                f" {self.dim}", "DIMENSION_MISMATCH")
        for begin, end in self.chunk_ranges(ids):
            request = messages.InsertRequest()
            points.fill(request.chunk, ids[begin:end], vectors[begin:end], ttl_s)
            self._add_chunk(request, end - begin)

    def delete(self, ids: ArrayLike) -> None:
        """Deletes points, after everything that was added before; like add() otherwise. An id
        that is not there is no error."""
        ids = points.read_ids(ids)
        for begin, end in points.cut(ids, 0, self._opened.max_chunk_bytes):
            request = messages.InsertRequest()
            request.chunk.deletes.extend(points.id_messages(ids[begin:end]))
            self._add_chunk(request, end - begin)

    def flush(self, wait: str = "durable", timeout: float | None = None,
              on_change: Callable[[Progress], None] | None = None) -> None:
        """Waits until everything added is durable (and its item errors are known) or, with
        wait="searchable", until every search sees it. The stream stays open."""
        check_wait(wait)
        target = self._last_seq
        with self._cond:
            self._flushes += 1
            self._cond.notify_all()
        if wait == "durable":
            self._wait(lambda: min(self._durable_seq, self._errors_seq) >= target, timeout,
                       "everything was durable", on_change)
        else:
            self._wait(lambda: min(self._searchable_seq, self._errors_seq) >= target, timeout,
                       "everything was searchable", on_change)

    def close(self, wait: str = "searchable", timeout: float | None = None,
              on_change: Callable[[Progress], None] | None = None) -> None:
        """Ends the stream once everything is durable or searchable. May be called twice."""
        check_wait(wait)
        if wait == "durable" and not self._finished:
            self.flush("durable", timeout, on_change)
            self.abandon()  # what is durable is in the log, whatever becomes of the call
            return
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

    def _add_chunk(self, request: messages.InsertRequest, items: int) -> None:
        seq = self._last_seq + 1  # only the caller writes it
        request.chunk.seq = seq
        body = request.SerializeToString()
        self._wait(lambda: not self._window or self._window_bytes + len(body) <= self._credit,
                   None, "the window had room")
        with self._cond:
            if self._finishing or self._abandoned:
                raise FailedPrecondition("the stream is closed")
            chunk = _Chunk(seq, body, len(body), self._added, items)
            self._last_seq = seq
            self._added += items
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
        attempt = 0
        while True:
            connection = _Connection()
            error = self._serve(connection)
            with self._cond:
                connection.dead = True
                self._cond.notify_all()
                if error is None or self._abandoned:
                    self._finished = error is None
                    return
                if not self._worth_another_try(error):
                    self._failure = error
                    return
                if connection.opened:
                    attempt = 0
                wait = backoff(attempt)
                if connection.drained_s is not None:  # not earlier, and not all at once
                    wait = connection.drained_s * random.uniform(1.0, 1.2)
                else:
                    attempt += 1
                wait_until = time.monotonic() + wait
                while not self._abandoned and time.monotonic() < wait_until:
                    self._cond.wait(wait_until - time.monotonic())

    def _serve(self, connection: _Connection) -> OmenError | None:
        """Runs one call to its end; None when the server said that everything is searchable."""
        try:
            with self._cond:
                if self._abandoned:
                    return Cancelled("the stream was abandoned")
                open_request = self._open_request()
                connection.call = self._wire.insert(self._requests(connection, open_request))
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

    def _open_request(self) -> bytes:
        seen = self._errors_seq if self._is_open else self._errors_seen_seq
        return messages.InsertRequest(
            open=messages.Open(
                collection=self.collection,
                session_id=self.session_id,
                mode=self._mode,
                client_name=_CLIENT_NAME,
                errors_seen_seq=seen,
                incarnation=self._opened.incarnation,
            )
        ).SerializeToString()

    def _requests(self, connection: _Connection, open_request: bytes) -> Iterator[bytes]:
        """What gRPC sends; runs on a thread of gRPC's."""
        yield open_request
        while True:
            body = self._next_request(connection)
            if body is None:
                return
            yield body

    def _next_request(self, connection: _Connection) -> bytes | None:
        flush = messages.InsertRequest(flush=messages.Flush()).SerializeToString()
        with self._cond:
            while not connection.dead and not self._abandoned:
                if connection.opened and connection.drained_s is None:
                    chunk = self._next_chunk(connection)
                    if chunk is not None:
                        return chunk.body
                    all_sent = max(connection.next_seq, self._durable_seq + 1) > self._last_seq
                    if all_sent and connection.flushes < self._flushes:
                        connection.flushes = self._flushes
                        return flush
                    if all_sent and self._finishing:
                        return None
                self._cond.wait()
        return None

    def _next_chunk(self, connection: _Connection) -> _Chunk | None:
        """The chunk to send now; None if there is none, or no credit for it."""
        seq = max(connection.next_seq, self._durable_seq + 1)
        if seq > self._last_seq:
            return None
        # The window starts at durable + 1 and has no gaps.
        chunk = self._window[seq - self._window[0].seq]
        if connection.in_flight > 0 and connection.in_flight + chunk.wire_bytes > self._credit:
            return None
        connection.next_seq = seq + 1
        connection.in_flight += chunk.wire_bytes
        if seq <= self._sent_seq:
            self._resent += 1
        self._sent_seq = max(self._sent_seq, seq)
        return chunk

    def _take_response(self, connection: _Connection, response: messages.InsertResponse) -> None:
        if response.HasField("opened"):
            self._take_opened(connection, response.opened)
        elif response.HasField("drain"):
            connection.drained_s = response.drain.retry_after_ms / 1000
        elif response.HasField("ack"):
            ack = response.ack
            for item in ack.errors:
                self._take_item_error(item)
            self._log_position = max(self._log_position, ack.log_position)
            self._grant(ack.credit_bytes or self._credit)
            self._advance(ack.durable_seq, ack.searchable_seq, ack.errors_complete_seq)

    def _grant(self, credit_bytes: int) -> None:
        self._credit = min(credit_bytes, self._window_bytes_max)

    def _take_opened(self, connection: _Connection, opened: messages.Opened) -> None:
        last_told = max(1, opened.errors_from_seq) - 1  # or forgotten
        if not self._is_open:
            self._last_seq = self._sent_seq = opened.next_seq - 1
            self._durable_seq = self._searchable_seq = self._last_seq
            self._errors_seq = self._errors_seen_seq
            self._opened = opened
            self._is_open = True
        elif opened.incarnation != self._opened.incarnation:
            raise made_again(self.collection)
        elif not self._durable_seq < opened.next_seq <= self._last_seq + 1:
            raise DataLoss(
                f"the server wants chunk {opened.next_seq} next, but chunks up to"
                f" {self._durable_seq} were durable and {self._last_seq} have been made")
        if last_told > self._errors_seq:
            self._errors_complete = False
        self._connections += 1
        self._grant(opened.credit_bytes)
        connection.next_seq = opened.next_seq
        connection.opened = True
        self._advance(opened.next_seq - 1, 0, last_told)
        if not self._window:
            self._failing_since = None  # nothing that could become durable

    def _take_item_error(self, item: messages.ItemError) -> None:
        span = next((span for span in self._spans if span.seq == item.seq), None)
        index = None if span is None else span.first + item.index
        error = ItemError(index, points.from_id(item.id), item.code, item.reason, item.message,
                          item.seq, item.index)
        if span is not None:
            self._errors.setdefault(index, error)  # a resumed stream may tell again
        elif item.seq > self._errors_seq:  # else told before the connection broke
            self._earlier.setdefault((item.seq, item.index), error)

    def _advance(self, durable: int, searchable: int, complete: int) -> None:
        """Moves the watermarks; none ever goes back."""
        if durable > self._durable_seq:
            self._durable_seq = durable
            self._failing_since = None
        while self._window and self._window[0].seq <= self._durable_seq:
            chunk = self._window.popleft()
            self._window_bytes -= chunk.wire_bytes
            if self._connection is not None and chunk.seq < self._connection.next_seq:
                self._connection.in_flight = max(
                    0, self._connection.in_flight - chunk.wire_bytes)
            self._durable += chunk.items
            chunk.body = None
        for span in self._spans:
            if span.seq > searchable:
                break
            if span.seq > self._searchable_seq:
                self._searchable += span.items
        self._searchable_seq = max(self._searchable_seq, searchable)
        self._errors_seq = max(self._errors_seq, complete)
        while self._spans and self._spans[0].seq <= min(self._searchable_seq, self._errors_seq):
            self._spans.popleft()

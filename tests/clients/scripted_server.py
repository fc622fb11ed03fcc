"""A server of a few lines that misbehaves on cue: what a real one does only in bad moments.

It keeps one collection in memory, searches by brute force, and makes a chunk durable when it
arrives. `cut_after` breaks each of the first connections after so many chunks, with the last
`unacknowledged` of them durable but not yet acknowledged; `forget` drops chunks that were received
but not durable, as a crash does. `drain_after` sends a Drain after so many chunks of a connection,
and ends it when `release` is set.
"""
from __future__ import annotations

import dataclasses
import threading
import time
from concurrent import futures

import grpc
import numpy as np
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from omendb_client._proto import collection_pb2
from omendb_client._proto import vector_pb2 as messages

REFUSED_ID = 13  # a point with this id is an item error


@dataclasses.dataclass
class Script:
    dim: int = 8
    max_chunk_bytes: int = 1024 + 50 * (4 * 8 + 16)  # 50 points of 8 components
    credit_bytes: int = 8 << 20
    cut_after: list[int | None] = dataclasses.field(default_factory=list)  # chunks, per connection
    cut_code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    unacknowledged: int = 0
    forget: int = 0  # the last chunks before a cut that are lost
    refuse_open: list[grpc.StatusCode] = dataclasses.field(default_factory=list)
    incarnations: list[bytes] = dataclasses.field(default_factory=lambda: [b"i" * 16])
    next_seq_lie: int | None = None  # what the second Opened claims
    acknowledge: bool = True
    acknowledged_credit: int = 8 << 20  # what Acks tell
    drain_after: list[int | None] = dataclasses.field(default_factory=list)  # per connection
    retry_after_ms: int = 0
    errors_forgotten_seq: int = 0  # item errors of chunks up to here are not told again


class ScriptedServer:
    """The state that a test looks at afterwards: rows, opens, seqs."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.rows: list[tuple[int, np.ndarray]] = []
        self.opens: list[bytes] = []  # session ids, one per connection
        self.open_requests: list[messages.Open] = []
        self.open_times: list[float] = []
        self.end_times: list[float] = []  # of drained connections
        self.deleted: list[int | bytes] = []
        self.item_errors: list[messages.ItemError] = []
        self.seqs: list[list[int]] = []  # sequence numbers that arrived, per connection
        self.search_sizes: list[int] = []
        self.last_seq = 0
        self.release = threading.Event()  # what acknowledge=False and a Drain wait for
        self._server = grpc.server(futures.ThreadPoolExecutor(8))
        self._server.add_generic_rpc_handlers([self._handlers(), _collection_handlers()])
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def stop(self) -> None:
        self.release.set()
        self._server.stop(None).wait()

    def _handlers(self) -> grpc.GenericRpcHandler:
        return grpc.method_handlers_generic_handler("omendb.v1.VectorService", {
            "Insert": grpc.stream_stream_rpc_method_handler(
                self._insert, messages.InsertRequest.FromString,
                messages.InsertResponse.SerializeToString),
            "Search": grpc.unary_unary_rpc_method_handler(
                self._search, messages.SearchRequest.FromString,
                messages.SearchResponse.SerializeToString),
        })

    # ---- Insert -----------------------------------------------------------------------------

    def _insert(self, requests, context):
        script, connection = self.script, len(self.opens)
        opened = next(requests).open
        self.open_requests.append(opened)
        self.open_times.append(time.monotonic())
        self.seqs.append([])
        self.opens.append(opened.session_id)
        if connection < len(script.refuse_open) and script.refuse_open[connection] is not None:
            abort(context, script.refuse_open[connection], "SCRIPTED", "refused on cue")
        yield self._opened(connection, opened)
        cut = script.cut_after[connection] if connection < len(script.cut_after) else None
        drain = script.drain_after[connection] if connection < len(script.drain_after) else None
        told = max(opened.errors_seen_seq, script.errors_forgotten_seq if connection else 0)
        for request in requests:
            if request.HasField("chunk"):
                self.seqs[-1].append(request.chunk.seq)
                got = len(self.seqs[-1])
                lost = cut is not None and got > cut - script.forget
                if not lost:
                    self._apply(request.chunk)
                if got == cut:
                    abort(context, script.cut_code, "", "Socket closed")
                if got == drain:
                    yield from self._drain(requests, context, told)
                if lost or cut is not None and got > cut - script.forget - script.unacknowledged:
                    continue
            if not script.acknowledge:
                self.release.wait()
            yield self._ack(told)
            told = max(told, self.last_seq)
        yield self._ack(told)

    def _drain(self, requests, context, told: int):
        yield messages.InsertResponse(drain=messages.Drain(
            reason=messages.DRAIN_REASON_SHUTDOWN, received_seq=self.last_seq,
            retry_after_ms=self.script.retry_after_ms))
        yield self._ack(told)
        late = self.seqs[-1]  # what comes although it is not wanted shows up here

        def read_on() -> None:
            try:
                for request in requests:
                    if request.HasField("chunk"):
                        late.append(request.chunk.seq)
            except grpc.RpcError:
                pass  # the call is over

        threading.Thread(target=read_on, daemon=True).start()
        self.release.wait()
        self.end_times.append(time.monotonic())
        abort(context, grpc.StatusCode.UNAVAILABLE, "DRAINING", "the server shuts down")

    def _opened(self, connection: int, opened: messages.Open) -> messages.InsertResponse:
        script = self.script
        next_seq = self.last_seq + 1
        if connection == 1 and script.next_seq_lie is not None:
            next_seq = script.next_seq_lie
        incarnation = script.incarnations[min(connection, len(script.incarnations) - 1)]
        forgotten = script.errors_forgotten_seq if connection else 0
        return messages.InsertResponse(opened=messages.Opened(
            session_id=opened.session_id, next_seq=next_seq, dim=script.dim,
            max_chunk_bytes=script.max_chunk_bytes, credit_bytes=script.credit_bytes,
            incarnation=incarnation,
            errors_from_seq=max(opened.errors_seen_seq, forgotten) + 1))

    def _apply(self, chunk: messages.Chunk) -> None:
        if chunk.seq <= self.last_seq:
            return
        assert chunk.seq == self.last_seq + 1, f"gap: {chunk.seq} after {self.last_seq}"
        self.last_seq = chunk.seq
        pairs = [(point.id, np.frombuffer(point.vector.f32_le, "<f4")) for point in chunk.points]
        vectors = np.frombuffer(chunk.columns.vectors_f32_le, "<f4").reshape(-1, self.script.dim)
        pairs += [(messages.PointId(num=number), vector)
                  for number, vector in zip(chunk.columns.ids, vectors, strict=True)]
        for index, (number, vector) in enumerate(pairs):
            if number.num == REFUSED_ID:
                self.item_errors.append(messages.ItemError(
                    seq=chunk.seq, index=index, id=number,
                    code=grpc.StatusCode.ALREADY_EXISTS.value[0], reason="ALREADY_EXISTS",
                    message=f"id {number.num} exists"))
            else:
                self.rows.append((getattr(number, number.WhichOneof("kind")), vector))
        self.deleted += [getattr(number, number.WhichOneof("kind")) for number in chunk.deletes]

    def _ack(self, told: int) -> messages.InsertResponse:
        seq = self.last_seq
        return messages.InsertResponse(ack=messages.Ack(
            received_seq=seq, durable_seq=seq, searchable_seq=seq, errors_complete_seq=seq,
            errors=[error for error in self.item_errors if error.seq > told],
            log_position=seq + 1, credit_bytes=self.script.acknowledged_credit))

    # ---- Search -----------------------------------------------------------------------------

    def _search(self, request, context):
        dim = self.script.dim
        if request.columns.dim != dim:
            abort(context, grpc.StatusCode.INVALID_ARGUMENT, "DIMENSION_MISMATCH",
                  f"columns.dim is {request.columns.dim}, wanted {dim}")
        queries = np.frombuffer(request.columns.vectors_f32_le, "<f4").reshape(-1, dim)
        self.search_sizes.append(len(queries))
        ids = np.array([number for number, _ in self.rows], dtype="<u8")
        data = np.array([vector for _, vector in self.rows], dtype="<f4").reshape(-1, dim)
        response = messages.SearchResponse(log_position=self.last_seq + 1, duration_us=1000,
                                           incarnation=self.script.incarnations[0])
        for query in queries:
            distance = ((data - query) ** 2).sum(axis=1)
            order = np.lexsort((ids, distance))[:request.options.k]
            short = len(order) < request.options.k
            response.results.add(
                ids_le=ids[order].tobytes(), distances_le=distance[order].astype("<f4").tobytes(),
                visited=len(ids), exact=True,
                shortfall=messages.SHORTFALL_COLLECTION if short else messages.SHORTFALL_NONE)
        return response


def abort(context, code: grpc.StatusCode, reason: str, message: str) -> None:
    """Ends the call; with a reason it is the server's word, without it looks like transport."""
    if reason:
        detail = any_pb2.Any()
        detail.Pack(error_details_pb2.ErrorInfo(domain="omendb", reason=reason))
        status = status_pb2.Status(code=code.value[0], message=message, details=[detail])
        context.set_trailing_metadata([("grpc-status-details-bin", status.SerializeToString())])
    context.abort(code, message)


def _collection_handlers() -> grpc.GenericRpcHandler:
    """The one collection exists."""
    def create(_, context):
        abort(context, grpc.StatusCode.ALREADY_EXISTS, "COLLECTION_EXISTS", "it exists")

    return grpc.method_handlers_generic_handler("omendb.v1.CollectionService", {
        "CreateCollection": grpc.unary_unary_rpc_method_handler(
            create, collection_pb2.CreateCollectionRequest.FromString,
            collection_pb2.CreateCollectionResponse.SerializeToString)})

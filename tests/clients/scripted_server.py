"""A server of a few lines that misbehaves on cue: what a real one does only in bad moments.

It keeps one collection in memory, searches by brute force, and makes a chunk durable when it
arrives. `cut_after` breaks each of the first connections after so many chunks, with the last
`unacknowledged` of them durable but not yet acknowledged; `forget` drops chunks that were received
but not durable, as a crash does.
"""
from __future__ import annotations

import dataclasses
import threading
from concurrent import futures

import grpc
import numpy as np
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from omendb_client._proto import vector_pb2 as messages

REFUSED_ID = 13  # a point with this id is an item error


@dataclasses.dataclass
class Script:
    dim: int = 8
    max_chunk_bytes: int = 1024 + 50 * (4 * 8 + 16)  # 50 points of 8 components
    credit_bytes: int = 8 << 20
    cut_after: list[int] = dataclasses.field(default_factory=list)  # chunks, per connection
    cut_code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    unacknowledged: int = 0
    forget: int = 0  # the last chunks before a cut that are lost
    refuse_open: list[grpc.StatusCode] = dataclasses.field(default_factory=list)
    incarnations: list[bytes] = dataclasses.field(default_factory=lambda: [b"i" * 16])
    next_seq_lie: int | None = None  # what the second Opened claims
    acknowledge: bool = True


class ScriptedServer:
    """The state that a test looks at afterwards: rows, opens, seqs."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.rows: list[tuple[int, np.ndarray]] = []
        self.opens: list[bytes] = []  # session ids, one per connection
        self.seqs: list[list[int]] = []  # sequence numbers that arrived, per connection
        self.search_sizes: list[int] = []
        self.last_seq = 0
        self.release = threading.Event()  # acknowledge=False: acknowledgements wait for it
        self._server = grpc.server(futures.ThreadPoolExecutor(8))
        self._server.add_generic_rpc_handlers([self._handlers()])
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
        self.opens.append(opened.session_id)
        self.seqs.append([])
        if connection < len(script.refuse_open) and script.refuse_open[connection] is not None:
            abort(context, script.refuse_open[connection], "SCRIPTED", "refused on cue")
        yield self._opened(connection)
        cut = script.cut_after[connection] if connection < len(script.cut_after) else None
        errors: list[messages.ItemError] = []
        for request in requests:
            if request.HasField("chunk"):
                self.seqs[-1].append(request.chunk.seq)
                got = len(self.seqs[-1])
                lost = cut is not None and got > cut - script.forget
                if not lost:
                    errors += self._apply(request.chunk)
                if got == cut:
                    abort(context, script.cut_code, "", "Socket closed")
                if lost or cut is not None and got > cut - script.forget - script.unacknowledged:
                    continue
            if not script.acknowledge:
                self.release.wait()
            yield self._ack(errors)
            errors = []
        yield self._ack(errors)

    def _opened(self, connection: int) -> messages.InsertResponse:
        script = self.script
        next_seq = self.last_seq + 1
        if connection == 1 and script.next_seq_lie is not None:
            next_seq = script.next_seq_lie
        incarnation = script.incarnations[min(connection, len(script.incarnations) - 1)]
        return messages.InsertResponse(opened=messages.Opened(
            session_id=self.opens[-1], next_seq=next_seq, dim=script.dim,
            max_chunk_bytes=script.max_chunk_bytes, credit_bytes=script.credit_bytes,
            incarnation=incarnation))

    def _apply(self, chunk: messages.Chunk) -> list[messages.ItemError]:
        if chunk.seq <= self.last_seq:
            return []
        assert chunk.seq == self.last_seq + 1, f"gap: {chunk.seq} after {self.last_seq}"
        self.last_seq = chunk.seq
        vectors = np.frombuffer(chunk.columns.vectors_f32_le, "<f4").reshape(-1, self.script.dim)
        errors = []
        for index, (number, vector) in enumerate(zip(chunk.columns.ids, vectors, strict=True)):
            if number == REFUSED_ID:
                errors.append(messages.ItemError(
                    seq=chunk.seq, index=index, id=messages.PointId(num=number),
                    code=grpc.StatusCode.ALREADY_EXISTS.value[0], reason="ALREADY_EXISTS",
                    message=f"id {number} exists"))
            else:
                self.rows.append((number, vector))
        return errors

    def _ack(self, errors: list[messages.ItemError]) -> messages.InsertResponse:
        seq = self.last_seq
        return messages.InsertResponse(ack=messages.Ack(
            received_seq=seq, durable_seq=seq, searchable_seq=seq, errors_complete_seq=seq,
            errors=errors, log_position=seq + 1))

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
        response = messages.SearchResponse(log_position=self.last_seq + 1, duration_us=1000)
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

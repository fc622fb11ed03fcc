"""Short ways to say what a test asks of the server."""
from __future__ import annotations

import itertools
import queue
import struct

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from omendb.v1 import collection_pb2 as c
from omendb.v1 import collection_pb2_grpc as c_grpc
from omendb.v1 import snapshot_pb2_grpc as s_grpc
from omendb.v1 import vector_pb2 as v
from omendb.v1 import vector_pb2_grpc as v_grpc

TIMEOUT_S = 60
_names = itertools.count(1)


def f32(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def point(num: int | bytes, *values: float, **fields) -> v.Point:
    return v.Point(id=as_id(num), vector=v.Vector(f32_le=f32(*values)), **fields)


def open_message(collection: str, session_id: bytes = b"", **fields) -> v.InsertRequest:
    fields.setdefault("mode", v.WRITE_MODE_INSERT_ONLY)
    return v.InsertRequest(open=v.Open(collection=collection, session_id=session_id, **fields))


def as_id(value: int | bytes) -> v.PointId:
    return v.PointId(key=value) if isinstance(value, bytes) else v.PointId(num=value)


def id_of(message: v.PointId) -> int | bytes | None:
    kind = message.WhichOneof("kind")
    return getattr(message, kind) if kind else None


def chunk_message(seq: int, points=(), columns: v.PointColumns | None = None,
                  deletes=()) -> v.InsertRequest:
    return v.InsertRequest(chunk=v.Chunk(seq=seq, points=points, columns=columns,
                                         deletes=[as_id(one) for one in deletes]))


def flush_message() -> v.InsertRequest:
    return v.InsertRequest(flush=v.Flush())


def columns(dim: int, ids, data: bytes) -> v.PointColumns:
    return v.PointColumns(dim=dim, ids=ids, vectors_f32_le=data)


class Refusal:
    """A status with what its details say."""

    def __init__(self, error: grpc.RpcError) -> None:
        self.code = error.code()
        self.sentence = error.details()
        self.reason = self.field = self.domain = None
        status = rpc_status.from_call(error)
        for detail in status.details if status else ():
            info = error_details_pb2.ErrorInfo()
            bad = error_details_pb2.BadRequest()
            if detail.Unpack(info):
                self.reason, self.domain = info.reason, info.domain
            elif detail.Unpack(bad):
                self.field = bad.field_violations[0].field

    def __repr__(self) -> str:
        return f"{self.code} {self.reason} {self.field}: {self.sentence}"


def refusal_of(action) -> Refusal:
    """What action() is refused with; an error if it is not."""
    try:
        answer = action()
    except grpc.RpcError as error:
        return Refusal(error)
    raise AssertionError(f"not refused: {answer}")


class InsertStream:
    """One Insert call, message by message. Messages may be bytes, to send what is no message."""

    def __init__(self, call, timeout: float = TIMEOUT_S) -> None:
        self._messages: queue.SimpleQueue = queue.SimpleQueue()
        self.call = call(iter(self._messages.get, None), timeout=timeout)

    def send(self, *messages) -> "InsertStream":
        for message in messages:
            self._messages.put(message if isinstance(message, bytes)
                               else message.SerializeToString())
        return self

    def half_close(self) -> "InsertStream":
        self._messages.put(None)
        return self

    def read(self) -> v.InsertResponse:
        return next(self.call)

    def read_opened(self) -> v.Opened:
        response = self.read()
        assert response.WhichOneof("body") == "opened", response
        return response.opened

    def read_ack(self) -> v.Ack:
        response = self.read()
        assert response.WhichOneof("body") == "ack", response
        return response.ack

    def read_until(self, condition) -> list[v.Ack]:
        """Acks up to the first that meets the condition."""
        acks = []
        while not acks or not condition(acks[-1]):
            acks.append(self.read_ack())
        return acks

    def finish(self) -> list[v.Ack]:
        """Half-closes; every Ack that is left, after which the status must be OK."""
        self.half_close()
        acks = [response.ack for response in self.call]
        assert self.call.code() == grpc.StatusCode.OK
        return acks

    def refusal(self) -> Refusal:
        """The status that ends the call, whatever is answered before."""
        return refusal_of(lambda: [response for response in self.call])


class Api:
    """A channel of its own to a server, and its methods."""

    def __init__(self, target: str, options=()) -> None:
        self.channel = grpc.insecure_channel(target, options=[
            ("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1),
            *options])
        self.collections = c_grpc.CollectionServiceStub(self.channel)
        self.snapshots = s_grpc.SnapshotServiceStub(self.channel)
        self.vectors = v_grpc.VectorServiceStub(self.channel)
        self._insert = self.channel.stream_stream(
            "/omendb.v1.VectorService/Insert",
            request_serializer=lambda message: message,
            response_deserializer=v.InsertResponse.FromString)

    def insert(self, *messages, timeout: float = TIMEOUT_S) -> InsertStream:
        return InsertStream(self._insert, timeout).send(*messages)

    def create(self, dim: int = 2, metric: int = c.METRIC_L2, name: str | None = None,
               **config) -> str:
        name = name or f"collection-{next(_names)}"
        self.collections.CreateCollection(
            c.CreateCollectionRequest(
                name=name, config=c.CollectionConfig(dim=dim, metric=metric, **config)),
            timeout=TIMEOUT_S)
        return name

    def fill(self, name: str, rows: dict, session_id: bytes = b"") -> list[v.Ack]:
        """Inserts id -> vector, and waits until all of it is searchable."""
        stream = self.insert(open_message(name, session_id),
                             chunk_message(1, [point(num, *row) for num, row in rows.items()]))
        stream.read_opened()
        return stream.finish()

    def search(self, name: str, *queries, timeout: float = TIMEOUT_S, layout: int = 0,
               **options) -> v.SearchResponse:
        return self.vectors.Search(
            v.SearchRequest(collection=name, layout=layout, options=v.SearchOptions(**options),
                            queries=[v.Query(vector=v.Vector(f32_le=f32(*query)))
                                     for query in queries]), timeout=timeout)

    def ids(self, name: str, *query: float, **options) -> list[int | bytes]:
        """The ids of one query's hits."""
        return [id_of(hit.id) for hit in self.search(name, query, **options).results[0].hits]

    def upsert(self, name: str, *points: v.Point, **fields) -> v.UpsertResponse:
        return self.vectors.Upsert(v.UpsertRequest(collection=name, points=points, **fields),
                                   timeout=TIMEOUT_S)

    def delete(self, name: str, *ids: int | bytes, **fields) -> v.DeleteResponse:
        return self.vectors.Delete(v.DeleteRequest(
            collection=name, ids=[as_id(one) for one in ids], **fields), timeout=TIMEOUT_S)

    def get(self, name: str, *ids: int | bytes, **fields) -> v.GetResponse:
        return self.vectors.Get(v.GetRequest(
            collection=name, ids=[as_id(one) for one in ids], **fields), timeout=TIMEOUT_S)

    def rows(self, name: str, *ids: int | bytes) -> list[tuple | None]:
        """The vectors of these ids; None for one that is not there."""
        return [struct.unpack(f"<{len(result.f32_le) // 4}f", result.f32_le)
                if result.found else None for result in self.get(name, *ids).results]

    def close(self) -> None:
        self.channel.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace) -> None:
        self.close()

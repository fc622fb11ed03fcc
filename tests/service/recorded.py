"""Requests of API version 1 as bytes, and what they must be answered with, for ever.

    OMENDB_SERVER_BINARY=... python tests/service/record_requests.py     records them anew

tests/golden/requests-v1/NN-NAME.bin holds the messages of one call, each behind its length as four
bytes, little-endian; NN-NAME.json beside it the path, the messages as text for people, and the
answer. The calls build on one another, in the order of their names, from an empty server on.

A later version may answer with more than was recorded, but what was recorded stays.
"""
from __future__ import annotations

import json
import pathlib
import struct

import grpc
from calls import TIMEOUT_S, Refusal
from google.protobuf import json_format, text_format
from omendb.v1 import collection_pb2 as c
from omendb.v1 import snapshot_pb2 as s
from omendb.v1 import vector_pb2 as v

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "golden" / "requests-v1"
# What no two servers need answer alike.
VOLATILE = {"incarnation", "logPosition", "searchablePosition", "checkpointPosition", "durationUs",
            "creditBytes", "memoryBytes", "logBytes", "kernels", "expiresUnixS", "epoch",
            "graphHash", "algorithmVersion", "visited", "slots", "slotsMax", "links",
            "reachedByLinks", "linked", "message", "createdUnixS",
            "candidates", "probes"}  # whose defaults change with the algorithm
OF_SNAPSHOTS = {"id", "bytes"}  # volatile beside createdUnixS; points have an id, too
RESPONSES = {
    "/omendb.v1.VectorService/Insert": v.InsertResponse,
    "/omendb.v1.VectorService/Upsert": v.UpsertResponse,
    "/omendb.v1.VectorService/Delete": v.DeleteResponse,
    "/omendb.v1.VectorService/Get": v.GetResponse,
    "/omendb.v1.VectorService/Search": v.SearchResponse,
    "/omendb.v1.CollectionService/CreateCollection": c.CreateCollectionResponse,
    "/omendb.v1.CollectionService/GetCollection": c.GetCollectionResponse,
    "/omendb.v1.CollectionService/UpdateCollection": c.UpdateCollectionResponse,
    "/omendb.v1.CollectionService/ListCollections": c.ListCollectionsResponse,
    "/omendb.v1.CollectionService/DeleteCollection": c.DeleteCollectionResponse,
    "/omendb.v1.CollectionService/EstimateMemory": c.EstimateMemoryResponse,
    "/omendb.v1.CollectionService/ValidateCollection": c.ValidateCollectionResponse,
    "/omendb.v1.SnapshotService/CreateSnapshot": s.CreateSnapshotResponse,
    "/omendb.v1.SnapshotService/ListSnapshots": s.ListSnapshotsResponse,
    "/omendb.v1.SnapshotService/DeleteSnapshot": s.DeleteSnapshotResponse,
    "/omendb.v1.SnapshotService/VerifySnapshot": s.VerifySnapshotResponse,
    "/omendb.v1.SnapshotService/DownloadSnapshot": s.DownloadSnapshotResponse,
    "/omendb.v1.SnapshotService/RestoreSnapshot": s.RestoreSnapshotResponse,
}


def pack(messages: list[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(message)) + message for message in messages)


def unpack(data: bytes) -> list[bytes]:
    messages = []
    while data:
        (length,) = struct.unpack_from("<I", data)
        messages.append(data[4:4 + length])
        data = data[4 + length:]
    return messages


def stable(answer):
    """The answer without what is volatile."""
    if isinstance(answer, dict):
        volatile = VOLATILE | (OF_SNAPSHOTS if "createdUnixS" in answer else set())
        return {key: stable(value) for key, value in answer.items() if key not in volatile}
    if isinstance(answer, list):
        return [stable(value) for value in answer]
    return answer


def as_json(message):
    return stable(json_format.MessageToDict(message))


def of_stream(responses) -> dict:
    """What an Insert was told, however many Acks it was told it in."""
    acks = [response.ack for response in responses if response.HasField("ack")]
    return {"opened": [as_json(one.opened) for one in responses if one.HasField("opened")],
            "lastAck": as_json(v.Ack(received_seq=acks[-1].received_seq,
                                     durable_seq=acks[-1].durable_seq,
                                     searchable_seq=acks[-1].searchable_seq,
                                     errors_complete_seq=acks[-1].errors_complete_seq))
            if acks else {},
            "errors": [as_json(error) for ack in acks for error in ack.errors]}


def ask(channel, path: str, messages: list[bytes]) -> dict:
    """Sends these bytes as they are; code, and the answer or the reason."""
    read = RESPONSES[path].FromString
    try:
        if path.endswith("/Insert"):
            call = channel.stream_stream(path, response_deserializer=read)
            return {"code": "OK", "answer": of_stream(list(call(iter(messages),
                                                                timeout=TIMEOUT_S)))}
        if path.endswith("/DownloadSnapshot"):
            first, *chunks = channel.unary_stream(path, response_deserializer=read)(
                messages[0], timeout=TIMEOUT_S)
            whole = sum(len(one.chunk.data) for one in chunks) == first.snapshot.bytes
            return {"code": "OK", "answer": {"first": as_json(first), "whole": whole}}
        if path.endswith("/RestoreSnapshot"):
            call = channel.stream_unary(path, response_deserializer=read)
            return {"code": "OK", "answer": as_json(call(iter(messages), timeout=TIMEOUT_S))}
        call = channel.unary_unary(path, response_deserializer=read)
        return {"code": "OK", "answer": as_json(call(messages[0], timeout=TIMEOUT_S))}
    except grpc.RpcError as error:
        refusal = Refusal(error)
        return {"code": refusal.code.name, "reason": refusal.reason, "field": refusal.field}


def missing(recorded, answer, where="answer") -> list[str]:
    """Where the answer has not what was recorded; it may have more."""
    if isinstance(recorded, dict) and isinstance(answer, dict):
        return [line for key, value in recorded.items() if key not in VOLATILE
                for line in (missing(value, answer[key], f"{where}.{key}") if key in answer
                             else [f"{where}.{key} is gone"])]
    if isinstance(recorded, list) and isinstance(answer, list) and len(recorded) == len(answer):
        return [line for i, value in enumerate(recorded)
                for line in missing(value, answer[i], f"{where}[{i}]")]
    return [] if recorded == answer else [f"{where} is {answer!r}, recorded is {recorded!r}"]


def readable(message) -> str:
    return text_format.MessageToString(message, as_one_line=True)


def save(name: str, path: str, messages: list, outcome: dict) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{name}.bin").write_bytes(pack([one.SerializeToString() for one in messages]))
    (FOLDER / f"{name}.json").write_text(json.dumps({
        "path": path, "messages": [readable(one) for one in messages], **outcome}, indent=1) + "\n")


def load() -> list[tuple[str, list[bytes], dict]]:
    return [(file.stem, unpack(file.read_bytes()),
             json.loads(file.with_suffix(".json").read_text()))
            for file in sorted(FOLDER.glob("*.bin"))]

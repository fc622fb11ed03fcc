"""The channel and the calls: the only file that knows gRPC's names.

Searches and reads of collections are retried by gRPC itself on UNAVAILABLE, four attempts in about
two seconds; call() does the same for what may be written again (gRPC retries a method or not,
whatever the request says). Insert is not: a stream resumes by its session (see insert.py), which
gRPC cannot know.
"""
from __future__ import annotations

import json
import random
import time

import grpc

from omendb_client import errors
from omendb_client._proto import collection_pb2 as collection_messages
from omendb_client._proto import snapshot_pb2 as snapshot_messages
from omendb_client._proto import vector_pb2 as vector_messages

_VECTORS = "omendb.v1.VectorService"
_COLLECTIONS = "omendb.v1.CollectionService"
_SNAPSHOTS = "omendb.v1.SnapshotService"
_RETRIED = [
    {"service": _VECTORS, "method": "Search"},
    {"service": _COLLECTIONS, "method": "GetCollection"},
    {"service": _COLLECTIONS, "method": "ListCollections"},
]
_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": _RETRIED,
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}
ATTEMPTS = 4
BACKOFF_FIRST, BACKOFF_MAX = 0.1, 5.0  # seconds
_OPTIONS = [
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    # Answers with a large k are above gRPC's 4 MiB; what bounds them is how search.py batches.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # gRPC's own wait between connection attempts grows to two minutes: too long for a server that
    # is back in a second.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]


class Wire:
    """An open channel. The attributes are grpcio's callables, one per method."""

    def __init__(self, target: str) -> None:
        self.channel = grpc.insecure_channel(target, options=_OPTIONS)
        self.search = self._vectors("Search")
        self.upsert = self._vectors("Upsert")
        self.delete = self._vectors("Delete")
        self.get = self._vectors("Get")
        # Requests of Insert go in as bytes: a chunk is encoded once and may be sent twice.
        self.insert = self.channel.stream_stream(
            f"/{_VECTORS}/Insert",
            request_serializer=None,
            response_deserializer=vector_messages.InsertResponse.FromString,
        )
        self.create_collection = self._collection("Create")
        self.get_collection = self._collection("Get")
        self.update_collection = self._collection("Update")
        self.list_collections = self._collection("List", "Collections")
        self.delete_collection = self._collection("Delete")
        self.validate_collection = self._collection("Validate")
        self.estimate_memory = self._collection("Estimate", "Memory")
        self.create_snapshot = self._snapshot("Create")
        self.list_snapshots = self._snapshot("List", "Snapshots")
        self.delete_snapshot = self._snapshot("Delete")
        self.verify_snapshot = self._snapshot("Verify")
        self.download_snapshot = self.channel.unary_stream(
            f"/{_SNAPSHOTS}/DownloadSnapshot",
            request_serializer=snapshot_messages.DownloadSnapshotRequest.SerializeToString,
            response_deserializer=snapshot_messages.DownloadSnapshotResponse.FromString,
        )
        self.restore_snapshot = self.channel.stream_unary(
            f"/{_SNAPSHOTS}/RestoreSnapshot",
            request_serializer=snapshot_messages.RestoreSnapshotRequest.SerializeToString,
            response_deserializer=snapshot_messages.RestoreSnapshotResponse.FromString,
        )
        # One field in each direction: a string 1 and an enum 1, written and read by hand.
        self.health_check = self.channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=_health_request,
            response_deserializer=_health_status,
        )

    def _unary(self, service, method, request, response):
        return self.channel.unary_unary(
            f"/{service}/{method}",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )

    def _vectors(self, name: str):
        request = getattr(vector_messages, f"{name}Request")
        response = getattr(vector_messages, f"{name}Response")
        return self._unary(_VECTORS, name, request, response)

    def _collection(self, verb: str, noun: str = "Collection"):
        name = verb + noun
        request = getattr(collection_messages, f"{name}Request")
        response = getattr(collection_messages, f"{name}Response")
        return self._unary(_COLLECTIONS, name, request, response)

    def _snapshot(self, verb: str, noun: str = "Snapshot"):
        name = verb + noun
        request = getattr(snapshot_messages, f"{name}Request")
        response = getattr(snapshot_messages, f"{name}Response")
        return self._unary(_SNAPSHOTS, name, request, response)

    def close(self) -> None:
        self.channel.close()


def call(method, request, timeout: float | None, *, again: bool = False):
    """Calls a unary method; failures come as OmenError. `again`: it may be sent again when the
    server is away, because doing it twice is doing it once."""
    deadline = None if timeout is None else time.monotonic() + timeout
    for attempt in range(ATTEMPTS):
        left = None if deadline is None else max(0.001, deadline - time.monotonic())
        try:
            return method(request, timeout=left)
        except grpc.RpcError as error:
            told = errors.from_rpc(error)
        wait = backoff(attempt)
        if (not again or told.code != grpc.StatusCode.UNAVAILABLE or attempt == ATTEMPTS - 1
                or deadline is not None and time.monotonic() + wait >= deadline):
            raise told
        time.sleep(wait)


def backoff(attempt: int) -> float:
    """Seconds to wait after the attempt of that number, from 0: 0.1, 0.2, ... 5, each +-20 %, so
    that clients of one server do not come back at the same moment."""
    return min(BACKOFF_MAX, BACKOFF_FIRST * 2 ** min(attempt, 16)) * random.uniform(0.8, 1.2)


_HEALTH = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}


def _health_request(service: str) -> bytes:
    name = service.encode("utf-8")
    if len(name) > 127:
        raise errors.InvalidArgument(f"service name of {len(name)} bytes, at most 127")
    return bytes([0x0A, len(name)]) + name if name else b""


def _health_status(message: bytes) -> str:
    return _HEALTH.get(message[1] if message[:1] == b"\x08" and len(message) > 1 else 0, "UNKNOWN")

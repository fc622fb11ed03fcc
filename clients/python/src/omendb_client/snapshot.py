"""Snapshots: what the service tells about them, downloads that resume, and restores.

A download is written to <path>.part and renamed when it is complete. The part says itself to which
snapshot it belongs, so that a later call, of this program or another, goes on from its last byte;
if the snapshot was deleted and made again meanwhile, the part is thrown away.
"""
from __future__ import annotations

import dataclasses
import os
import pathlib
import time
import zlib
from collections.abc import Callable, Iterator

import grpc

from omendb_client import collection as collections
from omendb_client.collection import Collection
from omendb_client.errors import (
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    OmenError,
    Unavailable,
    from_rpc,
)
from omendb_client._proto import snapshot_pb2 as messages
from omendb_client.wire import Wire, backoff

CHUNK_BYTES = 256 << 10
# Where a snapshot has its id: behind the header of its first section.
_ID_OFFSET, _ID_BYTES = 40, 16
_BROKEN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL,
           grpc.StatusCode.CANCELLED)

Progress = Callable[[int, int], None]  # bytes that are there, bytes of the snapshot


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """What a server tells about a snapshot. Where the file is damaged so that it does not say what
    it is, only name and bytes are filled."""

    name: str
    id: bytes  # new for every snapshot that is made
    collection: str  # of which it was made
    incarnation: bytes  # of that collection
    dim: int
    metric: str
    points: int
    log_position: int  # of the last record in it
    algorithm_version: int
    bytes: int
    created_unix_s: int


def from_message(message: messages.Snapshot) -> Snapshot:
    return Snapshot(message.name, message.id, message.collection, message.incarnation,
                    message.config.dim, collections.metric_name(message.config.metric),
                    message.points, message.log_position, message.algorithm_version,
                    message.bytes, message.created_unix_s)


# ---- download -----------------------------------------------------------------------------------


def download(wire: Wire, name: str, path: pathlib.Path, retry_seconds: float,
             progress: Progress | None) -> Snapshot:
    part = path.with_name(path.name + ".part")
    patience = time.monotonic() + retry_seconds
    attempt = 0
    with open(part, "a+b") as file:
        while True:
            before = file.seek(0, os.SEEK_END)
            try:
                told = _download_some(wire, name, file, progress)
                break
            except FailedPrecondition:  # SNAPSHOT_CHANGED: what is here is of another one
                if before == 0:
                    raise
                file.truncate(0)
                continue
            except OmenError as error:
                there = file.seek(0, os.SEEK_END)
                if there > before:
                    patience, attempt = time.monotonic() + retry_seconds, 0
                if error.code not in _BROKEN or time.monotonic() > patience:
                    raise
                if error.reason and not isinstance(error, Unavailable):
                    raise
            time.sleep(backoff(attempt))
            attempt += 1
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    return told


def _download_some(wire: Wire, name: str, file, progress: Progress | None) -> Snapshot:
    """From the end of what `file` has to the end of the snapshot."""
    there = file.seek(0, os.SEEK_END)
    if there < _ID_OFFSET + _ID_BYTES:
        there = file.truncate(0)
    file.seek(_ID_OFFSET)
    request = messages.DownloadSnapshotRequest(name=name, offset=there, id=file.read(_ID_BYTES))
    snapshot = None
    try:
        for response in wire.download_snapshot(request):
            if response.WhichOneof("body") == "snapshot":
                snapshot = from_message(response.snapshot)
                continue
            there += _keep(file, response.chunk, there)
            if progress is not None and snapshot is not None:
                progress(there, snapshot.bytes)
    except grpc.RpcError as error:
        raise from_rpc(error) from None
    if snapshot is None or there != snapshot.bytes:
        raise Unavailable(f"the download of snapshot {name!r} ended at byte {there}")
    return snapshot


def _keep(file, chunk: messages.SnapshotChunk, there: int) -> int:
    if chunk.offset != there:
        raise DataLoss(f"bytes came from offset {chunk.offset}, wanted {there}")
    if zlib.crc32(chunk.data) != chunk.crc32:
        raise DataLoss(f"the bytes at offset {there} were damaged on their way", "BAD_CHUNK")
    file.write(chunk.data)
    return len(chunk.data)


# ---- restore ------------------------------------------------------------------------------------


def restore(wire: Wire, collection: str, path: pathlib.Path | None, snapshot: str | None,
            timeout: float | None, progress: Progress | None) -> Collection:
    if (path is None) == (snapshot is None):
        raise InvalidArgument("give either the path of a file or the name of a snapshot")
    begin = messages.RestoreBegin(collection=collection, snapshot=snapshot or "")
    try:
        response = wire.restore_snapshot(_restore_requests(begin, path, progress), timeout=timeout)
    except grpc.RpcError as error:
        raise from_rpc(error) from None
    return collections.from_message(response.collection)


def _restore_requests(begin: messages.RestoreBegin, path: pathlib.Path | None,
                      progress: Progress | None) -> Iterator[messages.RestoreSnapshotRequest]:
    yield messages.RestoreSnapshotRequest(begin=begin)
    if path is None:
        return
    total = path.stat().st_size
    with open(path, "rb") as file:
        for offset in range(0, total, CHUNK_BYTES):
            data = file.read(CHUNK_BYTES)
            yield messages.RestoreSnapshotRequest(chunk=messages.SnapshotChunk(
                offset=offset, data=data, crc32=zlib.crc32(data)))
            if progress is not None:
                progress(offset + len(data), total)

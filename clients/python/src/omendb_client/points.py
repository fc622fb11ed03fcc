"""Points on their way out: ids that are numbers or keys, rows, chunks of them, and refusals.

An id is an integer from 0 to 2**64 - 1, or a key: 1 to 64 bytes, where a str stands for its UTF-8
bytes. Answers give keys as bytes. 7, b"7" and "7" are two ids: the last two are the same key.

Rows whose ids are all numbers go out as two runs of bytes, the fast way; as soon as one is a key,
as single Points.
"""
from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import grpc
import numpy as np
from numpy.typing import ArrayLike

from omendb_client.errors import InvalidArgument, make
from omendb_client._proto import vector_pb2 as messages

Id = int | bytes
# All numbers, as uint64; or a list in which at least one is a key.
Ids = np.ndarray | list[Id]

ID_MAX = 2**64 - 1
CHUNK_BYTES = 480 << 10  # of one record of the log
# What a record needs beside its items, and per item beside its floats and the bytes of its key:
# 8 for the id, 2 for the index, 1 for a key's length, 4 for the expiry, and alignment.
_CHUNK_OVERHEAD = 1024
_ITEM_OVERHEAD = 16
_CHUNK_ITEMS_MAX = 4096  # keeps acknowledgements and progress coming for small vectors

MODES: dict[str, messages.WriteMode] = {
    "insert": messages.WRITE_MODE_INSERT_ONLY,  # an id that exists is refused
    "upsert": messages.WRITE_MODE_UPSERT,  # the last write wins
    "update": messages.WRITE_MODE_UPDATE_ONLY,  # an id that is not there is refused
}


@dataclasses.dataclass(frozen=True)
class ReadToken:
    """A point of a collection's history, which every write and read tells. search(min_read=token)
    waits until it sees at least that."""

    incarnation: bytes  # of the collection
    log_position: int

    def to_message(self) -> messages.ReadToken:
        return messages.ReadToken(incarnation=self.incarnation, log_position=self.log_position)


@dataclasses.dataclass(frozen=True)
class ItemError:
    """A point that was refused, or an id that is none."""

    # Of the row or the deleted id: counted over everything given to the call or the stream. None
    # if an earlier stream of the session sent it (InsertStream.earlier_errors).
    index: int | None
    id: Id
    code: int  # a google.rpc.Code
    reason: str
    message: str
    seq: int = 0  # the chunk; 0 outside of streams
    place: int = 0  # in the chunk or the request


class Refusals:
    """What results of writes share: `errors`, and what to do about them."""

    errors: list[ItemError]

    def raise_for_errors(self):
        """Raises the first item error, if there is one; else returns the result."""
        if self.errors:
            first = self.errors[0]
            raise make(
                status_code(first.code),
                f"{len(self.errors)} points were refused, the first at index {first.index} with"
                f" id {first.id!r}: {first.message}",
                first.reason,
            )
        return self


def status_code(number: int) -> grpc.StatusCode:
    """grpcio's member for a google.rpc.Code."""
    return next((code for code in grpc.StatusCode if code.value[0] == number),
                grpc.StatusCode.UNKNOWN)


# ---- ids ----------------------------------------------------------------------------------------


def read_ids(ids: ArrayLike | Iterable[int | str | bytes]) -> Ids:
    """uint64 [n] if all are numbers, else a list of int and bytes; or InvalidArgument."""
    if isinstance(ids, (str, bytes, int)):
        raise InvalidArgument(f"ids is {ids!r}, wanted a sequence of ids")
    if isinstance(ids, np.ndarray) and ids.dtype.kind not in "OUS":
        return _numbers(ids)
    values = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
    if any(isinstance(value, (str, bytes)) for value in values):
        return [_read_id(value) for value in values]
    return _numbers(np.asarray(values) if values else np.empty(0, np.uint64))


def _numbers(ids: np.ndarray) -> np.ndarray:
    if ids.ndim != 1:
        raise InvalidArgument(f"ids has shape {ids.shape}, wanted [n]")
    if len(ids) and ids.dtype.kind == "O":
        return np.array([_read_id(value) for value in ids.tolist()], dtype=np.uint64)
    if len(ids) and ids.dtype.kind not in "iu":
        raise InvalidArgument(f"ids has type {ids.dtype}, wanted integers, str or bytes")
    if ids.dtype.kind == "i" and len(ids) and int(ids.min()) < 0:
        raise InvalidArgument(f"ids has {int(ids.min())}, wanted 0 to 2**64 - 1")
    return ids.astype(np.uint64, copy=False)


def _read_id(value: object) -> Id:
    if isinstance(value, str):
        return value.encode("utf-8")
    if isinstance(value, bytes):
        return value
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
        raise InvalidArgument(f"ids has {value!r}, wanted an integer, str or bytes")
    if not 0 <= value <= ID_MAX:
        raise InvalidArgument(f"ids has {value}, wanted 0 to 2**64 - 1")
    return int(value)


def id_messages(ids: Ids) -> Iterator[messages.PointId]:
    for value in ids.tolist() if isinstance(ids, np.ndarray) else ids:
        if isinstance(value, bytes):
            yield messages.PointId(key=value)
        else:
            yield messages.PointId(num=value)


def from_id(message: messages.PointId) -> Id:
    return message.key if message.WhichOneof("kind") == "key" else message.num


# ---- rows ---------------------------------------------------------------------------------------


def check_rows(ids: ArrayLike, vectors: ArrayLike) -> tuple[Ids, np.ndarray]:
    """Ids and vectors as a number array [n, dim], or InvalidArgument."""
    vectors = np.asarray(vectors)
    if vectors.ndim != 2 or vectors.shape[1] == 0:
        raise InvalidArgument(f"vectors has shape {vectors.shape}, wanted [n, dim]")
    if vectors.dtype.kind not in "fiu":
        raise InvalidArgument(f"vectors has type {vectors.dtype}, wanted numbers")
    ids = read_ids(ids)
    if len(ids) != len(vectors):
        raise InvalidArgument(f"ids has shape ({len(ids)},), wanted [{len(vectors)}]")
    return ids, vectors


def check_mode(mode: str) -> messages.WriteMode:
    if mode not in MODES:
        raise InvalidArgument(f"mode is {mode!r}, wanted one of {', '.join(MODES)}", "BAD_MODE")
    return MODES[mode]


def check_ttl(ttl: int | None) -> int:
    """As the wire has it: 0 is for ever."""
    if ttl is None:
        return 0
    if isinstance(ttl, bool) or not isinstance(ttl, (int, np.integer)) or not 0 < ttl < 2**32:
        raise InvalidArgument(f"ttl is {ttl!r}, wanted whole seconds from 1 to {2**32 - 1}",
                              "BAD_LIMIT")
    return int(ttl)


def cut(ids: Ids, dim: int, chunk_bytes: int = CHUNK_BYTES) -> Iterator[tuple[int, int]]:
    """Ranges of items that fit into a chunk each; dim is 0 for deletes."""
    room = chunk_bytes - _CHUNK_OVERHEAD
    item = 4 * dim + _ITEM_OVERHEAD
    if isinstance(ids, np.ndarray):
        step = max(1, min(_CHUNK_ITEMS_MAX, room // item))
        for begin in range(0, len(ids), step):
            yield begin, min(begin + step, len(ids))
        return
    begin = used = 0
    for at, value in enumerate(ids):
        cost = item + (len(value) if isinstance(value, bytes) else 0)
        if at > begin and (used + cost > room or at - begin == _CHUNK_ITEMS_MAX):
            yield begin, at
            begin, used = at, 0
        used += cost
    if begin < len(ids):
        yield begin, len(ids)


def rows_per_chunk(dim: int, chunk_bytes: int) -> int:
    """How many rows whose ids are numbers fit into a chunk."""
    return next(cut(np.empty(_CHUNK_ITEMS_MAX, np.uint64), dim, chunk_bytes))[1]


def fill(message: messages.Chunk | messages.UpsertRequest, ids: Ids, vectors: np.ndarray,
         ttl_s: int) -> None:
    """Puts rows into a message's columns or points. In place: a constructor would copy floats."""
    if isinstance(ids, np.ndarray):
        message.columns.dim = vectors.shape[1]
        message.columns.ids.extend(ids.tolist())
        message.columns.vectors_f32_le = little_endian(vectors)
        message.columns.ttl_s = ttl_s
        return
    for number, row in zip(id_messages(ids), np.ascontiguousarray(vectors, "<f4"), strict=True):
        point = message.points.add()
        point.id.CopyFrom(number)
        point.vector.f32_le = row.tobytes()
        point.ttl_s = ttl_s


def little_endian(vectors: np.ndarray) -> bytes:
    return np.ascontiguousarray(vectors, dtype="<f4").tobytes()


def item_errors(errors: Sequence[messages.ItemError], first: int) -> list[ItemError]:
    """Those of a unary write whose request began with item `first` of the call."""
    return [ItemError(first + item.index, from_id(item.id), item.code, item.reason, item.message,
                      item.seq, item.index) for item in errors]

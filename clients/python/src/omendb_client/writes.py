"""Writes and reads of single points without a stream: upsert, delete, get.

Each call cuts what it is given into requests that the service takes, and sends one after the
other. There is no session: what a failed call has written before stays written, and doing the same
again is harmless, except that mode "insert" then refuses the rows that are there.
"""
from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import ArrayLike

from omendb_client import points, wire as wires
from omendb_client.errors import FailedPrecondition, InvalidArgument
from omendb_client.points import Id, ItemError, ReadToken, Refusals
from omendb_client._proto import vector_pb2 as messages
from omendb_client.wire import Wire

_GET_IDS_MAX = 1024
WAITS = {"durable": messages.WAIT_FOR_DURABLE, "searchable": messages.WAIT_FOR_SEARCHABLE}


@dataclasses.dataclass(frozen=True)
class UpsertResult(Refusals):
    written: int
    errors: list[ItemError]
    token: ReadToken | None  # a search with it sees the rows; None if there were none


@dataclasses.dataclass(frozen=True)
class DeleteResult(Refusals):
    errors: list[ItemError]  # ids that are none; an id that is not there is no error
    token: ReadToken | None


@dataclasses.dataclass(frozen=True)
class GetResult:
    """Row i belongs to ids[i]."""

    ids: list[Id]
    found: np.ndarray  # bool [n]
    vectors: np.ndarray  # float32 [n, dim], as they were sent; NaN where nothing was found
    expires_unix_s: np.ndarray  # uint64 [n]; 0 = never
    token: ReadToken | None  # every answer saw at least this

    def __len__(self) -> int:
        return len(self.ids)


def check_wait(wait: str) -> messages.WaitFor:
    if wait not in WAITS:
        raise InvalidArgument(f"wait is {wait!r}, wanted 'durable' or 'searchable'")
    return WAITS[wait]


def upsert(wire: Wire, collection: str, ids: ArrayLike, vectors: ArrayLike,
           options: messages.UpsertRequest, timeout: float | None) -> UpsertResult:
    """`options` has mode and wait_for; columns.ttl_s is that of every row."""
    ids, vectors = points.check_rows(ids, vectors)
    errors: list[ItemError] = []
    token = None
    # A lost answer may mean that it was written: only an upsert may be sent again blindly.
    again = options.mode == messages.WRITE_MODE_UPSERT
    for begin, end in points.cut(ids, vectors.shape[1]):
        request = messages.UpsertRequest(collection=collection, mode=options.mode,
                                         wait_for=options.wait_for)
        points.fill(request, ids[begin:end], vectors[begin:end], options.columns.ttl_s)
        response = wires.call(wire.upsert, request, timeout, again=again)
        errors += points.item_errors(response.errors, begin)
        token = _later(token, response.token, collection)
    return UpsertResult(len(ids) - len(errors), errors, token)


def delete(wire: Wire, collection: str, ids: ArrayLike, wait_for: messages.WaitFor,
           timeout: float | None) -> DeleteResult:
    ids = points.read_ids(ids)
    errors: list[ItemError] = []
    token = None
    for begin, end in points.cut(ids, 0):
        request = messages.DeleteRequest(collection=collection, wait_for=wait_for,
                                         ids=points.id_messages(ids[begin:end]))
        response = wires.call(wire.delete, request, timeout, again=True)
        errors += points.item_errors(response.errors, begin)
        token = _later(token, response.token, collection)
    return DeleteResult(errors, token)


def get(wire: Wire, collection: str, ids: ArrayLike, vectors: bool,
        timeout: float | None) -> GetResult:
    ids = points.read_ids(ids)
    results: list[messages.GetResult] = []
    token = None
    for begin in range(0, len(ids), _GET_IDS_MAX):
        some = ids[begin:begin + _GET_IDS_MAX]
        request = messages.GetRequest(collection=collection, without_vectors=not vectors,
                                      ids=points.id_messages(some))
        response = wires.call(wire.get, request, timeout, again=True)
        results += response.results
        token = _earlier(token, response.token, collection)
    return _joined(ids, results, token)


def _joined(ids: points.Ids, results: list[messages.GetResult],
            token: ReadToken | None) -> GetResult:
    dim = max((len(result.f32_le) // 4 for result in results), default=0)
    rows = np.full((len(results), dim), np.nan, dtype=np.float32)
    for row, result in zip(rows, results, strict=True):
        if result.found and result.f32_le:
            row[:] = np.frombuffer(result.f32_le, "<f4")
    return GetResult(
        ids=ids.tolist() if isinstance(ids, np.ndarray) else ids,
        found=np.array([result.found for result in results], dtype=bool),
        vectors=rows,
        expires_unix_s=np.array([result.expires_unix_s for result in results], dtype=np.uint64),
        token=token,
    )


def _later(token: ReadToken | None, message: messages.ReadToken, collection: str) -> ReadToken:
    position = message.log_position if token is None else max(token.log_position,
                                                              message.log_position)
    return _same_life(token, message, position, collection)


def _earlier(token: ReadToken | None, message: messages.ReadToken, collection: str) -> ReadToken:
    position = message.log_position if token is None else min(token.log_position,
                                                              message.log_position)
    return _same_life(token, message, position, collection)


def _same_life(token: ReadToken | None, message: messages.ReadToken, position: int,
               collection: str) -> ReadToken:
    if token is not None and token.incarnation != message.incarnation:
        raise made_again(collection)
    return ReadToken(message.incarnation, position)


def made_again(collection: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"collection {collection!r} was deleted and created again meanwhile",
        "INCARNATION_CHANGED")

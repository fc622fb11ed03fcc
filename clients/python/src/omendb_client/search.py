"""Batched search: cuts queries into requests that the service takes, and joins the answers.

Several requests are in flight at a time, so that the server's threads do not wait for the wire.
A request that fails fails the whole call: its error is raised, the others are cancelled.
"""
from __future__ import annotations

import dataclasses
from collections import deque

import grpc
import numpy as np
from numpy.typing import ArrayLike

from omendb_client.errors import InvalidArgument, from_rpc
from omendb_client._proto import vector_pb2 as messages
from omendb_client.wire import Wire

# Fillers of rows with fewer than k hits.
PAD_ID = np.uint64(2**64 - 1)
PAD_DISTANCE = np.float32(np.inf)

_QUERIES_MAX = 1024  # of one request, the service's limit
_REQUEST_BYTES = 4 << 20
_RESPONSE_BYTES = 16 << 20
_HIT_BYTES = 12
_IN_FLIGHT = 4

SHORTFALLS = ("none", "collection", "ef")


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """Row i belongs to query i. All arrays have n rows."""

    ids: np.ndarray  # uint64 [n, k], ascending by (distance, id); PAD_ID beyond counts[i]
    distances: np.ndarray  # float32 [n, k]; +inf beyond counts[i]
    counts: np.ndarray  # uint32 [n]: hits of the query, at most k
    visited: np.ndarray  # uint32 [n]: points whose distance was computed
    exact: np.ndarray  # bool [n]: every point was compared
    ef: np.ndarray  # uint32 [n]: as used; 0 when exact
    shortfall: np.ndarray  # uint8 [n]: index into SHORTFALLS, why there are fewer than k hits
    log_position: int  # every answer saw at least the records up to this one
    server_seconds: float  # inside the server, all requests added up

    def __len__(self) -> int:
        return len(self.ids)


def _empty(count: int, k: int) -> SearchResult:
    return SearchResult(
        ids=np.full((count, k), PAD_ID, dtype=np.uint64),
        distances=np.full((count, k), PAD_DISTANCE, dtype=np.float32),
        counts=np.zeros(count, dtype=np.uint32),
        visited=np.zeros(count, dtype=np.uint32),
        exact=np.zeros(count, dtype=bool),
        ef=np.zeros(count, dtype=np.uint32),
        shortfall=np.zeros(count, dtype=np.uint8),
        log_position=0,
        server_seconds=0.0,
    )


def _fill(result: SearchResult, begin: int, response: messages.SearchResponse) -> None:
    for row, answer in enumerate(response.results, start=begin):
        ids = np.frombuffer(answer.ids_le, dtype="<u8")
        result.ids[row, :len(ids)] = ids
        result.distances[row, :len(ids)] = np.frombuffer(answer.distances_le, dtype="<f4")
        result.counts[row] = len(ids)
        result.visited[row] = answer.visited
        result.exact[row] = answer.exact
        result.ef[row] = answer.ef
        result.shortfall[row] = answer.shortfall


@dataclasses.dataclass(frozen=True)
class _Batches:
    """The requests of one search, made when their turn comes."""

    collection: str
    queries: np.ndarray
    options: messages.SearchOptions
    step: int

    def request(self, begin: int) -> messages.SearchRequest:
        rows = np.ascontiguousarray(self.queries[begin:begin + self.step], dtype="<f4")
        request = messages.SearchRequest(
            collection=self.collection,
            options=self.options,
            layout=messages.RESULT_LAYOUT_COLUMNS,
        )
        request.columns.dim = rows.shape[1]
        request.columns.vectors_f32_le = rows.tobytes()
        return request


def search(wire: Wire, collection: str, queries: ArrayLike, options: messages.SearchOptions,
           timeout: float | None) -> SearchResult:
    queries = np.asarray(queries)
    if queries.ndim == 1:
        queries = queries[np.newaxis]
    if queries.ndim != 2 or queries.shape[1] == 0:
        raise InvalidArgument(f"queries has shape {queries.shape}, wanted [dim] or [n, dim]")
    if queries.dtype.kind not in "fiu":
        raise InvalidArgument(f"queries has type {queries.dtype}, wanted numbers")
    k = options.k
    step = min(_QUERIES_MAX, max(1, _REQUEST_BYTES // (4 * queries.shape[1])),
               max(1, _RESPONSE_BYTES // (_HIT_BYTES * k)))
    batches = _Batches(collection, queries, options, step)
    starts = deque(range(0, len(queries), step))
    # The arrays wait for the first answer: a k that the server refuses must not cost memory here.
    result: SearchResult | None = None
    positions: list[int] = []
    microseconds = 0
    flying: deque[tuple[int, grpc.Future]] = deque()
    try:
        while starts or flying:
            while starts and len(flying) < _IN_FLIGHT:
                begin = starts.popleft()
                flying.append(
                    (begin, wire.search.future(batches.request(begin), timeout=timeout)))
            begin, future = flying.popleft()
            response = future.result()
            if result is None:
                result = _empty(len(queries), k)
            _fill(result, begin, response)
            microseconds += response.duration_us
            positions.append(response.log_position)
    except grpc.RpcError as error:
        raise from_rpc(error) from None
    finally:
        for _, future in flying:
            future.cancel()
    if result is None:
        return _empty(0, k)
    return dataclasses.replace(result, log_position=min(positions),
                               server_seconds=microseconds / 1e6)

"""Batched search: cuts queries into requests that the service takes, and joins the answers.

Several requests are in flight at a time, so that the server's threads do not wait for the wire.
A request that fails fails the whole call: its error is raised, the others are cancelled. A query
that is refused costs nobody else anything: its error stands in the result. Only if all were refused
is the first of their errors raised.
"""
from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator, Sequence

import grpc
import numpy as np
from numpy.typing import ArrayLike

from omendb_client.errors import InvalidArgument, OmenError, from_rpc, make
from omendb_client.points import Id, ReadToken, from_id, little_endian, status_code
from omendb_client._proto import vector_pb2 as messages
from omendb_client.wire import Wire
from omendb_client.writes import made_again

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
class QueryOptions:
    """How one query is searched, in place of the call's k, ef and exact."""

    k: int = 10
    ef: int | None = None  # None: what the collection's target_recall needs
    exact: bool = False

    def to_message(self) -> messages.SearchOptions:
        return messages.SearchOptions(
            k=unsigned("k", self.k, 1),
            ef=unsigned("ef", self.ef, 1) if self.ef is not None else 0, exact=self.exact)


@dataclasses.dataclass(frozen=True)
class QueryError:
    """A query that was refused; it has no hits."""

    index: int
    code: int  # a google.rpc.Code
    reason: str
    message: str

    def to_exception(self) -> OmenError:
        return make(status_code(self.code), self.message, self.reason)


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """Row i belongs to query i. All arrays have n rows; k is the largest that was asked for."""

    ids: np.ndarray  # uint64 [n, k], ascending by (distance, id); PAD_ID beyond counts[i]
    distances: np.ndarray  # float32 [n, k]; +inf beyond counts[i]
    counts: np.ndarray  # uint32 [n]: hits of the query, at most k
    visited: np.ndarray  # uint32 [n]: points whose distance was computed
    exact: np.ndarray  # bool [n]: every point was compared
    ef: np.ndarray  # uint32 [n]: as used; 0 when exact
    shortfall: np.ndarray  # uint8 [n]: index into SHORTFALLS, why there are fewer than k hits
    # Object [n, k] of int and bytes, None beyond counts[i], if any hit's id is a key: `ids` has 0
    # in its place. None if all are numbers.
    keys: np.ndarray | None
    errors: list[QueryError]  # of the queries that were refused
    log_position: int  # every answer saw at least the records up to this one
    token: ReadToken | None  # the same for a later search; None without queries
    server_seconds: float  # inside the server, all requests added up

    def __len__(self) -> int:
        return len(self.ids)

    def hits(self, row: int) -> list[tuple[Id, float]]:
        """The (id, distance) of a query's hits; a key comes as bytes."""
        count = int(self.counts[row])
        ids = self.ids if self.keys is None else self.keys
        return list(zip(ids[row, :count].tolist(), self.distances[row, :count].tolist(),
                        strict=True))

    def raise_for_errors(self) -> "SearchResult":
        """Raises the error of the first query that was refused, if there is one."""
        if self.errors:
            raise self.errors[0].to_exception()
        return self


def unsigned(field: str, value: int, lowest: int = 0) -> int:
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
        raise InvalidArgument(f"{field} is {value!r}, wanted an integer")
    if not lowest <= value < 2**32:
        raise InvalidArgument(f"{field} is {value}, wanted {lowest} to {2**32 - 1}", "BAD_LIMIT")
    return int(value)


class _Answers:
    """The result in the making. Its arrays wait for the first answer: a k that the server refuses
    must not cost memory here."""

    def __init__(self, count: int, k: int) -> None:
        self._count = count
        self._k = k
        self._result: SearchResult | None = None
        self._keys: np.ndarray | None = None
        self._positions: list[int] = []
        self._incarnations: set[bytes] = set()
        self._microseconds = 0

    def _arrays(self) -> SearchResult:
        if self._result is None:
            shape = self._count, self._k
            self._result = SearchResult(
                ids=np.full(shape, PAD_ID, dtype=np.uint64),
                distances=np.full(shape, PAD_DISTANCE, dtype=np.float32),
                counts=np.zeros(self._count, dtype=np.uint32),
                visited=np.zeros(self._count, dtype=np.uint32),
                exact=np.zeros(self._count, dtype=bool),
                ef=np.zeros(self._count, dtype=np.uint32),
                shortfall=np.zeros(self._count, dtype=np.uint8),
                keys=None, errors=[], log_position=0, token=None, server_seconds=0.0,
            )
        return self._result

    def take(self, begin: int, response: messages.SearchResponse) -> None:
        result = self._arrays()
        self._positions.append(response.log_position)
        self._incarnations.add(response.incarnation)
        self._microseconds += response.duration_us
        for row, answer in enumerate(response.results, start=begin):
            if answer.code != 0:
                result.errors.append(QueryError(row, answer.code, answer.reason, answer.message))
                continue
            ids = np.frombuffer(answer.ids_le, dtype="<u8")
            result.ids[row, :len(ids)] = ids
            result.distances[row, :len(ids)] = np.frombuffer(answer.distances_le, dtype="<f4")
            result.counts[row] = len(ids)
            result.visited[row] = answer.visited
            result.exact[row] = answer.exact
            result.ef[row] = answer.ef
            result.shortfall[row] = answer.shortfall
            if answer.keys:
                self._take_keys(row, [from_id(key) for key in answer.keys])

    def _take_keys(self, row: int, ids: list[Id]) -> None:
        if self._keys is None:
            self._keys = np.full((self._count, self._k), None, dtype=object)
        self._keys[row, :len(ids)] = ids

    def finish(self, collection: str) -> SearchResult:
        result = self._arrays()
        if not self._positions:
            return result
        if len(self._incarnations) > 1:
            raise made_again(collection)
        if self._keys is not None:
            for row in range(self._count):  # rows without a key came without a list
                count = int(result.counts[row])
                if count > 0 and self._keys[row, 0] is None:
                    self._keys[row, :count] = result.ids[row, :count].tolist()
        position = min(self._positions)
        result.errors.sort(key=lambda error: error.index)
        return dataclasses.replace(
            result, keys=self._keys, log_position=position,
            token=ReadToken(self._incarnations.pop(), position),
            server_seconds=self._microseconds / 1e6)


@dataclasses.dataclass(frozen=True)
class _Batches:
    """The requests of one search, made when their turn comes."""

    collection: str
    queries: np.ndarray
    common: QueryOptions
    single: Sequence[QueryOptions | None] | None  # per query
    min_read: ReadToken | None

    def ranges(self) -> Iterator[tuple[int, int]]:
        """Requests of limited size, and so that their answers are."""
        count, dim = self.queries.shape
        most = min(_QUERIES_MAX, max(1, _REQUEST_BYTES // (4 * dim)))
        hits_max = _RESPONSE_BYTES // _HIT_BYTES // 2  # ids, distances and what keys may need
        begin = hits = 0
        for at in range(count):
            k = self.options(at).k
            if at > begin and (at - begin == most or hits + k > hits_max):
                yield begin, at
                begin, hits = at, 0
            hits += k
        if count > 0:
            yield begin, count

    def options(self, at: int) -> QueryOptions:
        return (self.single[at] if self.single is not None else None) or self.common

    def request(self, begin: int, end: int) -> messages.SearchRequest:
        rows = self.queries[begin:end]
        request = messages.SearchRequest(
            collection=self.collection,
            options=self.common.to_message(),
            layout=messages.RESULT_LAYOUT_COLUMNS,
            min_read=self.min_read.to_message() if self.min_read is not None else None,
        )
        if self.single is None:
            request.columns.dim = rows.shape[1]
            request.columns.vectors_f32_le = little_endian(rows)
            return request
        for at, row in enumerate(np.ascontiguousarray(rows, dtype="<f4"), start=begin):
            query = request.queries.add()
            query.vector.f32_le = row.tobytes()
            if self.single[at] is not None:
                query.options.CopyFrom(self.single[at].to_message())
        return request


def check_queries(queries: ArrayLike) -> np.ndarray:
    queries = np.asarray(queries)
    if queries.ndim == 1:
        queries = queries[np.newaxis]
    if queries.ndim != 2 or queries.shape[1] == 0:
        raise InvalidArgument(f"queries has shape {queries.shape}, wanted [dim] or [n, dim]")
    if queries.dtype.kind not in "fiu":
        raise InvalidArgument(f"queries has type {queries.dtype}, wanted numbers")
    return queries


def search(wire: Wire, collection: str, queries: ArrayLike, common: QueryOptions,
           single: Sequence[QueryOptions | None] | None = None, *,
           min_read: ReadToken | None = None, timeout: float | None = None) -> SearchResult:
    queries = check_queries(queries)
    if single is not None and len(single) != len(queries):
        raise InvalidArgument(f"options has {len(single)} entries, wanted {len(queries)}")
    for options in [common, *(single or ())]:
        if options is not None:
            options.to_message()  # refuses what no message holds
    batches = _Batches(collection, queries, common, single, min_read)
    k = max([batches.options(at).k for at in range(len(queries))] if single else [common.k])
    answers = _Answers(len(queries), k)
    ranges = batches.ranges()
    flying: deque[tuple[int, grpc.Future]] = deque()
    try:
        while True:
            while len(flying) < _IN_FLIGHT and (span := next(ranges, None)) is not None:
                request = batches.request(*span)
                flying.append((span[0], wire.search.future(request, timeout=timeout)))
            if not flying:
                break
            begin, future = flying.popleft()
            answers.take(begin, future.result())
    except grpc.RpcError as error:
        raise from_rpc(error) from None
    finally:
        for _, future in flying:
            future.cancel()
    result = answers.finish(collection)
    if result.errors and len(result.errors) == len(result):
        result.raise_for_errors()
    return result

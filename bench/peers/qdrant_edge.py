"""Qdrant's engine in process: one shard, int8 quantiles kept in memory and rescored, or f32
(codes=f32). Built means optimised: until then a segment is scanned.
"""
from __future__ import annotations

import pathlib
import shutil

import numpy as np
import qdrant_edge as q

from peers.base import Peer, padded


class Index(Peer):
    def __init__(self, dim: int, count: int, threads: int, settings: dict[str, str]) -> None:
        super().__init__(dim, count, threads, settings)
        self.path = settings["dir"]
        shutil.rmtree(self.path, ignore_errors=True)
        pathlib.Path(self.path).mkdir(parents=True)
        int8 = settings.get("codes", "int8") == "int8"
        codes = q.ScalarQuantizationConfig(q.ScalarType.Int8, quantile=0.99,
                                           always_ram=True) if int8 else None
        links = q.HnswIndexConfig(m=self.setting("M", 16),
                                  ef_construct=self.setting("ef_construction", 100),
                                  full_scan_threshold=10, max_indexing_threads=threads)
        self.config = q.EdgeConfig(
            vectors=q.EdgeVectorParams(dim, q.Distance.Dot), hnsw_config=links,
            quantization_config=codes, max_search_threads=threads,
            optimizers=q.EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=1))
        self.shard = q.EdgeShard.create(self.path, self.config)
        self.params = None

    def append(self, rows: np.ndarray, first: int) -> None:
        points = [q.Point(first + i, row.tolist()) for i, row in enumerate(rows)]
        self.shard.update(q.UpdateOperation.upsert_points(points))

    def finish(self) -> None:
        while self.shard.optimize():
            pass
        self.shard.flush()
        indexed = self.shard.info().indexed_vectors_count
        if indexed < self.count:
            raise RuntimeError(f"only {indexed} of {self.count} rows are indexed")

    def tune(self, effort: float) -> None:
        self.params = q.SearchParams(hnsw_ef=int(effort),
                                     quantization=q.QuantizationSearchParams(rescore=True))

    def ask(self, queries: np.ndarray, k: int) -> np.ndarray:
        asked = [self._request(query, k) for query in queries]
        found = self.shard.query_batch(q.QueryBatchRequest(asked))
        return padded([[hit.id for hit in hits] for hits in found], k)

    def ask_one(self, query: np.ndarray, k: int) -> object:
        return self.shard.query(self._request(query, k))

    def _request(self, query: np.ndarray, k: int) -> object:
        return q.QueryRequest(limit=k, query=q.Query.Nearest(query.tolist()), params=self.params)

    def save(self, folder: pathlib.Path) -> None:
        self.shard.flush()

    def load(self, folder: pathlib.Path) -> None:
        self.shard.close()
        self.shard = q.EdgeShard.load(self.path)

"""A Qdrant server at url=..., by its own client over gRPC; int8 codes kept in memory and rescored.

Built means that the collection is green: until then segments are scanned. What the server may use
of the machine is the server's own affair: start it pinned to the same CPUs.
"""
from __future__ import annotations

import time

import numpy as np
from qdrant_client import QdrantClient, models

from peers.base import Peer, padded

NAME = "omendb-compare"
BATCH = 100  # queries of a request, as ours over gRPC


class Index(Peer):
    local = False

    def __init__(self, dim: int, count: int, threads: int, settings: dict[str, str]) -> None:
        super().__init__(dim, count, threads, settings)
        url = settings["url"]
        # ":memory:" is the client's own stand-in without a server: good for a trial, not for rates.
        self.client = (QdrantClient(url) if url == ":memory:" else
                       QdrantClient(url=url, prefer_grpc=True, timeout=600))
        self.real = url != ":memory:"
        if self.client.collection_exists(NAME):
            self.client.delete_collection(NAME)
        int8 = models.ScalarQuantization(scalar=models.ScalarQuantizationConfig(
            type=models.ScalarType.INT8, quantile=0.99, always_ram=True))
        self.client.create_collection(
            NAME, vectors_config=models.VectorParams(size=dim, distance=models.Distance.COSINE),
            hnsw_config=models.HnswConfigDiff(m=self.setting("M", 16), full_scan_threshold=10,
                                              ef_construct=self.setting("ef_construction", 100),
                                              max_indexing_threads=threads),
            quantization_config=int8 if settings.get("codes") == "int8" else None,
            optimizers_config=models.OptimizersConfigDiff(default_segment_number=1,
                                                          indexing_threshold=1))
        self.params = None

    def append(self, rows: np.ndarray, first: int) -> None:
        points = models.Batch(ids=list(range(first, first + len(rows))), vectors=rows.tolist())
        self.client.upsert(NAME, points, wait=False)

    def finish(self) -> None:
        while self.real:
            info = self.client.get_collection(NAME)
            done = info.indexed_vectors_count or 0
            if info.status == models.CollectionStatus.GREEN and done >= self.count:
                return
            time.sleep(0.05)

    def tune(self, effort: float) -> None:
        self.params = models.SearchParams(
            hnsw_ef=int(effort), quantization=models.QuantizationSearchParams(rescore=True))

    def ask(self, queries: np.ndarray, k: int) -> np.ndarray:
        answers: list = []
        for first in range(0, len(queries), BATCH):
            asked = [models.QueryRequest(query=query.tolist(), limit=k, params=self.params)
                     for query in queries[first:first + BATCH]]
            answers += self.client.query_batch_points(NAME, asked)
        return padded([[hit.id for hit in answer.points] for answer in answers], k)

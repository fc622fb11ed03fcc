"""A Milvus server at url=..., by its own client over gRPC: HNSW on f32.

Built means flushed, indexed and loaded. What the server may use of the machine is the server's own
affair: start it pinned to the same CPUs.
"""
from __future__ import annotations

import time

import numpy as np
from pymilvus import DataType, MilvusClient

from peers.base import Peer, padded

NAME = "omendb_compare"
BATCH = 100


class Index(Peer):
    local = False

    def __init__(self, dim: int, count: int, threads: int, settings: dict[str, str]) -> None:
        super().__init__(dim, count, threads, settings)
        self.client = MilvusClient(uri=settings["url"], timeout=600)
        if self.client.has_collection(NAME):
            self.client.drop_collection(NAME)
        schema = self.client.create_schema(auto_id=False)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dim)
        index = self.client.prepare_index_params()
        index.add_index("vector", index_type=settings.get("index", "HNSW"), metric_type="COSINE",
                        params={"M": self.setting("M", 16),
                                "efConstruction": self.setting("ef_construction", 200)})
        self.client.create_collection(NAME, schema=schema, index_params=index)
        self.effort = 10

    def append(self, rows: np.ndarray, first: int) -> None:
        self.client.insert(NAME, [{"id": first + i, "vector": row} for i, row in enumerate(rows)])

    def finish(self) -> None:
        self.client.flush(NAME)
        while True:
            told = self.client.describe_index(NAME, "vector")
            if int(told.get("pending_index_rows", 0)) == 0 and \
                    int(told.get("indexed_rows", self.count)) >= self.count:
                break
            time.sleep(0.05)
        self.client.load_collection(NAME)

    def tune(self, effort: float) -> None:
        self.effort = int(effort)

    def ask(self, queries: np.ndarray, k: int) -> np.ndarray:
        answers: list = []
        for first in range(0, len(queries), BATCH):
            answers += self.client.search(NAME, data=list(queries[first:first + BATCH]), limit=k,
                                          search_params={"params": {"ef": self.effort}})
        return padded([[hit["id"] for hit in hits] for hits in answers], k)

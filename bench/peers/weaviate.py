"""A Weaviate server at url=http://HOST:PORT[,GRPCPORT], by its own client over gRPC: HNSW on f32.

Its searches take one query a request. ef is a setting of the collection and takes effect at once.
What the server may use of the machine is the server's own affair: start it pinned to the same CPUs.
"""
from __future__ import annotations

import urllib.parse
import uuid

import numpy as np
import weaviate
from weaviate.classes.config import Configure, Reconfigure, VectorDistances

from peers.base import Peer, padded

NAME = "OmendbCompare"


class Index(Peer):
    local = False

    def __init__(self, dim: int, count: int, threads: int, settings: dict[str, str]) -> None:
        super().__init__(dim, count, threads, settings)
        url, _, grpc = settings["url"].partition(",")
        place = urllib.parse.urlsplit(url)
        self.client = weaviate.connect_to_local(host=place.hostname, port=place.port or 8080,
                                                grpc_port=int(grpc or 50051))
        self.client.collections.delete(NAME)
        graph = Configure.VectorIndex.hnsw(
            distance_metric=VectorDistances.COSINE, max_connections=self.setting("M", 16),
            ef_construction=self.setting("ef_construction", 128), ef=64)
        self.collection = self.client.collections.create(
            NAME, vector_config=Configure.Vectors.self_provided(vector_index_config=graph))

    def append(self, rows: np.ndarray, first: int) -> None:
        with self.collection.batch.fixed_size(batch_size=len(rows)) as batch:
            for i, row in enumerate(rows):
                batch.add_object(uuid=uuid.UUID(int=first + i), properties={},
                                 vector=row.tolist())
        failed = self.collection.batch.failed_objects
        if failed:
            raise RuntimeError(f"{len(failed)} rows were refused: {failed[0].message}")

    def tune(self, effort: float) -> None:
        self.collection.config.update(vector_config=Reconfigure.Vectors.update(
            vector_index_config=Reconfigure.VectorIndex.hnsw(ef=int(effort))))

    def ask(self, queries: np.ndarray, k: int) -> np.ndarray:
        return padded([self.ask_one(query, k) for query in queries], k)

    def ask_one(self, query: np.ndarray, k: int) -> list[int]:
        found = self.collection.query.near_vector(query.tolist(), limit=k)
        return [hit.uuid.int for hit in found.objects]

"""usearch on its scalar kinds: codes=f32, f16, bf16 or i8."""
from __future__ import annotations

import pathlib

import numpy as np
from usearch.index import Index as UsearchIndex

from peers.base import Peer, padded


class Index(Peer):
    def __init__(self, dim: int, count: int, threads: int, settings: dict[str, str]) -> None:
        super().__init__(dim, count, threads, settings)
        self.index = UsearchIndex(ndim=dim, metric="cos", dtype=settings.get("codes", "f32"),
                                  connectivity=self.setting("M", 16),
                                  expansion_add=self.setting("ef_construction", 100))
        self.told = 0

    def append(self, rows: np.ndarray, first: int) -> None:
        keys = np.arange(first, first + len(rows), dtype=np.uint64)
        self.index.add(keys, rows, threads=self.threads)

    def tune(self, effort: float) -> None:
        self.index.expansion_search = int(effort)

    def ask(self, queries: np.ndarray, k: int) -> np.ndarray:
        found = self.index.search(queries, k, threads=self.threads)
        self.told += int(found.computed_distances)
        if (found.counts == k).all():
            return found.keys.astype(np.int64)
        return padded([keys[:n].tolist() for keys, n in zip(found.keys, found.counts)], k)

    def ask_one(self, query: np.ndarray, k: int) -> object:
        found = self.index.search(query, k, threads=1)
        self.told += int(found.computed_distances)
        return found

    def distances(self) -> int:
        return self.told

    def save(self, folder: pathlib.Path) -> None:
        self.index.save(str(folder / "index"))

    def load(self, folder: pathlib.Path) -> None:
        self.index = UsearchIndex.restore(str(folder / "index"))

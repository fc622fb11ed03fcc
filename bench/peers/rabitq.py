"""The RaBitQ library: SymphonyQG's graph (kind=symqg), which is built at once, or its HNSW on
RaBitQ codes (kind=hnsw), which takes one centroid here, the mean of the rows.
"""
from __future__ import annotations

import pathlib

import numpy as np
import rabitqlib

from peers.base import Peer


class Index(Peer):
    appends = False

    def __init__(self, dim: int, count: int, threads: int, settings: dict[str, str]) -> None:
        super().__init__(dim, count, threads, settings)
        self.kind = settings.get("kind", "symqg")
        self.ef_construction = self.setting("ef_construction", 200)
        if self.kind == "symqg":
            self.index = rabitqlib.SymqgIndex(dim, self.setting("degree", 32), metric="l2",
                                              quantization_bits=self.setting("bits", 0))
        else:
            self.index = rabitqlib.HnswIndex(dim, count, M=self.setting("M", 16),
                                             ef_construction=self.ef_construction,
                                             nbits=self.setting("bits", 8), metric="l2")
        self.effort = 10

    def build(self, rows: np.ndarray, path: pathlib.Path) -> None:
        if self.kind == "symqg":
            self.index.build(rows, self.ef_construction, num_threads=self.threads,
                             init=self.settings.get("init", "pipnn"))
            return
        centroid = rows.mean(axis=0, keepdims=True, dtype=np.float32)
        self.index.build(rows, centroid, np.zeros(len(rows), dtype=np.uint32),
                         num_threads=self.threads)

    def tune(self, effort: float) -> None:
        self.effort = int(effort)

    def ask(self, queries: np.ndarray, k: int) -> np.ndarray:
        found = self.index.search(queries, k, ef=self.effort, num_threads=self.threads)
        ids = next(part for part in found if np.issubdtype(part.dtype, np.integer))
        return ids.astype(np.int64).reshape(len(queries), k)

    def save(self, folder: pathlib.Path) -> None:
        self.index.save(str(folder / "index"))

    def load(self, folder: pathlib.Path) -> None:
        self.index = type(self.index).load(str(folder / "index"))

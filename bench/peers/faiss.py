"""faiss: IndexHNSW on f32 (codes=flat) or on its 8-bit codes (codes=sq8, trained on all rows)."""
from __future__ import annotations

import pathlib

import faiss
import numpy as np

from peers.base import Peer


class Index(Peer):
    def __init__(self, dim: int, count: int, threads: int, settings: dict[str, str]) -> None:
        super().__init__(dim, count, threads, settings)
        faiss.omp_set_num_threads(threads)
        links = self.setting("M", 16)
        if settings.get("codes", "flat") == "sq8":
            # Codes must be trained before anything is added, so all rows are held back till then.
            self.index = faiss.IndexHNSWSQ(dim, faiss.ScalarQuantizer.QT_8bit, links)
            self.appends = False
        else:
            self.index = faiss.IndexHNSWFlat(dim, links)
        self.index.hnsw.efConstruction = self.setting("ef_construction", 100)

    def append(self, rows: np.ndarray, first: int) -> None:
        self.index.add(rows)

    def build(self, rows: np.ndarray, path: pathlib.Path) -> None:
        self.index.train(rows)
        self.index.add(rows)

    def tune(self, effort: float) -> None:
        self.index.hnsw.efSearch = int(effort)

    def ask(self, queries: np.ndarray, k: int) -> np.ndarray:
        return self.index.search(queries, k)[1]

    def distances(self) -> int:
        return faiss.cvar.hnsw_stats.ndis

    def save(self, folder: pathlib.Path) -> None:
        faiss.write_index(self.index, str(folder / "index"))

    def load(self, folder: pathlib.Path) -> None:
        self.index = faiss.read_index(str(folder / "index"))

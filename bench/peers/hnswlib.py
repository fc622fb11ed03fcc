"""hnswlib. On rows of unit length its inner product is the cosine, without normalising again."""
from __future__ import annotations

import pathlib

import hnswlib
import numpy as np

from peers.base import Peer


class Index(Peer):
    def __init__(self, dim: int, count: int, threads: int, settings: dict[str, str]) -> None:
        super().__init__(dim, count, threads, settings)
        self.index = hnswlib.Index(space="ip", dim=dim)
        self.index.init_index(max_elements=count, M=self.setting("M", 16),
                              ef_construction=self.setting("ef_construction", 200))
        self.index.set_num_threads(threads)

    def append(self, rows: np.ndarray, first: int) -> None:
        self.index.add_items(rows, np.arange(first, first + len(rows)), num_threads=self.threads)

    def tune(self, effort: float) -> None:
        self.index.set_ef(int(effort))

    def ask(self, queries: np.ndarray, k: int) -> np.ndarray:
        return self.index.knn_query(queries, k=k, num_threads=self.threads)[0]

    def save(self, folder: pathlib.Path) -> None:
        self.index.save_index(str(folder / "index"))

    def load(self, folder: pathlib.Path) -> None:
        self.index = hnswlib.Index(space="ip", dim=self.dim)
        self.index.load_index(str(folder / "index"))
        self.index.set_num_threads(self.threads)

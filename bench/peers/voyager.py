"""voyager on Float32, Float8 or E4M3 (codes=...)."""
from __future__ import annotations

import pathlib

import numpy as np
import voyager

from peers.base import Peer


class Index(Peer):
    def __init__(self, dim: int, count: int, threads: int, settings: dict[str, str]) -> None:
        super().__init__(dim, count, threads, settings)
        kind = getattr(voyager.StorageDataType, settings.get("codes", "Float32"))
        self.index = voyager.Index(voyager.Space.Cosine, num_dimensions=dim,
                                   M=self.setting("M", 16), max_elements=count,
                                   ef_construction=self.setting("ef_construction", 200),
                                   storage_data_type=kind)
        self.effort = 10

    def append(self, rows: np.ndarray, first: int) -> None:
        self.index.add_items(rows, list(range(first, first + len(rows))), num_threads=self.threads)

    def tune(self, effort: float) -> None:
        self.effort = int(effort)

    def ask(self, queries: np.ndarray, k: int) -> np.ndarray:
        ids, _ = self.index.query(queries, k=k, num_threads=self.threads, query_ef=self.effort)
        return ids.astype(np.int64)

    def ask_one(self, query: np.ndarray, k: int) -> object:
        return self.index.query(query, k=k, query_ef=self.effort)

    def save(self, folder: pathlib.Path) -> None:
        self.index.save(str(folder / "index"))

    def load(self, folder: pathlib.Path) -> None:
        self.index = voyager.Index.load(str(folder / "index"))

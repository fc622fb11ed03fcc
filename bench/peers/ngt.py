"""NGT's ANNG on f32. Its effort is epsilon, the share by which a walk looks beyond the k-th hit.
It is searched one query a call: it has no other call for graphs in Python.
"""
from __future__ import annotations

import pathlib
import shutil

import ngtpy
import numpy as np

from peers.base import Peer, padded


class Index(Peer):
    def __init__(self, dim: int, count: int, threads: int, settings: dict[str, str]) -> None:
        super().__init__(dim, count, threads, settings)
        self.path = settings["dir"]
        shutil.rmtree(self.path, ignore_errors=True)
        pathlib.Path(self.path).parent.mkdir(parents=True, exist_ok=True)
        ngtpy.create(self.path, dim, distance_type="L2", object_type="Float",
                     edge_size_for_creation=self.setting("M", 16),
                     edge_size_for_search=self.setting("edges", 40))
        self.index = ngtpy.Index(self.path, log_disabled=True)
        self.effort = 0.1

    def append(self, rows: np.ndarray, first: int) -> None:
        self.index.batch_insert(rows, num_threads=self.threads)

    def tune(self, effort: float) -> None:
        self.effort = effort

    def ask(self, queries: np.ndarray, k: int) -> np.ndarray:
        return padded([self.ask_one(query, k) for query in queries], k)

    def ask_one(self, query: np.ndarray, k: int) -> np.ndarray:
        return self.index.search(query, size=k, epsilon=self.effort, with_distance=False)

    def save(self, folder: pathlib.Path) -> None:
        self.index.save()

    def load(self, folder: pathlib.Path) -> None:
        self.index.close()
        self.index = ngtpy.Index(self.path, read_only=True, log_disabled=True)

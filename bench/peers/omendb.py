"""OmenDB, embedded; its codes are those of its own defaults unless codes=... names others."""
from __future__ import annotations

import pathlib
import shutil

import numpy as np
import omendb

from peers.base import Peer, padded


class Index(Peer):
    def __init__(self, dim: int, count: int, threads: int, settings: dict[str, str]) -> None:
        super().__init__(dim, count, threads, settings)
        self.path = settings["dir"]
        shutil.rmtree(self.path, ignore_errors=True)
        pathlib.Path(self.path).parent.mkdir(parents=True, exist_ok=True)
        field = {"dim": dim, "metric": "cosine"}
        if "codes" in settings:
            field["quantization"] = settings["codes"]
        self.db = omendb.create(self.path, {"dense": field})
        self.effort = 10

    def append(self, rows: np.ndarray, first: int) -> None:
        self.db.set(ids=[str(first + i) for i in range(len(rows))], vectors=rows.tolist())

    def finish(self) -> None:
        self.db.optimize()
        self.db.flush()

    def tune(self, effort: float) -> None:
        self.effort = int(effort)

    def ask(self, queries: np.ndarray, k: int) -> np.ndarray:
        found = self.db.search_batch(queries, k, ef=self.effort)
        return padded([[int(hit["id"]) for hit in hits] for hits in found], k)

    def ask_one(self, query: np.ndarray, k: int) -> object:
        return self.db.search(query, k, ef=self.effort)

    def save(self, folder: pathlib.Path) -> None:
        self.db.flush()

    def load(self, folder: pathlib.Path) -> None:
        self.db.close()
        self.db = omendb.open(self.path)

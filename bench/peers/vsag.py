"""VSAG's HGraph on 8-bit codes, re-ranked by f32. It is searched one query a call: it has no other
call in Python. Its `codes` are names of its own base_quantization_type.
"""
from __future__ import annotations

import json
import pathlib

import numpy as np
import pyvsag

from peers.base import Peer, padded


class Index(Peer):
    appends = False

    def __init__(self, dim: int, count: int, threads: int, settings: dict[str, str]) -> None:
        super().__init__(dim, count, threads, settings)
        codes = settings.get("codes", "sq8_uniform")
        self.about = json.dumps({
            "dtype": "float32", "metric_type": "l2", "dim": dim,
            "index_param": {
                "base_quantization_type": codes, "use_reorder": codes != "fp32",
                "precise_quantization_type": "fp32", "max_degree": self.setting("degree", 32),
                "ef_construction": self.setting("ef_construction", 100),
                "build_thread_count": threads}})
        self.index = pyvsag.Index("hgraph", self.about)
        self.effort = ""

    def build(self, rows: np.ndarray, path: pathlib.Path) -> None:
        self.index.build(vectors=rows.reshape(-1), ids=np.arange(len(rows)),
                         num_elements=len(rows), dim=self.dim)

    def tune(self, effort: float) -> None:
        self.effort = json.dumps({"hgraph": {"ef_search": int(effort)}})

    def ask(self, queries: np.ndarray, k: int) -> np.ndarray:
        return padded([self.ask_one(query, k) for query in queries], k)

    def ask_one(self, query: np.ndarray, k: int) -> np.ndarray:
        # VSAG calls the ids' array the first in some versions, the second in others.
        first, second = self.index.knn_search(vector=query, k=k, parameters=self.effort)
        return first if first.dtype == np.int64 else second

    def save(self, folder: pathlib.Path) -> None:
        self.index.save(str(folder / "index"))

    def load(self, folder: pathlib.Path) -> None:
        self.index = pyvsag.Index("hgraph", self.about)
        self.index.load(str(folder / "index"))

"""SVS's static Vamana graph on LVQ codes (codes=4x8: primary and residual bits), or on f16 or f32.

SVS refuses LVQ on CPUs that are not Intel's. LVQ rows come from a file alone, which is written
before the build's clock starts; reading and compressing it is part of the build.
"""
from __future__ import annotations

import pathlib
import shutil

import numpy as np
import svs

from peers.base import Peer


class Index(Peer):
    appends = False

    def __init__(self, dim: int, count: int, threads: int, settings: dict[str, str]) -> None:
        super().__init__(dim, count, threads, settings)
        self.codes = settings.get("codes", "4x8")
        self.lvq = [int(bits) for bits in self.codes.split("x")] if "x" in self.codes else None
        self.file = pathlib.Path(settings["dir"]).with_suffix(".fvecs")
        self.parameters = svs.VamanaBuildParameters(
            alpha=1.2, graph_max_degree=self.setting("degree", 32),
            window_size=self.setting("window", 100))
        if self.lvq:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            svs.write_vecs(np.load(settings["rows"]), str(self.file))
        self.index = None

    def _loader(self) -> object:
        loader = svs.VectorDataLoader(str(self.file), svs.DataType.float32, dims=self.dim)
        return svs.LVQLoader(loader, primary=self.lvq[0], residual=self.lvq[1], padding=32)

    def build(self, rows: np.ndarray, path: pathlib.Path) -> None:
        plain = rows.astype(np.float16) if self.codes == "f16" else rows
        data = self._loader() if self.lvq else plain
        self.index = svs.Vamana.build(self.parameters, data, svs.DistanceType.L2,
                                      num_threads=self.threads)

    def tune(self, effort: float) -> None:
        self.index.search_window_size = int(effort)

    def ask(self, queries: np.ndarray, k: int) -> np.ndarray:
        return self.index.search(queries, k)[0].astype(np.int64)

    def save(self, folder: pathlib.Path) -> None:
        self.file.unlink(missing_ok=True)
        for part in ("config", "graph", "data"):
            shutil.rmtree(folder / part, ignore_errors=True)
        self.index.save(*(str(folder / part) for part in ("config", "graph", "data")))

    def load(self, folder: pathlib.Path) -> None:
        kind = svs.DataType.float16 if self.codes == "f16" else svs.DataType.float32
        data = (svs.LVQLoader(str(folder / "data"), padding=32) if self.lvq else
                svs.VectorDataLoader(str(folder / "data"), kind, dims=self.dim))
        self.index = svs.Vamana(str(folder / "config"), svs.GraphLoader(str(folder / "graph")),
                                data, svs.DistanceType.L2, num_threads=self.threads)

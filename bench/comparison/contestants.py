"""Who takes part, at which settings, and how each is started.

Peers run at the settings that their authors or our own earlier measurements found best for these
data; a peer appears more than once where no single setting is best at everything.
"""
from __future__ import annotations

import dataclasses
import pathlib

import numpy as np

from comparison.data import K, Prepared
from comparison.environment import BENCH, python_of, variables
from comparison.machine import Disturbance
from comparison.process import Process
from ground_truth import recall

EFFORTS = (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768)
EPSILONS = (-0.05, 0.0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.13, 0.16, 0.2, 0.3)
CHUNK = 500
QUERIES_IN_BATCH = 1000


@dataclasses.dataclass(frozen=True)
class Spec:
    name: str
    module: str  # of bench/peers; "engine": ours without a wire
    settings: tuple[tuple[str, str], ...] = ()
    efforts: tuple[float, ...] = EFFORTS
    instead_of: str = ""  # takes part only if that one cannot

    @property
    def ours(self) -> bool:
        return self.module == "engine"

    @property
    def remote(self) -> bool:
        return any(key == "url" for key, _ in self.settings)


def spec(name: str, module: str, efforts: tuple[float, ...] = EFFORTS, instead_of: str = "",
         **settings: object) -> Spec:
    pairs = tuple((key, str(value)) for key, value in settings.items())
    return Spec(name, module, pairs, efforts, instead_of)


OURS = spec("omendb-server", "engine")
HNSWLIB = spec("hnswlib", "hnswlib", M=16, ef_construction=200)

QUICK = (
    OURS,
    HNSWLIB,
    spec("faiss HNSW16", "faiss", M=16, ef_construction=100),
    spec("usearch i8", "usearch", codes="i8", M=16, ef_construction=100),
    spec("SVS LVQ4x8", "svs", codes="4x8", degree=32, window=100),
    spec("SVS f16", "svs", codes="f16", degree=32, window=100, instead_of="SVS LVQ4x8"),
)
FULL = (
    *QUICK[:-1],
    spec("SVS f16", "svs", codes="f16", degree=32, window=100),
    spec("faiss HNSW16,SQ8", "faiss", M=16, ef_construction=100, codes="sq8"),
    spec("usearch f32", "usearch", codes="f32", M=16, ef_construction=100),
    spec("usearch f16", "usearch", codes="f16", M=16, ef_construction=100),
    spec("voyager f32", "voyager", M=16, ef_construction=200),
    spec("voyager E4M3", "voyager", codes="E4M3", M=16, ef_construction=200),
    spec("VSAG HGraph SQ8", "vsag", codes="sq8_uniform", degree=32, ef_construction=100),
    spec("NGT ANNG", "ngt", efforts=EPSILONS, M=16),
    spec("SymphonyQG", "rabitq", kind="symqg", degree=32, ef_construction=200),
    spec("RaBitQ HNSW 8 bit", "rabitq", kind="hnsw", bits=8, M=16, ef_construction=200),
    spec("Qdrant Edge int8", "qdrant_edge", codes="int8", M=16, ef_construction=100),
    spec("OmenDB embedded", "omendb"),
)


def servers(urls: dict[str, str | None]) -> tuple[Spec, ...]:
    """Peers that run somewhere already, by {"qdrant": URL or None, ...}."""
    known = {"qdrant": spec("Qdrant server", "qdrant", codes="int8", M=16, ef_construction=100),
             "weaviate": spec("Weaviate server", "weaviate", M=16, ef_construction=128),
             "milvus": spec("Milvus server", "milvus", M=16, ef_construction=200)}
    return tuple(dataclasses.replace(known[name],
                                     settings=(*known[name].settings, ("url", url)))
                 for name, url in urls.items() if url)


@dataclasses.dataclass(frozen=True)
class Place:
    """Where contestants run, and for how long at most."""

    folder: pathlib.Path  # of temporary files
    engine: pathlib.Path  # omen_engine_bench
    threads: int
    cpus: set[int]
    others: set[int]  # for who asks a server
    limit: float  # seconds that a build, a load or one pass over the queries may take


def command_of(wanted: Spec, data: Prepared, place: Place, folder: pathlib.Path) -> list[str]:
    common = ["--rows", str(data.rows_path), "--queries", str(data.queries_path),
              "--dir", str(folder / "index")]
    if wanted.ours:
        settings = [word for key, value in wanted.settings for word in (f"--{key}", value)]
        return [str(place.engine), *common, "--ingest-threads", str(place.threads),
                "--search-threads", str(place.threads), *settings]
    settings = [word for key, value in wanted.settings for word in ("--set", f"{key}={value}")]
    return [str(python_of(wanted.module)), "-m", "peers.main", wanted.module, *common,
            "--threads", str(place.threads), *settings]


class Contestant:
    """One process of one of them. Every method may raise Failed, the first also NotInstalled."""

    def __init__(self, wanted: Spec, data: Prepared, place: Place) -> None:
        self.spec, self.data, self.place = wanted, data, place
        # A server elsewhere is asked from the other CPUs, and uses its own as it likes.
        cpus = place.others if wanted.remote else place.cpus
        self.disturbance = Disturbance(set() if wanted.remote else cpus)
        folder = place.folder / wanted.name.replace(" ", "-").replace(",", "-")
        self.process = Process(command_of(wanted, data, place, folder), folder, cpus,
                               variables(place.threads), BENCH)

    def start(self) -> None:
        self.process.start(self.place.limit)

    def build(self) -> dict:
        before = self.memory()
        told = self._ask(f"build chunk={CHUNK}", self.disturbance)
        after = self.memory()
        told["memory_bytes"] = sum(after[key] - before[key]
                                   for key in ("anonymous_bytes", "file_bytes"))
        told["index_bytes"] = after.get("index_bytes")
        return told

    def search(self, effort: float, seconds: float) -> dict:
        """All queries in the peer's call for many, again until the seconds have passed."""
        return self._ask(f"search ef={effort:g} batch={QUERIES_IN_BATCH} seconds={seconds}",
                         self.disturbance)

    def search_one_by_one(self, effort: float) -> dict:
        return self._ask(f"search ef={effort:g} batch=1", self.disturbance)

    def measure_recall(self, effort: float) -> dict:
        """A search, with its recall."""
        path = self.process.folder / "ids"
        told = self._ask(f"search ef={effort:g} batch={QUERIES_IN_BATCH} ids={path}")
        ids = np.fromfile(path, dtype=np.int64).reshape(-1, K)
        positions = np.where(ids < self.data.count, ids, -1)
        told["recall"] = recall(self.data.rows(), self.data.queries(), positions, K,
                                self.data.threshold)
        return told

    def memory(self) -> dict:
        return self._ask("memory")

    def load(self) -> dict:
        """Seconds until a saved index answers, and its bytes on disk."""
        told = self._ask("load", self.disturbance)
        index = self.process.folder / "index"
        told["disk_bytes"] = sum(path.stat().st_blocks * 512 for path in index.rglob("*")
                                 if path.is_file())
        return told

    def stop(self) -> None:
        self.process.stop()

    def _ask(self, line: str, disturbance: Disturbance | None = None) -> dict:
        return self.process.ask(line, self.place.limit, disturbance)

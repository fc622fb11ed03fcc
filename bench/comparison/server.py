"""Ours over gRPC: a real server, loaded by omendb-load from CPUs that the server does not have.

It has the methods of a Contestant. Rates are omendb-load's; the recall is asked by the Python
client, from the same server. Batches have GRPC_BATCH queries, because a client that wants more
than that in one request is rare.
"""
from __future__ import annotations

import json
import pathlib
import shutil
import subprocess

import numpy as np

from comparison.contestants import EFFORTS, Place, Spec
from comparison.data import K, Prepared
from comparison.environment import variables
from comparison.machine import Disturbance, pinned
from comparison.process import Failed
from ground_truth import positions_of, recall
from omendb_client import Client
from server_process import ServerProcess

COLLECTION = "load"  # omendb-load's default
GRPC_BATCH = 100
OVER_GRPC = Spec("omendb-server over gRPC", "server", (), EFFORTS)
# What the mixed part asks beside the inserts: requests/s of one query each.
MIXED_SEARCHES = 100


class ServerContestant:
    def __init__(self, data: Prepared, place: Place, binaries: dict[str, pathlib.Path]) -> None:
        self.spec, self.data, self.place = OVER_GRPC, data, place
        self.binaries = binaries
        self.disturbance = Disturbance(place.cpus)
        self.folder = place.folder / "grpc"
        self.server: ServerProcess | None = None

    def start(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        threads = str(self.place.threads)
        with pinned(self.place.cpus):
            self.server = ServerProcess(self.binaries["server"], self.folder,
                                        "--ingest-threads", threads, "--search-threads", threads,
                                        "--calibrate-seconds", "0")  # every search names its ef

    def build(self) -> dict:
        told = self._load("ingest", "--create", "--keep", "--data", self.data.rows_path)
        level = told["ingest"]
        if level["rows_refused"]:
            raise Failed(f"{level['rows_refused']} rows were refused: {level['first_error']}")
        rates, each = level["searchable_deciles_per_second"], self.data.count / 10
        marks = list(np.cumsum([each / rate if rate else 0.0 for rate in rates]))
        return {"seconds": level["searchable_seconds"], "decile_seconds": marks,
                "durable_seconds": level["durable_seconds"], "rows": self.data.count,
                "memory_bytes": self.server.resident_bytes(), "index_bytes": None,
                "cpu_seconds": told["cpu"]["server_seconds"]}

    def search(self, effort: float, seconds: float) -> dict:
        told = self._search(effort, "--batch", GRPC_BATCH, "--seconds", max(seconds, 0.2))
        return {"queries": told["queries"], "seconds": told["seconds"],
                "visited": told["visited"] / told["queries"]}

    def search_one_by_one(self, effort: float) -> dict:
        told = self._search(effort, "--concurrency", 1, "--requests", len(self.data.queries()))
        return {"queries": told["queries"], "seconds": told["seconds"],
                "p50_ms": told["latency"]["p50_ms"], "p99_ms": told["latency"]["p99_ms"]}

    def measure_recall(self, effort: float) -> dict:
        with Client(self.server.target) as client:
            found = client.search(COLLECTION, self.data.queries(), k=K, ef=int(effort) or None)
        positions = positions_of(np.arange(self.data.count), found.ids, found.counts)
        return {"recall": recall(self.data.rows(), self.data.queries(), positions, K,
                                 self.data.threshold), "visited": float(found.visited.mean())}

    def load(self) -> dict:
        """Seconds from the start of a stopped server until it serves, and the bytes on disk."""
        self.server.stop()
        size = sum(path.stat().st_blocks * 512 for path in self.server.data_dir.rglob("*")
                   if path.is_file())
        with pinned(self.place.cpus):
            return {"seconds": self.server.start(), "disk_bytes": size}

    def mixed(self, rate: float) -> dict:
        """Inserts at `rate` rows/s, 0: as fast as they go, while searches are due at their own."""
        flags = ["--ingest-rate", rate] if rate else []
        told = self._load("mixed", "--create", "--data", self.data.rows_path, "--queries",
                          self.data.queries_path, "--rate", MIXED_SEARCHES, "--ef", 48, *flags)
        kept = ("p50_ms", "p99_ms")
        return {"wanted_rate": rate, "rate": told["ingest"]["searchable_per_second"],
                "searchable": {key: told["ingest"]["chunk_searchable"][key] for key in kept},
                "durable": {key: told["ingest"]["chunk_durable"][key] for key in kept},
                "search": {key: told["search"]["latency"][key] for key in kept}}

    def stop(self) -> None:
        if self.server is not None:
            self.server.stop()
            self.server = None

    def _search(self, effort: float, *flags: object) -> dict:
        told = self._load("search", "--queries", self.data.queries_path, "--ef", int(effort),
                          *flags)
        if told["search"]["failed"]:
            raise Failed(f"searches failed: {told['search']['first_error']}")
        return told["search"]

    def _load(self, mode: str, *flags: object) -> dict:
        figures = self.folder / "figures.json"
        command = [str(self.binaries["load"]), mode, "--target", self.server.target,
                   "--server-pid", str(self.server.pid), "--json", str(figures),
                   *map(str, flags)]
        try:
            shared = bool(self.place.others & self.place.cpus)
            with self.disturbance.watch(self.server.pid, shared), pinned(self.place.others):
                done = subprocess.run(command, capture_output=True, text=True, check=False,
                                      env=variables(1), timeout=self.place.limit)
        except subprocess.TimeoutExpired:
            raise Failed(f"omendb-load {mode} took more than {self.place.limit:.0f} s") from None
        if done.returncode != 0:
            raise Failed(f"omendb-load {mode}: {done.stderr.strip()[-300:]}")
        return json.loads(figures.read_text(encoding="utf-8"))

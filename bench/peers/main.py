"""Drives one peer by the same lines as omen_engine_bench; see bench/engine/main.c.

    python -m peers.main MODULE --rows ROWS.npy --queries QUERIES.npy --dir DIR --threads N
                         [--set NAME=VALUE ...]

Runs in the peer's own environment, which has the peer and numpy.
"""
from __future__ import annotations

import argparse
import importlib
import json
import os
import pathlib
import resource
import sys
import time

import numpy as np

K = 10
CHUNK = 500
DECILES = 10


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Driver:
    def __init__(self, args: argparse.Namespace) -> None:
        self.folder = pathlib.Path(args.dir)
        self.rows_path = pathlib.Path(args.rows)
        # Mapped, so that contestants that wait for their turn share the pages (writable, because
        # some peers insist, but nobody writes); and read once, so that a build pays for no disk
        # and its memory is what was added.
        self.rows = np.asarray(np.load(args.rows, mmap_mode="c"))
        self.rows.sum()
        self.queries = np.load(args.queries)
        settings = dict(text.split("=", 1) for text in args.set)
        settings["dir"] = str(self.folder / "peer")
        settings["rows"] = args.rows
        module = importlib.import_module(f"peers.{args.module}")
        self.peer = module.Index(self.rows.shape[1], len(self.rows), args.threads, settings)

    def build(self, chunk: str = str(CHUNK)) -> dict:
        size, count = int(chunk), len(self.rows)
        marks: list[float] = []
        cpu, begin = cpu_seconds(), time.perf_counter()
        if self.peer.appends:
            for first in range(0, count, size):
                self.peer.append(self.rows[first:first + size], first)
                done = min(first + size, count)
                while len(marks) < DECILES and done * DECILES >= count * (len(marks) + 1):
                    marks.append(time.perf_counter() - begin)
        else:
            self.peer.build(self.rows, self.rows_path)
        self.peer.finish()
        seconds = time.perf_counter() - begin
        return {"seconds": seconds, "cpu_seconds": cpu_seconds() - cpu, "rows": count,
                "decile_seconds": marks}

    def search(self, ef: str, batch: str, seconds: str = "0", ids: str = "") -> dict:
        self.peer.tune(float(ef))
        before = self.peer.distances()
        cpu, begin = cpu_seconds(), time.perf_counter()
        if batch == "1":
            told = self._one_by_one()
        else:
            told = self._together(float(seconds), begin, ids)
        told["seconds"] = time.perf_counter() - begin
        told["cpu_seconds"] = cpu_seconds() - cpu
        if before is not None:
            told["visited"] = (self.peer.distances() - before) / told["queries"]
        return told

    def _one_by_one(self) -> dict:
        took = np.empty(len(self.queries))
        for number, query in enumerate(self.queries):
            begin = time.perf_counter()
            self.peer.ask_one(query, K)
            took[number] = time.perf_counter() - begin
        return {"queries": len(took), "p50_ms": float(np.percentile(took, 50) * 1e3),
                "p99_ms": float(np.percentile(took, 99) * 1e3)}

    def _together(self, least: float, begin: float, path: str) -> dict:
        asked = 0
        while True:
            answered = self.peer.ask(self.queries, K)
            asked += len(self.queries)
            if time.perf_counter() - begin >= least:
                break
        if path:
            np.ascontiguousarray(answered, dtype=np.int64).tofile(path)
        return {"queries": asked}

    def memory(self) -> dict:
        if not self.peer.local:
            return {"anonymous_bytes": 0, "file_bytes": 0}
        lines = pathlib.Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        kib = {line.split(":")[0]: int(line.split()[1]) for line in lines if "kB" in line}
        return {"anonymous_bytes": kib["RssAnon"] << 10, "file_bytes": kib["RssFile"] << 10}

    def load(self) -> dict:
        if not self.peer.local:
            return {"seconds": None}
        self.folder.mkdir(parents=True, exist_ok=True)
        self.peer.save(self.folder)
        begin = time.perf_counter()
        self.peer.load(self.folder)
        self.peer.tune(64)
        self.peer.ask_one(self.queries[0], K)
        return {"seconds": time.perf_counter() - begin}

    def obey(self, line: str) -> dict:
        command, *words = line.split()
        if command not in ("build", "search", "memory", "load"):
            return {"error": f"no such command: {line}"}
        return getattr(self, command)(**dict(word.split("=", 1) for word in words))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("module")
    parser.add_argument("--rows", required=True)
    parser.add_argument("--queries", required=True)
    parser.add_argument("--dir", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--set", action="append", default=[])
    # Peers print what they like to standard output: the answers go to a descriptor of their own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def tell(answer: dict) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    driver = Driver(parser.parse_args())
    tell({"ready": True, "rows": len(driver.rows), "dim": driver.rows.shape[1]})
    for line in sys.stdin:
        if line.strip() == "quit":
            break
        try:
            tell(driver.obey(line))
        except Exception as error:  # whatever a peer throws is its result
            said = " ".join(f"{type(error).__name__}: {error}".split())
            tell({"error": said[:300]})


if __name__ == "__main__":
    main()

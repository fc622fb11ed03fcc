"""What is asked of a program over generated stubs, in whatever language: the Go and the TypeScript
program have the same flags and print the same.

Each line of the standard output is a query's hits as "id distance" pairs; the standard error tells
how far the stream is, and ends with counts.
"""
from __future__ import annotations

import dataclasses
import pathlib
import re
import shutil
import subprocess
import threading

import numpy as np
import pytest
from omendb_client import Client

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BUILD_TIMEOUT_S = 600
RUN_TIMEOUT_S = 120
QUERIES, K, EF = 300, 10, 128  # more queries than the programs put into one request
SUMMARY = re.compile(r"^inserted (\d+) refused (\d+) reconnects (\d+) resent (\d+)$", re.M)
PROGRESS = re.compile(r"^durable (\d+) searchable (\d+) of (\d+) chunks$")


@dataclasses.dataclass
class Report:
    ids: np.ndarray  # [queries, k]
    distances: np.ndarray
    inserted: int
    refused: int
    reconnects: int
    resent: int
    errors: str  # the standard error


class Running:
    """A program at work; its standard error is read on the side, so that it never blocks."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True)
        self.lines: list[str] = []
        self.durable = threading.Event()  # some, and not all
        self._reader = threading.Thread(target=self._read_errors)
        self._reader.start()

    def _read_errors(self) -> None:
        for line in self.process.stderr:
            self.lines.append(line)
            progress = PROGRESS.match(line)
            if progress and 0 < int(progress[1]) < int(progress[3]):
                self.durable.set()

    def finish(self) -> Report:
        killer = threading.Timer(RUN_TIMEOUT_S, self.process.kill)
        killer.start()
        output = self.process.stdout.read()
        status = self.process.wait()
        killer.cancel()
        self._reader.join()
        errors = "".join(self.lines)
        assert status == 0, errors
        rows = np.array([line.split() for line in output.splitlines()])
        counts = [int(number) for number in SUMMARY.search(errors).groups()]
        return Report(rows[:, 0::2].astype(np.uint64), rows[:, 1::2].astype(np.float32), *counts,
                      errors)


class StubProgram:
    """A built program, the rows that it sends, and the rows that it looks for."""

    def __init__(self, command: list[str], folder: pathlib.Path, words: np.ndarray) -> None:
        self._command = command
        self._folder = folder
        self.words = words

    def start(self, target: str, collection: str, count: int) -> Running:
        """Streams rows [0, count) under ids from 1000, then looks for the rows after those."""
        rows, queries = self.words[:count], self.queries(count)
        rows.astype("<f4").tofile(self._folder / "rows.f32")
        queries.astype("<f4").tofile(self._folder / "queries.f32")
        return Running([*self._command, "--target", target, "--collection", collection,
                        "--vectors", str(self._folder / "rows.f32"), "--dim",
                        str(rows.shape[1]), "--queries", str(self._folder / "queries.f32"),
                        "--k", str(K), "--ef", str(EF), "--first-id", "1000"])

    def queries(self, count: int) -> np.ndarray:
        return self.words[count:count + QUERIES]


def build(source: str, folder: pathlib.Path, steps: list[list[str]]) -> pathlib.Path:
    """Copies clients/<source> out of the source tree and builds it there, stubs first."""
    copy = folder / source
    shutil.copytree(REPOSITORY / "clients" / source, copy, ignore=shutil.ignore_patterns(
        "node_modules", "dist", "omendb", "bin"))
    for step in steps:
        if shutil.which(step[0]) is None and not (copy / step[0]).exists():
            pytest.fail(f"{step[0]} is not installed: ci/deps stubs installs it")
        built = subprocess.run(step, cwd=copy, capture_output=True, text=True,
                               timeout=BUILD_TIMEOUT_S)
        assert built.returncode == 0, f"{' '.join(step)}:\n{built.stdout}{built.stderr}"
    return copy


def check_it_finds_what_the_python_client_finds(program, server, collection) -> None:
    count = 5000
    report = program.start(server.target, collection, count).finish()
    assert (report.inserted, report.refused, report.reconnects) == (count, 0, 0), report.errors
    with Client(server.target) as client:
        queries = program.queries(count)
        same = client.search(collection, queries, k=K, ef=EF)
        exact = client.search(collection, queries, k=K, exact=True)
    # Same server, same graph, same ef: the same answer, whoever asks.
    assert np.array_equal(report.ids, same.ids)
    assert np.allclose(report.distances, same.distances, atol=1e-6)
    true_kth = exact.distances[:, -1:] + 1e-6
    assert np.mean(report.distances <= true_kth) >= 0.95


def check_a_server_that_goes_costs_nothing(program, server, collection, goes) -> None:
    """`goes` is "kill" (SIGKILL) or "stop" (SIGTERM, so that it drains)."""
    count = 24000
    running = program.start(server.target, collection, count)
    assert running.durable.wait(RUN_TIMEOUT_S), "".join(running.lines)
    getattr(server, goes)()
    server.start()
    report = running.finish()
    assert report.reconnects >= 1, report.errors
    assert (report.inserted, report.refused) == (count, 0), report.errors
    with Client(server.target) as client:
        assert client.get_collection(collection).points == count
        own = client.search(collection, program.words[:count:50], k=1, ef=EF)
    # Twins have distance 0 too, so the distance is what must be right.
    assert np.all(own.distances[:, 0] <= 1e-6)


def check_rows_that_exist_are_refused_one_by_one(program, server, collection) -> None:
    count = 2000
    program.start(server.target, collection, count // 2).finish()
    report = program.start(server.target, collection, count).finish()
    assert (report.inserted, report.refused) == (count // 2, count // 2), report.errors
    assert "ALREADY_EXISTS" in report.errors

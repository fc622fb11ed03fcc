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
SUMMARY = re.compile(
    r"^inserted (\d+) refused (\d+) reconnects (\d+) resent (\d+) drains (\d+)$", re.M)
PROGRESS = re.compile(r"^durable (\d+) searchable (\d+) of (\d+) chunks$")


@dataclasses.dataclass
class Report:
    ids: np.ndarray  # [queries, k], as text
    distances: np.ndarray
    inserted: int
    refused: int
    reconnects: int
    resent: int
    drains: int
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
        return Report(rows[:, 0::2], rows[:, 1::2].astype(np.float32), *counts,
                      errors)


class StubProgram:
    """A built program, the rows that it sends, and the rows that it looks for."""

    def __init__(self, command: list[str], folder: pathlib.Path, words: np.ndarray) -> None:
        self._command = command
        self._folder = folder
        self.words = words

    def start(self, target: str, collection: str, count: int, *flags: str) -> Running:
        """Streams rows [0, count) under ids from 1000, then looks for the rows after those."""
        rows, queries = self.words[:count], self.queries(count)
        rows.astype("<f4").tofile(self._folder / "rows.f32")
        queries.astype("<f4").tofile(self._folder / "queries.f32")
        return Running([*self._command, "--target", target, "--collection", collection,
                        "--vectors", str(self._folder / "rows.f32"), "--dim",
                        str(rows.shape[1]), "--queries", str(self._folder / "queries.f32"),
                        "--k", str(K), "--ef", str(EF), "--first-id", "1000", *flags])

    def call(self, target: str, collection: str, what: str, ids: list[str],
             rows: np.ndarray | None = None, flags: tuple[str, ...] = ()) -> tuple[str, str]:
        """upsert, delete or get; returns the standard output and error."""
        command = [*self._command, "--target", target, "--collection", collection,
                   "--ids", ",".join(ids), *flags]
        if rows is not None:
            path = self._folder / "points.f32"
            rows.astype("<f4").tofile(path)
            command += ["--vectors", str(path), "--dim", str(rows.shape[1])]
        run = subprocess.run([*command, what], capture_output=True, text=True,
                             timeout=RUN_TIMEOUT_S)
        assert run.returncode == 0, run.stderr
        return run.stdout, run.stderr

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
    assert np.array_equal(report.ids, same.ids.astype(str))
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
    assert (report.drains >= 1) == (goes == "stop"), report.errors
    assert (report.inserted, report.refused) == (count, 0), report.errors
    with Client(server.target) as client:
        assert client.get_collection(collection).points == count
        words = program.words[:count:50]
        own = client.search(collection, words, k=1, exact=True)
        walked = client.search(collection, words, k=1, ef=EF)
    # Twins have distance 0 too, so the distance is what must be right.
    assert np.all(own.distances[:, 0] <= 1e-6)
    assert np.mean(walked.distances[:, 0] <= 1e-6) > 0.99  # a walk may miss one


def check_rows_that_exist_are_refused_one_by_one(program, server, collection) -> None:
    count = 2000
    program.start(server.target, collection, count // 2).finish()
    report = program.start(server.target, collection, count).finish()
    assert (report.inserted, report.refused) == (count // 2, count // 2), report.errors
    assert "ALREADY_EXISTS" in report.errors


def check_drains_and_cuts_cost_nothing(program, scripted, collection) -> None:
    """Two of the connections are drained, and one breaks with what it was sent last."""
    count, per_chunk, dim = 2000, 100, program.words.shape[1]
    server = scripted(dim=dim, max_chunk_bytes=1024 + per_chunk * (4 * dim + 16), forget=1,
                      drain_after=[3, None, 4], cut_after=[None, 5], retry_after_ms=200)
    server.release.set()  # a drained call ends at once
    report = program.start(server.target, collection, count).finish()
    assert (report.drains, report.reconnects) == (2, 3), report.errors
    assert report.resent <= 3 * count // per_chunk, report.errors
    assert server.open_times[1] - server.end_times[0] >= 0.2
    assert [number for number, _ in server.rows] == list(range(1000, 1000 + count))
    assert np.array_equal([row for _, row in server.rows], program.words[:count])
    seen = [request.errors_seen_seq for request in server.open_requests]
    assert seen == [0, 3, 7, 11] and server.open_requests[3].incarnation == b"i" * 16


def check_keys_and_modes(program, server, collection) -> None:
    count = 2000
    first = program.start(server.target, collection, count, "--keys", "row-").finish()
    assert (first.inserted, first.refused) == (count, 0), first.errors
    again = program.start(server.target, collection, count + 500, "--keys", "row-", "--mode",
                          "update", "--ttl", "3600").finish()
    assert (again.inserted, again.refused) == (count, 500), again.errors
    assert "POINT_NOT_FOUND" in again.errors
    with Client(server.target) as client:
        same = client.search(collection, program.queries(count + 500), k=K, ef=EF)
        got = client.get(collection, [f"row-{1000 + i}" for i in range(count + 500)])
    assert got.found[:count].all() and not got.found[count:].any()
    assert (got.expires_unix_s[:count] > 0).all()
    assert again.ids.tolist() == [[key.decode() for key, _ in same.hits(row)]
                                  for row in range(QUERIES)]


def check_single_points(program, server, collection) -> None:
    rows = np.array([[1.5, -2], [0.25, 8], [3, 4]], dtype=np.float32)
    with Client(server.target) as client:
        client.create_collection(collection, dim=2, metric="l2")
        _, told = program.call(server.target, collection, "upsert", ["7", "seven", "8"], rows,
                               ("--mode", "upsert"))
        assert re.match(r"written 3 refused 0 position [1-9]\d*\n", told)
        _, told = program.call(server.target, collection, "upsert", ["7", "new"], -rows[:2],
                               ("--mode", "insert"))
        assert re.match(r"written 1 refused 1 position [1-9]\d*\n7: ALREADY_EXISTS: ", told)
        _, told = program.call(server.target, collection, "delete", ["8", "nobody"])
        assert re.match(r"deleted 2 refused 0 position [1-9]\d*\n", told)
        lines, _ = program.call(server.target, collection, "get", ["7", "seven", "8", "new"])
        assert lines.splitlines() == ["7 0 1.5 -2", "seven 0 0.25 8", "8 missing",
                                      "new 0 -0.25 -8"]
        assert client.get(collection, [7, "seven", 8, "7"]).found.tolist() == [
            True, True, False, False]

"""A disk that is slow to sync holds nobody up: while a group is synced, the next one gathers and
the graph is built.

The servers are those with fault points, which make a sync longer, or leave it out. What is asserted
is a ratio of rates of the same minute, and loosely: other work may run beside.
"""
import time

import numpy as np
from dying_server import DyingServer
from omendb_client import Client

ROWS = 24_000
DIM = 128
ROUNDS = 3
FLAGS = ("--checkpoint-seconds", "off", "--calibrate-seconds", "0")


def seconds(directory, rows: np.ndarray, sync_ms) -> float:
    server = DyingServer(directory, flags=FLAGS, sync_ms=sync_ms)
    assert server.serving, "".join(server.lines)
    with Client(server.target) as client:
        client.create_collection("slow", dim=DIM, metric="l2")
        begin = time.perf_counter()
        result = client.insert("slow", ids=np.arange(ROWS), vectors=rows)
        taken = time.perf_counter() - begin
        assert result.inserted == ROWS
    server.end()
    return taken


def test_a_slow_sync_costs_no_throughput(tmp_path):
    rows = np.random.default_rng(41).standard_normal((ROWS, DIM), dtype=np.float32)
    best = dict.fromkeys(("off", None, "5"), float("inf"))
    for number in range(ROUNDS):
        for sync_ms in best:
            taken = seconds(tmp_path / f"{number}-{sync_ms}", rows, sync_ms)
            best[sync_ms] = min(best[sync_ms], taken)
    print(f"\n{ROWS} rows: {best['off']:.2f} s without syncs, {best[None]:.2f} s with them,"
          f" {best['5']:.2f} s with 5 ms more each")
    assert best[None] < 2 * best["off"] + 0.2
    assert best["5"] < 2 * best["off"] + 0.2


def test_an_acknowledgement_waits_for_its_sync(tmp_path):
    """So that the other test measures what it says: a lone write takes as long as the sync."""
    server = DyingServer(tmp_path, flags=FLAGS, sync_ms="200")
    with Client(server.target) as client:
        client.create_collection("slow", dim=DIM, metric="l2")
        begin = time.perf_counter()
        client.upsert("slow", [1], np.ones((1, DIM), dtype=np.float32), wait="durable")
        assert time.perf_counter() - begin >= 0.2
    server.end()

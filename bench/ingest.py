#!/usr/bin/env python3
"""How fast do rows go in, beside hnswlib with as many threads on the same rows?

    ingest.py [--data FILE.npy] [--rows N] [--rounds N] [--threads N] [--json FILE]

Ours: the Python client streams the rows over gRPC into a fresh server (--ingest-threads N); the
clock runs from the first send until every row is durable and searchable, so it pays for the wire,
the log and its fsyncs. The peer: PyPI's hnswlib, M=16, ef_construction=200, add_items with as many
threads in its own process, in memory, from an array that is there already. Rounds are interleaved,
so that a slower or faster spell of the machine meets both. Recall@10 of both is measured on 1,000
held-out rows.

The peer is installed from PyPI into build/bench-venv on the first run; it compiles itself, which
needs a C++ compiler and Python's headers (ci/deps bench). Ends with status 1 if a row is refused.
"""
from __future__ import annotations

import argparse
import json
import os
import pathlib
import platform
import sys
import tempfile
import time

import numpy as np

from comparison.environment import BENCH, python_of, variables
from comparison.process import Failed, Process
from dataset import SHIPPED_VECTORS, Dataset, load
from ground_truth import positions_of, recall
from progress_bar import ProgressBar
from server_process import ServerProcess, find_binary
from omendb_client import Client

COLLECTION = "ingest"
K = 10
QUERIES = 1000
HNSWLIB = "hnswlib 0.8"
PEER_SECONDS = 3600


def measure_ours(binary: pathlib.Path, data: Dataset, args: argparse.Namespace) -> dict:
    with tempfile.TemporaryDirectory(prefix="omendb-ingest-", dir=args.dir) as directory:
        with ServerProcess(binary, pathlib.Path(directory), "--ingest-threads",
                           str(args.threads)) as server, Client(server.target) as client:
            client.create_collection(COLLECTION, dim=data.vectors.shape[1], metric="cosine")
            bar = ProgressBar()
            result = client.insert(COLLECTION, data.ids, data.vectors, progress=bar)
            result.raise_for_errors()
            begin = time.perf_counter()
            found = client.search(COLLECTION, data.queries, k=K, ef=args.ef)
            search_seconds = time.perf_counter() - begin
            positions = positions_of(data.ids, found.ids, found.counts)
            return {
                "durable_per_second": len(data.ids) / bar.durable_seconds,
                "searchable_per_second": len(data.ids) / bar.searchable_seconds,
                "recall": recall(data.vectors, data.queries, positions, K),
                "queries_per_second": QUERIES / search_seconds,
                "resident_bytes": server.resident_bytes(),
            }


def measure_peer(data: Dataset, args: argparse.Namespace) -> dict:
    with tempfile.TemporaryDirectory(prefix="omendb-ingest-", dir=args.dir) as directory:
        folder = pathlib.Path(directory)
        rows, queries, labels = (folder / name for name in ("rows.npy", "queries.npy", "labels"))
        np.save(rows, data.vectors)
        np.save(queries, data.queries)
        command = [str(python_of("hnswlib")), "-m", "peers.main", "hnswlib", "--rows", str(rows),
                   "--queries", str(queries), "--dir", str(folder / "index"), "--threads",
                   str(args.threads), "--set", "M=16", "--set", "ef_construction=200"]
        process = Process(command, folder / "peer", os.sched_getaffinity(0),
                          variables(args.threads), BENCH)
        try:
            process.start(PEER_SECONDS)
            built = process.ask(f"build chunk={len(data.ids)}", PEER_SECONDS)
            asked = process.ask(f"search ef={args.peer_ef} batch={QUERIES} ids={labels}",
                                PEER_SECONDS)
        except Failed as error:
            raise SystemExit(f"hnswlib: {error}") from None
        finally:
            process.stop()
        positions = np.fromfile(labels, dtype=np.int64).reshape(-1, K)
        return {
            "built_per_second": len(data.ids) / built["seconds"],
            "recall": recall(data.vectors, data.queries, positions, K),
            "queries_per_second": asked["queries"] / asked["seconds"],
        }


def summary(values: list[float]) -> dict:
    return {"median": float(np.median(values)), "min": min(values), "max": max(values)}


def collect(rounds: list[dict]) -> dict:
    return {key: summary([entry[key] for entry in rounds]) for key in rounds[0]}


def print_rate(label: str, rate: dict, unit: str = "/s") -> None:
    print(f"  {label:<42} {rate['median']:>9,.0f}{unit}   ({rate['min']:,.0f} to"
          f" {rate['max']:,.0f})")


def report(outcome: dict, args: argparse.Namespace) -> None:
    ours, peer = outcome["ours"], outcome["hnswlib"]
    print(f"\n{outcome['rows']:,} rows of {outcome['dim']}, {args.rounds} interleaved rounds,"
          f" {args.threads} threads each; median (min to max)")
    print_rate("omendb-server over gRPC, searchable", ours["searchable_per_second"])
    print_rate("omendb-server over gRPC, durable", ours["durable_per_second"])
    print_rate(f"{HNSWLIB} M=16 ef_construction=200", peer["built_per_second"])
    print(f"  searchable rate / hnswlib rate: {outcome['ratio']:.2f}")
    print(f"  recall@{K}: omendb-server {ours['recall']['median']:.4f} at ef = {args.ef},"
          f" hnswlib {peer['recall']['median']:.4f} at ef = {args.peer_ef}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="ingest.py", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, default=SHIPPED_VECTORS)
    parser.add_argument("--rows", type=int, help="use only the first N rows")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--ef", type=int, default=128, help="of our searches")
    parser.add_argument("--peer-ef", type=int, default=128, help="of hnswlib's searches")
    parser.add_argument("--seed", type=int, default=1, help="chooses the held-out rows")
    parser.add_argument("--server", help="omendb-server to run, default: that of build/release")
    parser.add_argument("--dir", help="where data directories go, default: the system's")
    parser.add_argument("--json", type=pathlib.Path, help="write all figures here")
    return parser.parse_args()


def main() -> int:
    args = parse()
    binary = find_binary(args.server)
    python_of("hnswlib")  # installed before anything is measured
    data = load(args.data, QUERIES, args.seed, args.rows)
    ours, peer = [], []
    for number in range(args.rounds):
        ours.append(measure_ours(binary, data, args))
        peer.append(measure_peer(data, args))
        print(f"round {number + 1}: ours {ours[-1]['searchable_per_second']:,.0f}/s searchable,"
              f" hnswlib {peer[-1]['built_per_second']:,.0f}/s", flush=True)
    outcome = {
        "rows": len(data.ids), "dim": data.vectors.shape[1], "rounds": args.rounds,
        "threads": args.threads, "ef": args.ef, "peer_ef": args.peer_ef, "seed": args.seed,
        "data": args.data.name, "cpus": os.cpu_count(), "machine": platform.machine(),
        "ours": collect(ours), "hnswlib": collect(peer),
    }
    outcome["ratio"] = (outcome["ours"]["searchable_per_second"]["median"]
                        / outcome["hnswlib"]["built_per_second"]["median"])
    report(outcome, args)
    if args.json:
        args.json.write_text(json.dumps(outcome, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

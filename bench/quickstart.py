#!/usr/bin/env python3
"""The main job on real data, from an empty directory to a killed and restarted server.

    quickstart.py [--server BINARY] [--seed N] [--ef N] [--keep]

Starts the server, streams the shipped rows in, searches with 1,000 rows that were held out, kills
the server with SIGKILL, starts it again, and asks for every acknowledged row. `ci/quickstart`
builds everything first and calls this.

Exit status 1, with a line that begins with "quickstart: FAILED", when a row was refused or does
not answer after the kill, the graph differs after the replay, the recall is below RECALL_FLOOR, or
the server does not stop cleanly.
"""
from __future__ import annotations

import argparse
import pathlib
import shutil
import sys
import tempfile
import textwrap
import time

import numpy as np

from dataset import SHIPPED_VECTORS, Dataset, load, texts
from ground_truth import positions_of, recall
from progress_bar import ProgressBar
from server_process import ServerProcess, find_binary
from omendb_client import Client

COLLECTION = "wordnet"
QUERIES = 1000
K = 10
SEARCH_ROUNDS = 3
RECALL_FLOOR = 0.95
PORT = 7420  # or any free one, if it is taken
SHOWN = 5


def stream_rows(client: Client, data: Dataset) -> list[str]:
    bar = ProgressBar("streaming")
    result = client.insert(COLLECTION, data.ids, data.vectors, progress=bar)
    count = len(data.ids)
    print(f"  {count / bar.durable_seconds:,.0f} vectors/s durable"
          f" ({bar.durable_seconds:.2f} s from the first send to the last row on disk)")
    print(f"  {count / bar.searchable_seconds:,.0f} vectors/s searchable"
          f" ({bar.searchable_seconds:.2f} s)")
    return [f"{len(result.errors)} rows were refused, the first: {result.errors[0].message}"
            ] if result.errors else []


def search_batches(client: Client, data: Dataset, ef: int) -> tuple[np.ndarray, list[str]]:
    seconds = []
    for _ in range(SEARCH_ROUNDS):
        begin = time.perf_counter()
        found = client.search(COLLECTION, data.queries, k=K, ef=ef)
        seconds.append(time.perf_counter() - begin)
    positions = positions_of(data.ids, found.ids, found.counts)
    share = recall(data.vectors, data.queries, positions, K)
    visited = found.visited.mean()
    print(f"  {QUERIES / np.median(seconds):,.0f} queries/s in batches of {QUERIES:,}"
          f" (k = {K}, ef = {ef}, median of {SEARCH_ROUNDS})")
    print(f"  recall@{K} {share:.4f} against an exact scan;"
          f" {visited:,.0f} of {len(data.ids):,} rows looked at per query"
          f" ({visited / len(data.ids):.1%})")
    return positions, [f"recall@{K} is {share:.4f}, wanted {RECALL_FLOOR}"
                       ] if share < RECALL_FLOOR else []


def show_neighbours(data: Dataset, positions: np.ndarray, seed: int) -> None:
    meanings = texts()
    for query in np.random.default_rng(seed).choice(QUERIES, SHOWN, replace=False):
        words, definition = meanings[data.query_ids[query]]
        print(textwrap.shorten(f"  {words}: {definition}", 96, initial_indent="  "))
        for position in positions[query][:5]:
            words, definition = meanings[data.ids[position]]
            distance = 1 - float(data.vectors[position] @ data.queries[query])
            print(textwrap.shorten(f"{distance:.3f}  {words}: {definition}", 96,
                                   initial_indent="      "))


def count_answering(client: Client, data: Dataset) -> int:
    """Rows that an exact scan with their own vector answers with their own id. A row with more
    than K - 1 equals is asked for once more with a larger k."""
    found = client.search(COLLECTION, data.vectors, k=K, exact=True, timeout=300)
    there = (found.ids == data.ids[:, np.newaxis].astype(np.uint64)).any(axis=1)
    for row in np.flatnonzero(~there):
        wide = client.search(COLLECTION, data.vectors[row], k=1000, exact=True)
        there[row] = data.ids[row] in wide.ids
    return int(there.sum())


def kill_and_restart(server: ServerProcess, client: Client, data: Dataset) -> list[str]:
    before = client.get_collection(COLLECTION, with_graph_hash=True)
    server.kill()
    print(f"  SIGKILL to process {server.pid}, nothing was flushed")
    print(f"  started again: serving after {server.start():.1f} s, as process {server.pid}")
    client.wait_ready()
    after = client.get_collection(COLLECTION, with_graph_hash=True)
    same = after.graph_hash == before.graph_hash
    print(f"  graph hash {after.graph_hash}: {'the same' if same else 'was ' + before.graph_hash}")
    begin = time.perf_counter()
    answering = count_answering(client, data)
    print(f"  {answering:,} of {len(data.ids):,} acknowledged rows answer to their own vector"
          f" (exact scan of all against all, {time.perf_counter() - begin:.1f} s)")
    problems = []
    if not before.graph_hash:
        problems.append("the server told no graph hash")
    if not same:
        problems.append("the graph after the replay is not the graph before the kill")
    if answering != len(data.ids):
        problems.append(f"{len(data.ids) - answering} acknowledged rows do not answer")
    return problems


def run(server: ServerProcess, data: Dataset, args: argparse.Namespace) -> list[str]:
    with Client(server.target) as client:
        client.create_collection(COLLECTION, dim=data.vectors.shape[1], metric="cosine")
        print(f"\nInsert {len(data.ids):,} rows of {data.vectors.shape[1]} components over gRPC")
        problems = stream_rows(client, data)

        print(f"\nSearch with {QUERIES:,} rows that were held out (seed {args.seed})")
        positions, shortfall = search_batches(client, data, args.ef)
        problems += shortfall
        print(f"  {server.resident_bytes() / 2**20:,.0f} MiB resident in the server, of which"
              f" graph and codes {client.get_collection(COLLECTION).memory_bytes / 2**20:,.0f} MiB")

        print("\nFive of them, and their nearest neighbours (cosine distance)")
        show_neighbours(data, positions, args.seed)

        print("\nKill and restart")
        problems += kill_and_restart(server, client, data)
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(prog="quickstart", description=__doc__.splitlines()[0])
    parser.add_argument("--server", help="omendb-server to run, default: that of build/release")
    parser.add_argument("--seed", type=int, default=1, help="chooses what is held out")
    parser.add_argument("--ef", type=int, default=128, help="size of the search's pool")
    parser.add_argument("--keep", action="store_true", help="leave the server running")
    args = parser.parse_args()

    begin = time.perf_counter()
    data = load(SHIPPED_VECTORS, QUERIES, args.seed)
    directory = pathlib.Path(tempfile.mkdtemp(prefix="omendb-quickstart-"))
    try:
        with ServerProcess(find_binary(args.server), directory, port=PORT) as server:
            print(f"Server on {server.target}, process {server.pid}, data in {server.data_dir}")
            problems = run(server, data, args)
            if args.keep:
                server.keep()
                print(f"\nThe server goes on: {server.target}, log {server.log_path}\n"
                      f"  stop it:        kill {server.pid}\n  remove its data: rm -r {directory}")
            elif (status := server.stop()) != 0:
                problems.append(f"the server ended with status {status} after SIGTERM:\n"
                                f"{server.log_tail()}")
            else:
                print("\nStopped.")
    finally:
        if not args.keep:
            shutil.rmtree(directory, ignore_errors=True)
    for problem in problems:
        print(f"quickstart: FAILED: {problem}")
    if not problems:
        print(f"quickstart: ok, {time.perf_counter() - begin:.0f} s")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""How good and how fast are approximate answers, at each ef?

    recall.py [--data FILE.npy] [--ef N[,N...]] [--seed N] [--json FILE]

Holds out 1,000 seeded rows, streams all others in, and searches with the held-out ones: recall@10
against an exact scan, rows whose distance was computed as a share of all, and queries per second
in one batch (median of the rounds). Ends with status 1 if a row is refused, or an answer did not
come from the approximate path.
"""
from __future__ import annotations

import argparse
import json
import pathlib
import sys
import tempfile
import time

import numpy as np

from dataset import SHIPPED_VECTORS, Dataset, load
from ground_truth import positions_of, recall
from progress_bar import ProgressBar
from server_process import ServerProcess, find_binary
from omendb_client import Client

COLLECTION = "recall"
K = 10
QUERIES = 1000


def search_at(client: Client, data: Dataset, ef: int, rounds: int) -> dict:
    seconds = []
    for _ in range(rounds):
        begin = time.perf_counter()
        found = client.search(COLLECTION, data.queries, k=K, ef=ef)
        seconds.append(time.perf_counter() - begin)
    positions = positions_of(data.ids, found.ids, found.counts)
    return {
        "ef": ef,
        "recall": recall(data.vectors, data.queries, positions, K),
        "visited": float(found.visited.mean()),
        "visited_share": float(found.visited.mean()) / len(data.ids),
        "visited_share_max": float(found.visited.max()) / len(data.ids),
        "queries_per_second": len(data.queries) / float(np.median(seconds)),
        "exact": int(found.exact.sum()),
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="recall.py", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, default=SHIPPED_VECTORS)
    parser.add_argument("--rows", type=int, help="use only the first N rows")
    parser.add_argument("--ef", default="32,64,128,256", help="one, or several with commas")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1, help="chooses the held-out rows")
    parser.add_argument("--server", help="omendb-server to run, default: that of build/release")
    parser.add_argument("--json", type=pathlib.Path, help="write all figures here")
    return parser.parse_args()


def main() -> int:
    args = parse()
    data = load(args.data, QUERIES, args.seed, args.rows)
    with tempfile.TemporaryDirectory(prefix="omendb-recall-") as directory:
        with ServerProcess(find_binary(args.server), pathlib.Path(directory),
                           "--calibrate-seconds", "0") as server, \
                Client(server.target) as client:
            client.create_collection(COLLECTION, dim=data.vectors.shape[1], metric="cosine")
            bar = ProgressBar("streaming")
            client.insert(COLLECTION, data.ids, data.vectors, progress=bar).raise_for_errors()
            lines = [search_at(client, data, int(ef), args.rounds) for ef in args.ef.split(",")]
            resident = server.resident_bytes()
    print(f"\n{len(data.ids):,} rows of {data.vectors.shape[1]}, {QUERIES:,} held out with seed"
          f" {args.seed}; {len(data.ids) / bar.searchable_seconds:,.0f} rows/s searchable,"
          f" {resident / 2**20:,.0f} MiB resident")
    print(f"{'ef':>6} {'recall@10':>10} {'visited':>9} {'of rows':>8} {'queries/s':>10}")
    for line in lines:
        print(f"{line['ef']:>6} {line['recall']:>10.4f} {line['visited']:>9,.0f}"
              f" {line['visited_share']:>8.2%} {line['queries_per_second']:>10,.0f}")
    if args.json:
        outcome = {"rows": len(data.ids), "dim": data.vectors.shape[1], "seed": args.seed,
                   "data": args.data.name, "resident_bytes": resident,
                   "searchable_per_second": len(data.ids) / bar.searchable_seconds,
                   "searches": lines}
        args.json.write_text(json.dumps(outcome, indent=2) + "\n", encoding="utf-8")
    exact = sum(line["exact"] for line in lines)
    if exact:
        print(f"recall.py: FAILED: {exact} answers came from an exact scan")
    return 1 if exact else 0


if __name__ == "__main__":
    sys.exit(main())

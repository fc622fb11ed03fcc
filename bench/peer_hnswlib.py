#!/usr/bin/env python3
"""Builds and searches an hnswlib index; ingest.py calls it in the peers' environment.

    peer_hnswlib.py ROWS.npy QUERIES.npy LABELS.npy --threads N --ef N

Writes the row numbers that it answered to LABELS.npy, and prints its times as JSON.
"""
import argparse
import json
import time

import hnswlib
import numpy as np

M = 16
EF_CONSTRUCTION = 200
K = 10


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("rows")
    parser.add_argument("queries")
    parser.add_argument("labels")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--ef", type=int, required=True)
    args = parser.parse_args()
    rows, queries = np.load(args.rows), np.load(args.queries)

    index = hnswlib.Index(space="cosine", dim=rows.shape[1])
    index.init_index(max_elements=len(rows), M=M, ef_construction=EF_CONSTRUCTION)
    index.set_num_threads(args.threads)
    begin = time.perf_counter()
    index.add_items(rows, np.arange(len(rows)), num_threads=args.threads)
    built = time.perf_counter()
    index.set_ef(args.ef)
    labels, _ = index.knn_query(queries, k=K, num_threads=args.threads)
    searched = time.perf_counter()
    np.save(args.labels, labels.astype(np.int64))
    print(json.dumps({"build_seconds": built - begin, "search_seconds": searched - built}))


if __name__ == "__main__":
    main()

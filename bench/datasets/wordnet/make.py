#!/usr/bin/env python3
"""Cuts the shipped data set out of the full embedding of WordNet 3.0.

    make.py VECTORS.f16.npy TEXTS.tsv.gz [--rows 25000] [--seed 42] [--out DIR]

VECTORS has one float16 row per synset, TEXTS one line per synset (part of speech, lexicographer
file, words, definition; tab-separated). Rows are drawn without replacement and kept in their
order, so the same seed gives the same files, byte for byte. Fails when the two inputs do not
have the same number of rows, or when a row is not of unit length.
"""
import argparse
import gzip
import pathlib
import sys

import numpy as np


def read_lines(path: pathlib.Path) -> list[str]:
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as stream:
        return stream.read().splitlines()


def write_lines(path: pathlib.Path, lines: list[str]) -> None:
    # A fixed time and no file name in the gzip header: the same input gives the same bytes.
    with open(path, "wb") as raw:
        with gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=9, mtime=0) as out:
            out.write(("\n".join(lines) + "\n").encode("utf-8"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("vectors", type=pathlib.Path)
    parser.add_argument("texts", type=pathlib.Path)
    parser.add_argument("--rows", type=int, default=25_000)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    args = parser.parse_args()

    vectors = np.load(args.vectors, mmap_mode="r")
    texts = read_lines(args.texts)
    if len(vectors) != len(texts):
        print(f"{len(vectors)} vectors but {len(texts)} texts", file=sys.stderr)
        return 1
    rng = np.random.default_rng(args.seed)
    rows = np.sort(rng.choice(len(vectors), size=args.rows, replace=False))
    chosen = np.ascontiguousarray(vectors[rows], dtype=np.float16)
    lengths = np.linalg.norm(chosen.astype(np.float32), axis=1)
    if np.abs(lengths - 1.0).max() > 1e-2:
        print(f"row lengths from {lengths.min()} to {lengths.max()}, not 1", file=sys.stderr)
        return 1
    np.save(args.out / "vectors.f16.npy", chosen)
    write_lines(args.out / "texts.tsv.gz", [texts[row] for row in rows])
    print(f"{len(chosen)} rows of {chosen.shape[1]} components in {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

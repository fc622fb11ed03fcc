"""Rows to insert and rows to ask with: a .npy file, cut by a seed.

A query is never a row that is in the index, so the held-out rows are taken out before anything is
inserted. Vectors are normalised: every script here measures the cosine metric.
"""
from __future__ import annotations

import dataclasses
import gzip
import pathlib

import numpy as np

SHIPPED = pathlib.Path(__file__).resolve().parent / "datasets" / "wordnet"
SHIPPED_VECTORS = SHIPPED / "vectors.f16.npy"


@dataclasses.dataclass(frozen=True)
class Dataset:
    ids: np.ndarray  # int64 [n]: row numbers of the file, which are the ids in the server
    vectors: np.ndarray  # float32 [n, dim], unit length
    query_ids: np.ndarray  # int64 [q]: row numbers of the queries
    queries: np.ndarray  # float32 [q, dim], unit length


def normalised(vectors: np.ndarray) -> np.ndarray:
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (lengths > 0).all():
        raise SystemExit("the data has zero vectors, which the cosine metric refuses")
    return vectors / lengths


def load(path: pathlib.Path, queries: int, seed: int, rows: int | None = None) -> Dataset:
    """The first `rows` rows of the file that are not held out, in the file's order."""
    data = np.load(path, mmap_mode="r")
    if data.ndim != 2 or len(data) <= queries:
        raise SystemExit(f"{path}: shape {data.shape}, wanted more than {queries} rows")
    held = np.sort(np.random.default_rng(seed).choice(len(data), size=queries, replace=False))
    kept = np.setdiff1d(np.arange(len(data)), held)[:rows]
    return Dataset(kept, normalised(data[kept]), held, normalised(data[held]))


def texts() -> list[tuple[str, str]]:
    """(words, definition) of each row of the shipped set."""
    with gzip.open(SHIPPED / "texts.tsv.gz", "rt", encoding="utf-8", newline="\n") as lines:
        return [tuple(line.rstrip("\n").split("\t")[2:4]) for line in lines]

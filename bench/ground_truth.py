"""Recall against an exact scan.

A hit counts when its exact distance is not greater than the true k-th distance, give or take
TOLERANCE: the data has twins, and of two rows at the same distance either is right.
"""
from __future__ import annotations

import numpy as np

# Cosine distances are sums of 384 products in float32; two orders of summation differ by about
# 1e-7. Ten times that is still far below the gap between different texts.
TOLERANCE = 1e-6

_BLOCK = 256  # queries at a time: a block of distances to a million rows is 1 GB


def kth_similarity(vectors: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    """The k-th largest inner product of each query with the rows."""
    parts = [
        np.partition(queries[begin:begin + _BLOCK] @ vectors.T, -k, axis=1)[:, -k]
        for begin in range(0, len(queries), _BLOCK)
    ]
    return np.concatenate(parts)


def recall(vectors: np.ndarray, queries: np.ndarray, positions: np.ndarray, k: int,
           threshold: np.ndarray | None = None) -> float:
    """positions [q, k]: rows of `vectors` that were answered; negative where nothing was.
    `threshold`: kth_similarity of the same, if it is known already."""
    if threshold is None:
        threshold = kth_similarity(vectors, queries, k)
    hits = 0
    for query, row, least in zip(queries, positions, threshold, strict=True):
        answered = np.unique(row[row >= 0])
        hits += int((vectors[answered] @ query >= least - TOLERANCE).sum())
    return hits / (len(queries) * k)


def positions_of(ids: np.ndarray, answered: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Where each answered id stands in the sorted `ids`; -1 for fillers and strangers."""
    wanted = answered.astype(np.int64, copy=False)
    position = np.clip(np.searchsorted(ids, wanted), 0, len(ids) - 1)
    beyond = np.arange(answered.shape[1])[np.newaxis] >= counts[:, np.newaxis]
    return np.where(beyond | (ids[position] != wanted), -1, position)

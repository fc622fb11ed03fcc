"""What bench/peers/main.py wants of a peer.

A peer module has a class Index with the methods of Peer. It is made before the clock of the build
starts; rows then come through append() in chunks where the peer has such a call, else all at once
through build(). Rows and queries have unit length.
"""
from __future__ import annotations

import pathlib

import numpy as np


class Peer:
    local = True  # False: it runs elsewhere; its memory, its disk and its restart are not ours
    appends = True  # False: the peer wants to see all rows at once, and build() is called

    def __init__(self, dim: int, count: int, threads: int, settings: dict[str, str]) -> None:
        """`count` is the final number of rows, for peers that must know it beforehand."""
        self.dim, self.count, self.threads, self.settings = dim, count, threads, settings

    def setting(self, name: str, otherwise: int) -> int:
        return int(self.settings.get(name, otherwise))

    def append(self, rows: np.ndarray, first: int) -> None:
        """Adds rows with the ids first, first + 1, ..."""
        raise NotImplementedError

    def build(self, rows: np.ndarray, path: pathlib.Path) -> None:
        """`path` is the .npy file that the rows are in."""
        raise NotImplementedError

    def finish(self) -> None:
        """Whatever is left to do until every row is in the graph; it is part of the build."""

    def tune(self, effort: float) -> None:
        """`effort` is ef, or what the peer has in its stead."""
        raise NotImplementedError

    def ask(self, queries: np.ndarray, k: int) -> np.ndarray:
        """Ids [q, k] by the peer's call for many queries; -1 where there is none."""
        raise NotImplementedError

    def ask_one(self, query: np.ndarray, k: int) -> object:
        """The same for one query; what is returned is not looked at."""
        return self.ask(query[np.newaxis], k)

    def distances(self) -> int | None:
        """Distances computed so far, or None where the peer does not tell."""
        return None

    def save(self, folder: pathlib.Path) -> None:
        raise NotImplementedError

    def load(self, folder: pathlib.Path) -> None:
        """Replaces the index by the saved one."""
        raise NotImplementedError


def padded(answers: list, k: int) -> np.ndarray:
    """Lists of ids, each of at most k, as one array."""
    ids = np.full((len(answers), k), -1, dtype=np.int64)
    for row, answer in zip(ids, answers, strict=True):
        row[:len(answer)] = answer
    return ids

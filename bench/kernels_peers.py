#!/usr/bin/env python3
"""How fast are our 1 x 1 and 1 x many kernels beside SimSIMD's and NumKong's functions?

    kernels_peers.py [--dim 128,384,768] [--rounds N] [--peers simsimd==6.5.16,numkong==7.8.6]

Both peers give the addresses of their C functions away; bench/kernels_loop.c calls those and our
kernels in the same loop, over the same rows, in turns, so Python is not in the figures. "L1" takes
a few rows over and over; "memory" gathers rows in random order from 256 MiB. Every figure is the
best of the rounds.

What is not alike: the peers have no 1 x many with gathered rows, so they cannot fetch ahead, and
their products of int8 take signed bytes on both sides. NumKong adds up f32 in f64, which is more
exact and costs time. Ours add up in 32 lanes of f32, the same bits on every tier. Products of many
by many are not compared. Each function's results are first compared with numpy's.

The peers are installed from PyPI into build/kernels-peers on the first run. Needs the release
build. Ends with status 1 if a result is wrong.
"""
from __future__ import annotations

import argparse
import ctypes
import os
import pathlib
import subprocess
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
PEERS = REPOSITORY / "build" / "kernels-peers"
LOOP = REPOSITORY / "build" / "release" / "bench" / "libomen_kernels_loop.so"
REGION_BYTES = 256 << 20
HOT_BYTES = 12 << 10
HOT_PASS = 1 << 14
COLD_PASS = 1 << 16
ALIGN = 64
# A title, our ops, what gives the address of the peers' function, the type by their name.
SUBJECTS = [
    ("f32 inner product", ["dot_f32_one", "dot_f32_many"], "pointer_to_inner", "float32"),
    ("f32 squared L2", ["l2sq_f32_one", "l2sq_f32_many"], "pointer_to_sqeuclidean", "float32"),
    ("int8 inner product", ["dot_i8_one", "dot_i8_many"], "pointer_to_inner", "int8"),
]


def run_in_peers_environment(wanted: list[str]) -> None:
    """Makes it if need be, and starts this script again with its interpreter."""
    python = PEERS / "bin" / "python"
    installed = PEERS / "installed"
    if pathlib.Path(sys.prefix) == PEERS:
        return
    if not installed.exists() or installed.read_text(encoding="ascii").split() != wanted:
        print(f"installing {' '.join(wanted)} into {PEERS}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(PEERS)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check",
                        "numpy", *wanted], check=True)
        installed.write_text("\n".join(wanted) + "\n", encoding="ascii")
    os.execv(python, [str(python), *sys.argv])


def aligned(np, count: int, dtype):
    """Zeros that begin on a cache line."""
    size = count * np.dtype(dtype).itemsize
    raw = np.zeros(size + ALIGN, dtype=np.uint8)
    start = -raw.ctypes.data % ALIGN
    return raw[start:start + size].view(dtype)


class Loop:
    def __init__(self):
        if not LOOP.is_file():
            sys.exit(f"{LOOP} is missing: cmake --build --preset release")
        self.library = ctypes.CDLL(str(LOOP))
        pointers = [ctypes.c_void_p] * 3 + [ctypes.c_size_t] * 2 + [ctypes.c_void_p]
        for name in ("omen_loop_foreign", "omen_loop_f32", "omen_loop_i8"):
            function = getattr(self.library, name)
            function.restype, function.argtypes = ctypes.c_double, pointers
        for name in ("omen_loop_f32", "omen_loop_i8"):
            getattr(self.library, name).argtypes = [ctypes.c_char_p, *pointers[1:]]
        self.library.omen_loop_row.restype = ctypes.c_char_p
        self.library.omen_loop_row.argtypes = [ctypes.c_char_p, ctypes.c_uint32]

    def row_name(self, op: str, dim: int) -> str:
        return self.library.omen_loop_row(op.encode(), dim).decode()

    def ours(self, op: str):
        function = self.library.omen_loop_i8 if "_i8_" in op else self.library.omen_loop_f32
        return lambda *arguments: function(op.encode(), *arguments)

    def foreign(self, address: int):
        return lambda *arguments: self.library.omen_loop_foreign(address, *arguments)


class Rows:
    """A region of random rows, and the addresses of a pass over it."""

    def __init__(self, np, dim: int, is_int8: bool):
        self.np, self.dim, self.is_int8 = np, dim, is_int8
        rng = np.random.default_rng(42)
        self.stride = (dim + ALIGN - 1) // ALIGN * ALIGN
        dtype = np.uint8 if is_int8 else np.float32
        self.count = REGION_BYTES // (self.stride * np.dtype(dtype).itemsize)
        self.region = aligned(np, self.count * self.stride, dtype)
        self.query = aligned(np, self.stride, np.int8 if is_int8 else np.float32)
        if is_int8:
            self.region[:] = rng.integers(1, 256, len(self.region), dtype=np.uint8)
            self.region.reshape(-1, self.stride)[:, dim:] = 128
            self.query[:dim] = rng.integers(-127, 128, dim, dtype=np.int8)
        else:
            self.region[:] = rng.random(len(self.region), dtype=np.float32) - np.float32(0.5)
            self.query[:dim] = rng.random(dim, dtype=np.float32) - np.float32(0.5)
        hot = max(2, HOT_BYTES // (self.stride * self.region.itemsize))
        self.passes = {"L1": self.addresses(np.arange(HOT_PASS) % hot),
                       "memory": self.addresses(rng.integers(0, self.count, COLD_PASS))}
        self.results = aligned(np, COLD_PASS, np.float64)

    def addresses(self, numbers):
        step = self.stride * self.region.itemsize
        return (self.region.ctypes.data + numbers * step).astype(self.np.uint64)

    def run(self, function, where: str) -> float:
        """Nanoseconds of one distance."""
        rows = self.passes[where]
        return function(self.query.ctypes.data, rows.ctypes.data, len(rows), self.dim,
                        self.results.ctypes.data) / len(rows)

    def expected(self, title: str, is_ours: bool):
        """Of the first row, in f64. A byte b is b - 128 to ours, two's complement to the peers."""
        row = self.region[:self.dim]
        if self.is_int8:
            row = row.astype(self.np.int16) - 128 if is_ours else row.view(self.np.int8)
        row, query = row.astype(self.np.float64), self.query[:self.dim].astype(self.np.float64)
        return ((query - row) ** 2).sum() if "L2" in title else (query * row).sum()


def is_right(rows: Rows, title: str, who: str, is_ours: bool, function) -> bool:
    """The first result, in any of the types in which functions give theirs."""
    np = rows.np
    rows.results.view(np.uint8)[:] = 0
    rows.run(function, "L1")
    wanted = rows.expected(title, is_ours)
    types = ([np.int32] if rows.is_int8 else [np.float32]) if is_ours else [
        np.float64, np.float32, np.int32]
    got = [float(rows.results.view(dtype)[0]) for dtype in types]
    # f32 sums may be off by some of the terms' rounding errors; terms are at most 1 here.
    if any(abs(value - wanted) <= 1e-5 * rows.dim for value in got):
        return True
    print(f"WRONG: {who}, {title}, dim {rows.dim}: one of {got} should be {wanted}")
    return False


def compare(np, loop: Loop, peers: dict, dim: int, rounds: int) -> bool:
    right = True
    for title, ops, pointer, dtype in SUBJECTS:
        rows = Rows(np, dim, dtype == "int8")
        functions = {loop.row_name(op, dim): loop.ours(op) for op in ops}
        ours = set(functions)
        for name, module in peers.items():
            functions[name] = loop.foreign(getattr(module, pointer)(dtype))
        for name, function in functions.items():
            right &= is_right(rows, title, name, name in ours, function)
        print(f"\n{f'{title}, dim {dim}':<42} {'L1 ns':>9} {'GB/s':>8} {'memory ns':>10}"
              f" {'GB/s':>8}")
        best = {(name, where): float("inf") for name in functions for where in rows.passes}
        for _ in range(rounds):
            for name, where in best:
                best[name, where] = min(best[name, where], rows.run(functions[name], where))
        size = dim * rows.region.itemsize
        for name in functions:
            hot, cold = best[name, "L1"], best[name, "memory"]
            print(f"  {name:<40} {hot:>9.2f} {size / hot:>8.1f} {cold:>10.2f} {size / cold:>8.1f}",
                  flush=True)
    return right


def main() -> int:
    parser = argparse.ArgumentParser(prog="kernels_peers.py",
                                     description=__doc__.splitlines()[0])
    parser.add_argument("--dim", default="128,256,384,512,768,1536")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--peers", default="simsimd==6.5.16,numkong==7.8.6",
                        help="what pip installs, separated by commas")
    args = parser.parse_args()
    run_in_peers_environment(args.peers.split(","))
    import importlib  # noqa: E402  the peers' environment has what follows

    import numpy as np
    peers = {}
    for wanted in args.peers.split(","):
        module = importlib.import_module(wanted.split("==")[0])
        peers[wanted.replace("==", " ")] = module
    loop = Loop()
    right = all([compare(np, loop, peers, int(dim), args.rounds) for dim in args.dim.split(",")])
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())

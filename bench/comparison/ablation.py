"""The engine's bench built without one trick at a time, and what the figures say of each."""
from __future__ import annotations

import dataclasses
import pathlib
import re
import subprocess

from comparison import machine, summary
from comparison.environment import REPOSITORY
from comparison.rounds import Samples

FULL = "full"
HEADER = REPOSITORY / "engine" / "ablation.h"
TARGET = "omen_engine_bench"


@dataclasses.dataclass(frozen=True)
class Trick:
    """What is left out: by a build of its own, or (simd) by what the full build is told."""

    name: str
    about: str
    macro: str = ""
    simd: str = ""


def tricks() -> list[Trick]:
    """Every one of engine/ablation.h, in its order, and the kernels' tiers."""
    found = re.findall(r"/\* ([^*]+?)\. \*/\s*#ifndef OMEN_TRICK_(\w+)", HEADER.read_text())
    told = [Trick(macro.lower().replace("_", "-"), " ".join(text.split()), macro)
            for text, macro in found]
    # A machine without AMX has nothing to leave out; the other tiers are told as failed there.
    amx = [Trick("tier-vnni", "Kernels without AMX", simd="vnni")]
    return [*told, *(amx if "amx_int8" in machine.cpu_features() else []),
            Trick("tier-avx512", "Kernels without VNNI", simd="avx512"),
            Trick("tier-avx2", "Kernels without AVX-512", simd="avx2")]


class BuildFailed(Exception):
    """What CMake or the compiler said last."""


def build(trick: Trick, folder: pathlib.Path, jobs: int) -> pathlib.Path:
    """The engine's bench without this trick; FULL's macro is empty. Found again if it is there and
    nothing has changed."""
    binary = folder / "bench" / "engine" / TARGET
    commands = [["cmake", "-S", str(REPOSITORY), "-B", str(folder), "-G", "Ninja",
                 "-DCMAKE_BUILD_TYPE=Release", "-DOMEN_BUILD_SERVICE=OFF", "-DOMEN_BUILD_TESTS=OFF",
                 f"-DOMEN_ABLATE={trick.macro}"],
                ["cmake", "--build", str(folder), f"-j{jobs}", "--target", TARGET]]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BuildFailed(f"{trick.name}: " + (done.stdout + done.stderr)[-2000:])
    return binary


def ratio(figures: dict, full: dict, what: str) -> float | None:
    mine, theirs = summary.rate_of(figures, what), summary.rate_of(full, what)
    return mine / theirs if mine and theirs else None


def distances(figures: dict) -> float | None:
    reading = figures["at"]["0.95"]
    return reading.get("distances") if reading else None


def outcome(samples: dict[str, Samples], known: list[Trick]) -> dict:
    """{"full": figures, "without": [{name, about, build, qps95, distances, failed}, ...]}."""
    full = summary.summarise(samples[FULL])
    without = []
    for trick in known:
        figures = summary.summarise(samples[trick.name])
        mine, theirs = distances(figures), distances(full)
        without.append({
            "name": trick.name, "about": trick.about, "failed": figures["failed"],
            "build": ratio(figures, full, "build"), "qps95": ratio(figures, full, "0.95"),
            "distances": mine / theirs if mine and theirs else None, "figures": figures})
    return {"full": full, "without": without}


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def markdown(told: dict, about: str) -> str:
    full = told["full"]
    rate, reading = full["build"], full["at"]["0.95"]
    lines = ["# What each trick is worth", "", about, "",
             f"Full build: {rate['median']:,.0f} rows/s ({rate['min']:,.0f}–{rate['max']:,.0f})"
             if rate else "Full build: not measured",
             f"and {reading['median']:,.0f} queries/s at recall@10 0.95"
             f" ({reading['min']:,.0f}–{reading['max']:,.0f})." if reading else
             "and no ef reached a recall of 0.95.", "",
             "Ratios to it, of a build without:", "",
             "| without | build rate | queries/s at 0.95 | distances at 0.95 | what it is |",
             "|---|---|---|---|---|"]
    for entry in told["without"]:
        lines.append(f"| {entry['name']} | {_shown(entry['build'])} | {_shown(entry['qps95'])} | "
                     f"{_shown(entry['distances'])} | {entry['failed'] or entry['about']} |")
    return "\n".join(lines) + "\n"

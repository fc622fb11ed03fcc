"""From stacks to phases: the table of phases.txt, and the file that each function is defined in.

Release binaries have no debug information, but the static libraries that they are linked from
still say which object file defines each function, static ones too.
"""
from __future__ import annotations

import collections
import dataclasses
import pathlib
import re
import subprocess

TABLE = pathlib.Path(__file__).with_name("phases.txt")
OTHER = "other"
# What gcc appends to the names of parts and clones of a function.
CLONE = re.compile(r"\.(part|isra|constprop|cold|lto_priv)(\.\d+)*$")


@dataclasses.dataclass(frozen=True)
class Frame:
    symbol: str
    dso: str


def read_files(build: pathlib.Path) -> dict[str, str]:
    """{function: source file}; a static function whose name several files have is left out."""
    found: dict[str, set[str]] = collections.defaultdict(set)
    for archive in sorted(build.glob("*/libomen_*.a")):
        told = subprocess.run(["nm", "-A", "--defined-only", str(archive)], capture_output=True,
                              text=True, check=True).stdout
        folder = archive.parent.relative_to(build)
        for line in told.splitlines():
            place, _, rest = line.rpartition(":")
            words = rest.split()
            if len(words) == 3 and words[1] in "tT":
                source = place.rpartition(":")[2].removesuffix(".o")
                found[CLONE.sub("", words[2])].add(f"{folder}/{source}")
    return {name: files.pop() for name, files in found.items() if len(files) == 1}


class Table:
    """The rules of one mode, "build" or "search"."""

    def __init__(self, mode: str, text: str, files: dict[str, str]) -> None:
        self.files = files
        self.by_file: dict[str, str] = {}
        self.by_symbol: list[tuple[re.Pattern[str], str]] = []
        self.by_dso: list[tuple[re.Pattern[str], str]] = []
        self.order: list[str] = []
        for line in text.splitlines():
            words = line.split()
            if not words or words[0].startswith("#") or words[0] not in (mode, "both"):
                continue
            if words[1] not in self.order:
                self.order.append(words[1])
            for token in words[2:]:
                self._add(token, words[1])

    def _add(self, token: str, phase: str) -> None:
        if token.startswith("sym:"):
            self.by_symbol.append((re.compile(token[4:]), phase))
        elif token.startswith("dso:"):
            self.by_dso.append((re.compile(token[4:]), phase))
        else:
            self.by_file[token] = phase

    def phase_of(self, stack: list[Frame]) -> str:
        """`stack` begins with the innermost frame."""
        for frame in stack:
            name = CLONE.sub("", frame.symbol)
            for pattern, phase in self.by_symbol:
                if pattern.search(name):
                    return phase
            phase = self.by_file.get(self.files.get(name, ""))
            if phase:
                return phase
        for frame in stack:
            for pattern, phase in self.by_dso:
                if pattern.search(frame.dso):
                    return phase
        return OTHER


# "  ffffffff8100 symbol+0x10 (/usr/lib/some.so)", as perf script prints a frame.
FRAME = re.compile(r"^\s+[0-9a-f]+ (.*) \((.*)\)$")


def read_stacks(script: str) -> list[list[Frame]]:
    """The stacks of `perf script -F comm,ip,sym,dso`, innermost frame first."""
    stacks: list[list[Frame]] = []
    current: list[Frame] = []
    for line in [*script.splitlines(), ""]:
        frame = FRAME.match(line)
        if frame:
            current.append(Frame(frame.group(1).split("+0x")[0], frame.group(2)))
        elif not line.strip() and current:
            stacks.append(current)
            current = []
    return stacks


@dataclasses.dataclass
class Profile:
    samples: int
    phases: dict[str, int]  # samples, the largest first
    functions: dict[str, collections.Counter]  # phase: where its samples were, innermost frame


def divide(stacks: list[list[Frame]], table: Table) -> Profile:
    phases: collections.Counter = collections.Counter()
    functions: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    for stack in stacks:
        phase = table.phase_of(stack)
        phases[phase] += 1
        functions[phase][CLONE.sub("", stack[0].symbol)] += 1
    return Profile(len(stacks), dict(phases.most_common()), functions)


def sentence(mode: str, profile: Profile) -> str:
    """Names the bottleneck."""
    if not profile.samples:
        return f"{mode}: no samples were taken"
    phase, count = next(iter(profile.phases.items()))
    function, inside = profile.functions[phase].most_common(1)[0]
    return (f"The bottleneck of the {mode} is {phase}: {count / profile.samples:.0%} of the CPU"
            f" time, {inside / profile.samples:.0%} of it all in {function}.")

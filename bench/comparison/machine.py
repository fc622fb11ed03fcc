"""What machine this is, which of its CPUs a contestant gets, and who else used them."""
from __future__ import annotations

import contextlib
import os
import pathlib
import platform
import re
import subprocess
from collections.abc import Iterator

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_model() -> str:
    text = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    found = re.search(r"^model name\s*:\s*(.*)$", text, re.M)
    return found.group(1).strip() if found else platform.machine()


def cpu_features() -> list[str]:
    text = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    found = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", text, re.M)
    has = set(found.group(1).split()) if found else set()
    return [name for name in ("avx2", "avx512f", "avx512_vnni", "avx512_vpopcntdq", "amx_int8",
                              "asimddp", "i8mm") if name in has]


def memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def describe() -> dict:
    return {"cpu": cpu_model(), "features": cpu_features(),
            "cpus": len(os.sched_getaffinity(0)), "memory_gib": round(memory_bytes() / 2**30),
            "kernel": platform.release(), "system": platform.freedesktop_os_release().get(
                "PRETTY_NAME", "") if hasattr(platform, "freedesktop_os_release") else ""}


def slug(about: dict) -> str:
    """A file name for a kind of machine: CPU, its best feature for us, and how many."""
    name = re.sub(r"\((r|tm)\)|cpu|processor|@.*", "", about["cpu"].lower())
    words = re.findall(r"[a-z0-9.]+", name)
    best = [f for f in ("amx_int8", "avx512_vnni", "avx512f", "avx2", "asimddp")
            if f in about["features"]][:1]
    return "-".join([*words, *best, f"{about['cpus']}cpu"]).replace("_", "")


def commit(repository: pathlib.Path) -> tuple[str, bool]:
    """The commit that is checked out, and whether the tree differs from it."""
    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(repository), *words], capture_output=True,
                              text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    # The history itself grows by measuring; that is no change of what was measured.
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".",
                  ":!bench/history")
    return git("rev-parse", "--short=12", "HEAD") or "unknown", bool(changed)


def choose_cpus(threads: int) -> tuple[set[int], set[int]]:
    """(of the contestants, of whoever drives them): the last ones, and the others if there are."""
    cpus = sorted(os.sched_getaffinity(0))
    if threads > len(cpus):
        raise SystemExit(f"--threads {threads}: there are {len(cpus)} CPUs")
    measured = set(cpus[-threads:])
    return measured, (set(cpus) - measured) or measured


@contextlib.contextmanager
def pinned(cpus: set[int]) -> Iterator[None]:
    """Processes that are started inside run on these CPUs alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def busy_seconds(cpus: set[int]) -> float:
    """Seconds that the CPUs were not idle since the start of the machine, stolen time included."""
    total = 0
    for line in pathlib.Path("/proc/stat").read_text(encoding="ascii").splitlines():
        words = line.split()
        if words[0].startswith("cpu") and words[0][3:].isdigit() and int(words[0][3:]) in cpus:
            user, nice, system, _, _, irq, softirq, steal = map(int, words[1:9])
            total += user + nice + system + irq + softirq + steal
    return total / TICKS


def used_seconds(pid: int) -> float:
    """CPU seconds of a process so far, 0 if it is gone."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0.0
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class Disturbance:
    """How much of the contestants' CPUs went to somebody else while something was measured."""

    def __init__(self, cpus: set[int]) -> None:
        self.cpus = cpus
        self.foreign = 0.0
        self.wall = 0.0

    def watch(self, pid: int, children: bool = False) -> "Watch":
        """`pid` is the contestant; with `children`, so is what this process starts and awaits."""
        return Watch(self, pid, children)

    def share(self) -> float:
        available = self.wall * len(self.cpus)
        return min(self.foreign / available, 1.0) if available else 0.0


class Watch:
    def __init__(self, owner: Disturbance, pid: int, children: bool) -> None:
        self.owner, self.pid, self.children = owner, pid, children

    def _read(self) -> tuple[float, float, float]:
        now = os.times()
        used = used_seconds(self.pid)
        if self.children:
            used += now.children_user + now.children_system
        return busy_seconds(self.owner.cpus), used, now.elapsed

    def __enter__(self) -> "Watch":
        self.before = self._read()
        return self

    def __exit__(self, *_: object) -> None:
        busy, used, wall = (now - then for now, then in zip(self._read(), self.before,
                                                            strict=True))
        self.owner.wall += wall
        self.owner.foreign += max(busy - used, 0.0)

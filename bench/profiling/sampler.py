"""perf around a running process, switched on and off by its own control pipes.

cpu-clock is a timer, not a hardware counter, so it works in virtual machines that hide theirs.
"""
from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
from collections.abc import Callable

FREQUENCY = 1999  # samples/s; no round number, so that it keeps no step with anything
MISSING = ("perf is not usable here ({why}): install Debian's linux-perf and run as root, or set"
           " /proc/sys/kernel/perf_event_paranoid to 1. Without it only the CPU time of each thread"
           " can be told.")


def why_not() -> str | None:
    """None: perf can sample."""
    perf = shutil.which("perf")
    if perf is None:
        return "there is no perf"
    done = subprocess.run([perf, "record", "-q", "-e", "cpu-clock", "-o", "/dev/null", "true"],
                          capture_output=True, text=True, check=False)
    lines = done.stderr.strip().splitlines()
    return None if done.returncode == 0 else (lines[-1] if lines else "perf record failed")


class Sampler:
    """Samples all threads of a process while `with sampler:` is open."""

    def __init__(self, pid: int, folder: pathlib.Path) -> None:
        self.pid, self.folder = pid, folder
        self.data = folder / "perf.data"

    def __enter__(self) -> "Sampler":
        pipes = [self.folder / name for name in ("control", "answer")]
        for pipe in pipes:
            pipe.unlink(missing_ok=True)
            os.mkfifo(pipe)
        self.process = subprocess.Popen(
            ["perf", "record", "-q", "-e", "cpu-clock", "-F", str(FREQUENCY), "-g", "-D", "-1",
             f"--control=fifo:{pipes[0]},{pipes[1]}", "-o", str(self.data), "-p", str(self.pid)],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        # Both ways, so that no open waits for perf's own.
        self.control, self.answer = (os.open(pipe, os.O_RDWR) for pipe in pipes)
        self._tell("enable")
        return self

    def _tell(self, word: str) -> None:
        os.write(self.control, word.encode() + b"\n")
        while b"\n" not in os.read(self.answer, 64):
            continue

    def __exit__(self, *_: object) -> None:
        self._tell("disable")
        os.write(self.control, b"stop\n")
        self.process.communicate(timeout=60)
        os.close(self.control)
        os.close(self.answer)

    def script(self) -> str:
        """The samples as text."""
        done = subprocess.run(["perf", "script", "-i", str(self.data), "-F", "comm,ip,sym,dso"],
                              capture_output=True, text=True, check=True, errors="replace")
        return done.stdout


def thread_seconds(pid: int) -> dict[str, float]:
    """CPU seconds of each thread of a process, by "name/number"."""
    told = {}
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        text = (task / "stat").read_text(encoding="utf-8", errors="replace")
        fields = text.rpartition(")")[2].split()
        used = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        told[f"{(task / 'comm').read_text().strip()}/{task.name}"] = used
    return told


def around(pid: int, folder: pathlib.Path, action: Callable[[], dict]) -> tuple[dict, str]:
    """What the action told, and the samples taken meanwhile."""
    with Sampler(pid, folder) as sampler:
        told = action()
    return told, sampler.script()

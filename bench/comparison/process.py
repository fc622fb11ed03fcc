"""A contestant in a process of its own, driven line by line, with a time limit on every line.

Whatever happens to it, a crash, silence, a refusal, becomes a Failed with a sentence; the others
go on.
"""
from __future__ import annotations

import json
import os
import pathlib
import selectors
import shutil
import subprocess
import time

from comparison.machine import Disturbance, pinned

STDERR_SHOWN = 300


class Failed(Exception):
    """What became of a contestant, in a sentence."""


class Process:
    def __init__(self, command: list[str], folder: pathlib.Path, cpus: set[int],
                 environment: dict[str, str], cwd: pathlib.Path | None = None) -> None:
        self.command, self.folder, self.cpus = command, folder, cpus
        self.environment, self.cwd = environment, cwd
        self.process: subprocess.Popen[bytes] | None = None
        self.rest = b""

    @property
    def pid(self) -> int:
        return self.process.pid if self.process else 0

    def start(self, limit: float) -> dict:
        """Starts it in an empty folder, and waits until it says that it is ready."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.rest = b""
        with open(self.folder / "stderr.log", "wb") as errors:
            with pinned(self.cpus):
                self.process = subprocess.Popen(
                    self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                    cwd=self.cwd, env=self.environment)
        return self._read(limit, "start")

    def ask(self, line: str, limit: float, disturbance: Disturbance | None = None) -> dict:
        if self.process is None:
            raise Failed("it is not running")
        try:
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            raise self._died(line) from None
        if disturbance is None:
            return self._read(limit, line)
        with disturbance.watch(self.pid):
            return self._read(limit, line)

    def stop(self) -> None:
        """Asks it to quit, and ends it if it does not."""
        if self.process is None:
            return
        try:
            self.process.stdin.write(b"quit\n")
            self.process.stdin.close()
            self.process.wait(30)
        except (OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.process = None

    def _read(self, limit: float, line: str) -> dict:
        until = time.monotonic() + limit
        with selectors.DefaultSelector() as ready:
            ready.register(self.process.stdout, selectors.EVENT_READ)
            while b"\n" not in self.rest:
                if not ready.select(max(until - time.monotonic(), 0)):
                    self._kill()
                    raise Failed(f"'{line.split()[0]}' took more than {limit:g} s")
                piece = os.read(self.process.stdout.fileno(), 65536)
                if not piece:
                    raise self._died(line)
                self.rest += piece
        answer, _, self.rest = self.rest.partition(b"\n")
        told = json.loads(answer)
        if "error" in told:
            raise Failed(f"'{line.split()[0]}': {told['error']}")
        return told

    def _kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process = None

    def _died(self, line: str) -> Failed:
        status = self.process.wait()
        self.process.stdout.close()
        self.process = None
        text = (self.folder / "stderr.log").read_text(encoding="utf-8", errors="replace").strip()
        last = text.splitlines()[-1][:STDERR_SHOWN] if text else "it said nothing"
        return Failed(f"'{line.split()[0]}': ended with status {status}: {last}")

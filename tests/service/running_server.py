"""The real omendb-server, as a process of its own."""
from __future__ import annotations

import os
import pathlib
import re
import signal
import subprocess
import threading

TIMEOUT_S = 60


def binary() -> str:
    path = os.environ.get("OMENDB_SERVER_BINARY")
    if not path:
        raise RuntimeError("OMENDB_SERVER_BINARY names no omendb-server: build it, then export it")
    return path


def environment(extra: dict | None = None) -> dict:
    """Without settings that the caller's shell happens to have."""
    kept = {key: value for key, value in os.environ.items()
            if not key.startswith("OMENDB_") and not key.startswith("GRPC_")}
    return {**kept, **(extra or {})}


def run(*flags: str, env: dict | None = None) -> subprocess.CompletedProcess:
    """Runs it to its end: for --help, and for starts that must fail."""
    return subprocess.run([binary(), *flags], env=environment(env), capture_output=True, text=True,
                          timeout=TIMEOUT_S)


class RunningServer:
    """Starts with the free port that the server names in its log."""

    def __init__(self, data_dir: pathlib.Path, flags=(), env: dict | None = None,
                 wait_for: str = "serving") -> None:
        self.data_dir = pathlib.Path(data_dir)
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        # Without calibrations, whose records come when the clock says so; flags overwrite it.
        command = [binary(), "--data-dir", str(self.data_dir), "--grpc-port", "0",
                   "--http-port", "0", "--calibrate-seconds", "0", *flags]
        self.process = subprocess.Popen(command, env=environment(env), stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        line = self.wait_line(rf" INFO {wait_for} .*port=\d+")
        self.port = int(re.search(r"port=(\d+)", line).group(1))
        self.target = f"127.0.0.1:{self.port}"
        self.http_port = int(re.search(r"http_port=(\d+)", line).group(1))

    def _read_log(self) -> None:
        for line in self.process.stderr:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_line(self, pattern: str) -> str:
        """The first line of the log that matches; an error if the server ends without it."""
        def found():
            return next((line for line in self.lines if re.search(pattern, line)), None)

        with self._changed:
            self._changed.wait_for(lambda: found() or self._ended, timeout=TIMEOUT_S)
            line = found()
        if line is None:
            raise AssertionError(f"no line like {pattern!r} in:\n" + "\n".join(self.lines))
        return line

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """The exit status. A sanitizer's report makes it non-zero."""
        status = self.process.wait(timeout=TIMEOUT_S)
        self._reader.join(timeout=TIMEOUT_S)
        return status

    def stop(self) -> int:
        if self.process.poll() is None:
            self.terminate()
        return self.wait()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """Whatever the test did, the server must have ended well, or by the test's own hand."""
        if self.process.poll() is None:
            status = self.stop()
            assert status == 0, f"the server ended with {status}:\n" + "\n".join(self.lines)
        assert not any("Sanitizer" in line or "runtime error" in line for line in self.lines), \
            "\n".join(self.lines)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace) -> None:
        self.close()

"""An omendb-server of a script's own: started on a free port, watched, killed, stopped.

The log of the server goes to a file; when a start fails, its end is shown and the script ends
with an error.
"""
from __future__ import annotations

import pathlib
import signal
import socket
import subprocess
import time

from omendb_client import Client, DeadlineExceeded

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
START_SECONDS = 120


def find_binary(given: str | None) -> pathlib.Path:
    """The given binary, or the one that the release build made."""
    candidates = [pathlib.Path(given)] if given else sorted(
        (REPOSITORY / "build" / "release").rglob("omendb-server"))
    for path in candidates:
        if path.is_file():
            return path.resolve()
    raise SystemExit(f"no omendb-server at {given or 'build/release'}: run ci/quickstart once,"
                     " or name one with --server")


def free_port(preferred: int = 0) -> int:
    for port in (preferred, 0):
        with socket.socket() as probe:
            # As the server does it: a port whose last connections are dying is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                return probe.getsockname()[1]
            except OSError:
                continue
    raise SystemExit("no free TCP port")


class ServerProcess:
    """A context manager; leaving it stops the server unless keep() was called."""

    def __init__(self, binary: pathlib.Path, directory: pathlib.Path, *flags: str,
                 port: int = 0) -> None:
        self.port = free_port(port)
        self.target = f"127.0.0.1:{self.port}"
        self.data_dir = directory / "data"
        self.log_path = directory / "server.log"
        self._command = [str(binary), "--data-dir", str(self.data_dir), "--grpc-host", "127.0.0.1",
                         "--grpc-port", str(self.port), "--http-port", "off", *flags]
        self._kept = False
        self._process: subprocess.Popen[bytes]
        self.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self) -> float:
        """Starts the server and waits until it serves; returns how many seconds that took."""
        begin = time.perf_counter()
        with open(self.log_path, "ab") as log:
            # A session of its own: Ctrl-C in the terminal ends the script, which stops the server.
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log,
                                             stdin=subprocess.DEVNULL, start_new_session=True)
        with Client(self.target) as client:
            while True:
                if self._process.poll() is not None:
                    raise SystemExit(f"the server ended at once:\n{self.log_tail()}")
                try:
                    client.wait_ready(1.0)
                    return time.perf_counter() - begin
                except DeadlineExceeded:
                    if time.perf_counter() - begin > START_SECONDS:
                        self.kill()
                        raise SystemExit(f"not serving after {START_SECONDS} s:\n"
                                         f"{self.log_tail()}") from None

    def log_tail(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace")[-4000:]

    def resident_bytes(self) -> int:
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024

    def kill(self) -> None:
        """SIGKILL: nothing is flushed."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """SIGTERM; returns the exit status. SIGKILL after a minute, which is an error."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.kill()
            return -signal.SIGKILL

    def keep(self) -> None:
        self._kept = True

    def __enter__(self) -> "ServerProcess":
        return self

    def __exit__(self, *_: object) -> None:
        if not self._kept:
            self.stop()

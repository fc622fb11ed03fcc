"""Servers for the tests of the clients: the real binary, and a scripted one for bad moments."""
from __future__ import annotations

import os
import pathlib
import re
import signal
import socket
import subprocess
import time

import numpy as np
import pytest
from dying_server import DyingServer
from omendb_client import Client, FailedPrecondition, Validation
from scripted_server import Script, ScriptedServer

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
DATASET = REPOSITORY / "bench" / "datasets" / "wordnet"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """The real omendb-server on its own data directory; keeps its port over restarts, so that a
    client may resume."""

    def __init__(self, directory: pathlib.Path, *flags: str,
                 data_dir: pathlib.Path | None = None, wrap: list[str] | None = None) -> None:
        binary = os.environ.get("OMENDB_SERVER_BINARY")
        if not binary:
            pytest.fail("OMENDB_SERVER_BINARY names no omendb-server: build it, then export it")
        # Records that the clock writes would disturb who compares two servers; flags overwrite it.
        self._command = [*(wrap or []), binary, "--data-dir", str(data_dir or directory / "data"),
                         "--calibrate-seconds", "0", *flags]
        directory.mkdir(exist_ok=True)
        self._log_path = directory / "server.log"
        self.port = free_port()
        self.target = f"127.0.0.1:{self.port}"
        self.process: subprocess.Popen | None = None
        self.start()

    def start(self) -> None:
        command = self._command + ["--grpc-port", str(self.port), "--grpc-host", "127.0.0.1",
                                   "--http-port", "off"]
        with open(self._log_path, "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            with Client(self.target) as client:
                client.wait_ready(60)
        except Exception:
            self.kill()
            print(self._log_path.read_text(errors="replace"))
            raise

    def kill(self) -> None:
        """SIGKILL: nothing is flushed, nobody says goodbye."""
        self.process.kill()
        self.process.wait()

    def resident_bytes(self) -> int:
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024

    def stop(self) -> int:
        """SIGTERM; returns the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


def validate(client: Client, name: str, seconds: float = 30.0) -> Validation:
    """Every invariant of the collection holds; waits until it is at rest."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return client.validate_collection(name)
        except FailedPrecondition as error:
            if error.reason != "NOT_AT_REST" or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


@pytest.fixture(autouse=True)
def no_server_survives_its_test():
    yield
    while DyingServer.alive:
        process = DyingServer.alive.pop().process
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory):
    """One server for tests that use collections of their own."""
    server = Server(tmp_path_factory.mktemp("shared"))
    yield server
    server.stop()


@pytest.fixture
def start_server(tmp_path):
    """start_server(flag, ...) starts a server of one test."""
    running: list[Server] = []

    def start(*flags: str) -> Server:
        running.append(Server(tmp_path / f"server{len(running)}", *flags))
        return running[-1]

    yield start
    for server in running:
        server.stop()


@pytest.fixture
def server(start_server):
    """A server of one test, which may kill it."""
    return start_server()


@pytest.fixture
def client(shared_server):
    with Client(shared_server.target) as client:
        yield client


@pytest.fixture
def collection(request) -> str:
    """A collection name that no other test uses."""
    return request.node.name.replace("[", "-").replace("]", "").replace(".", "-")[-64:]


@pytest.fixture
def scripted():
    """scripted(field=value, ...) starts a server that follows this Script."""
    running: list[ScriptedServer] = []

    def start(**fields) -> ScriptedServer:
        running.append(ScriptedServer(Script(**fields)))
        return running[-1]

    yield start
    for server in running:
        server.stop()


@pytest.fixture(scope="session")
def words() -> np.ndarray:
    """The shipped data set, float32 [25000, 384], unit length."""
    return np.load(DATASET / "vectors.f16.npy").astype(np.float32)

"""The server under test, and stubs of its API generated from proto/ for this run."""
from __future__ import annotations

import itertools
import pathlib
import shutil
import sys
import tempfile

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
_names = itertools.count(1)


def generate_stubs() -> pathlib.Path:
    """omendb/v1 as Python modules. What is standard (health, reflection, google.rpc) comes from its
    own packages instead, which proves that the server speaks the standard."""
    import grpc_tools
    from grpc_tools import protoc

    proto = REPOSITORY / "proto"
    out = pathlib.Path(tempfile.mkdtemp(prefix="omendb-stubs-"))
    include = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    files = [f"omendb/v1/{name}.proto" for name in ("vector", "collection", "snapshot")]
    status = protoc.main(["protoc", f"-I{proto}", f"-I{include}", f"--python_out={out}",
                          f"--grpc_python_out={out}", *files])
    if status != 0:
        raise RuntimeError(f"protoc ended with {status}")
    return out


STUBS = generate_stubs()
sys.path.insert(0, str(STUBS))

from calls import Api  # noqa: E402
from http_calls import Http  # noqa: E402
from running_server import RunningServer  # noqa: E402


def pytest_unconfigure() -> None:
    shutil.rmtree(STUBS, ignore_errors=True)


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory):
    """One server for all tests that leave it as it is, with collections of their own."""
    with RunningServer(tmp_path_factory.mktemp("shared")) as server:
        yield server


@pytest.fixture
def api(shared_server):
    with Api(shared_server.target) as api:
        yield api


@pytest.fixture
def start_server(tmp_path):
    """Starts servers of one test: start_server("--flag", ...)."""
    running = []

    def start(*flags, directory="data", **options):
        server = RunningServer(tmp_path / directory, flags, **options)
        running.append(server)
        return server

    yield start
    for server in running:
        server.close()


@pytest.fixture
def server(start_server):
    return start_server()


@pytest.fixture
def http(shared_server):
    with Http(shared_server.http_port) as http:
        yield http


@pytest.fixture
def name():
    """Of a collection that no other test has."""
    return f"http-{next(_names)}"

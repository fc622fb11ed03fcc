"""A file system that is really full, under the real server: a small tmpfs in a mount namespace of
its own, with a file of ballast beside the data.

Nobody needs rights for that where user namespaces are allowed; elsewhere these tests are skipped.
"""
import contextlib
import pathlib
import shutil
import subprocess

import grpc
import numpy as np
import pytest
from conftest import Server, validate
from grpc_health.v1 import health_pb2, health_pb2_grpc
from omendb_client import Client, ResourceExhausted

MIB = 1 << 20
DISK_MIB = 64
RESERVE_MIB = 6
BALLAST_MIB = 16
DIM = 256
PIECE = 200  # rows of a chunk
SESSION = bytes(range(16))
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Disk:
    """The namespace lives as long as the process that made it."""

    def __init__(self, directory: pathlib.Path) -> None:
        self._mount = directory / "disk"
        self._mount.mkdir()
        script = f"mount -t tmpfs -o size={DISK_MIB}m none '{self._mount}' && echo there && cat"
        self._holder = subprocess.Popen(["unshare", "-Urm", "sh", "-c", script],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        if self._holder.stdout.readline() != "there\n":
            reason = self._holder.communicate()[1].strip()
            pytest.skip(f"no tmpfs in a namespace of our own: {reason}")
        # The shell that waits is the child of unshare, or has taken its place.
        self._pid = self._holder.pid
        self.root = pathlib.Path(f"/proc/{self._pid}/root{self._mount}")

    @property
    def inside(self) -> pathlib.Path:
        """As the server sees it."""
        return self._mount

    def wrap(self) -> list[str]:
        return ["nsenter", "--target", str(self._pid), "--user", "--mount",
                "--preserve-credentials"]

    def add_ballast(self, size: int | None) -> int:
        """So many bytes, or (None) all that is left; returns how many it were."""
        piece = bytes(MIB)
        written = 0
        with open(self.root / "ballast", "ab", buffering=0) as file, \
                contextlib.suppress(OSError):
            while size is None or written < size:
                step = file.write(piece if size is None else piece[:size - written])
                written += step
                if step < len(piece) and size is None:
                    piece = piece[:max(1, len(piece) // 2)]
        return written

    def drop_ballast(self) -> None:
        (self.root / "ballast").unlink()

    def free(self) -> int:
        return shutil.disk_usage(self.root).free

    def close(self) -> None:
        self._holder.communicate("")


@pytest.fixture
def disk(tmp_path):
    disk = Disk(tmp_path)
    yield disk
    disk.close()


@pytest.fixture
def start(disk, tmp_path):
    running = []

    def begin(*flags):
        running.append(Server(tmp_path / "server", *flags, data_dir=disk.inside / "data",
                              wrap=disk.wrap()))
        return running[-1]

    yield begin
    for server in running:
        server.stop()


def rows_of(first: int, count: int, dim: int = DIM) -> np.ndarray:
    return np.random.default_rng(first + 1).standard_normal((count, dim), dtype=np.float32)


def fill(client: Client, first: int, rows: int) -> tuple[int, ResourceExhausted | None]:
    """Streams rows in chunks until all are there or one is refused. How many are durable."""
    stream = client.insert_stream("words", session_id=SESSION)
    assert stream.next_seq == first // PIECE + 1, "the session knows what is there, no more"
    refusal = None
    try:
        for at in range(first, rows, PIECE):
            stream.add(np.arange(at, at + PIECE), rows_of(at, PIECE))
            stream.flush("durable", timeout=60)
        stream.flush("searchable", timeout=60)
    except ResourceExhausted as error:
        refusal = error
    durable = stream.durable_seq * PIECE
    stream.abandon()
    return durable, refusal


def expect_exactly(client: Client, count: int) -> None:
    validate(client, "words")  # when everything that is durable is searchable
    assert client.get_collection("words").points == count
    for at in range(0, count, PIECE):
        got = client.get("words", np.arange(at, at + PIECE))
        assert got.found.all() and (got.vectors == rows_of(at, PIECE)).all()
    found = client.search("words", rows_of(0, PIECE), k=1, exact=True)
    assert (found.ids[:, 0] == np.arange(PIECE)).all()


def health_of(channel: grpc.Channel, name: str) -> int:
    request = health_pb2.HealthCheckRequest(service=name)
    return health_pb2_grpc.HealthStub(channel).Check(request, timeout=30).status


def test_a_full_disk_refuses_writes_and_loses_nothing_and_they_go_on_with_room(disk, start):
    flags = ["--disk-reserve-mib", str(RESERVE_MIB), "--checkpoint-seconds", "off"]
    disk.add_ballast(BALLAST_MIB * MIB)
    server = start(*flags)
    with Client(server.target) as client, grpc.insecure_channel(server.target) as channel:
        write = "omendb.v1.VectorService/write"
        watch = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(service=write), timeout=60)
        assert next(watch).status == SERVING
        client.create_collection("words", dim=DIM, metric="l2")
        durable, refusal = fill(client, 0, 60_000)
        assert durable > 5_000
        assert refusal.reason == "DISK_FULL" and refusal.retry_after_s > 0
        assert refusal.figures["limit"] == RESERVE_MIB * MIB
        assert refusal.figures["used"] - refusal.figures["needed"] < RESERVE_MIB * MIB
        assert str(refusal.figures["used"]) in refusal.message
        assert disk.free() > (RESERVE_MIB - 1) * MIB, "it stopped before the last byte"

        assert next(watch).status == NOT_SERVING
        for name in ("", "omendb.v1.VectorService/read"):
            assert health_of(channel, name) == SERVING
        assert client.get_collection("words").refusal_reason == "DISK_FULL"
        for refused in (lambda: client.upsert("words", [1], rows_of(1, 1)),
                        lambda: client.delete("words", [1]),
                        lambda: client.create_collection("more", dim=2),
                        lambda: client.insert_stream("words")):
            with pytest.raises(ResourceExhausted) as raised:
                refused()
            assert raised.value.reason == "DISK_FULL"
        expect_exactly(client, durable)
        assert fill_is_refused_at_once(client)

        disk.drop_ballast()
        assert next(watch).status == SERVING
        more = durable + 4_000
        durable, refusal = fill(client, durable, more)
        assert refusal is None and durable == more
        assert client.get_collection("words").refusal_reason == ""
    server.kill()
    server.start()
    with Client(server.target) as client:
        expect_exactly(client, more)


def fill_is_refused_at_once(client: Client) -> bool:
    try:
        client.insert_stream("words", session_id=SESSION)
    except ResourceExhausted:
        return True
    return False


def test_not_a_byte_is_left_and_every_row_can_be_read(disk, start):
    """On tmpfs a hole that is read needs a page: here there is none, and many holes. A row of the
    collection is a page, so each deleted one leaves a hole."""
    dim = 1024
    server = start("--disk-reserve-mib", "0", "--checkpoint-seconds", "off")
    with Client(server.target) as client:
        client.create_collection("holes", dim=dim, metric="l2", checkpoint_bytes=4096)
        client.insert("holes", np.arange(3000), rows_of(0, 3000, dim))
        for at in range(0, 1500, 100):  # each chunk may bring a checkpoint, which erases
            client.delete("holes", np.arange(at, at + 100))
            client.upsert("holes", np.arange(9000, 9004), rows_of(at + 7, 4, dim))
        disk.add_ballast(None)
        assert disk.free() == 0
        last = rows_of(1407, 4, dim)
        with pytest.raises(ResourceExhausted) as raised:
            for at in range(20):  # what was allocated ahead may take some
                client.upsert("holes", np.arange(20_000 + 50 * at, 20_050 + 50 * at),
                              rows_of(at, 50, dim))
        assert raised.value.reason == "DISK_FULL"
        kept = rows_of(0, 3000, dim)[1500:]
        for at in range(0, 1500, 500):
            found = client.search("holes", kept[at:at + 500], k=1, exact=True)
            assert (found.ids[:, 0] == np.arange(1500 + at, 2000 + at)).all()
        assert (client.search("holes", last, k=1, exact=True).distances == 0).all()
        got = client.get("holes", np.arange(1500, 2500))
        assert (got.vectors == kept[:1000]).all()
        validate(client, "holes")
        points = client.get_collection("holes").points
    disk.drop_ballast()
    server.kill()
    server.start()
    with Client(server.target) as client:
        assert client.get_collection("holes").points == points
        found = client.search("holes", kept[:500], k=1, exact=True)
        assert (found.ids[:, 0] == np.arange(1500, 2000)).all()
        client.upsert("holes", [1], rows_of(5, 1, dim))

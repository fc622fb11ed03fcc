"""Snapshots: made, listed, verified, sent, resumed, restored, here and on another server."""
import os
import threading
import zlib

import grpc
import numpy as np
import pytest
from conftest import REPOSITORY, validate
from omendb_client import (
    AlreadyExists,
    Client,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unavailable,
    Unimplemented,
)
from omendb_client._proto import snapshot_pb2 as messages
from omendb_client.errors import from_rpc
from proxy import Proxy

DIM = 24
ROWS = 4000
LIMIT_S = 60.0


@pytest.fixture
def restored(request):
    return f"r-{request.node.name[-60:]}".replace("[", "-").replace("]", "")


@pytest.fixture
def snapshot(request, client):
    """The name of a snapshot of this test, gone afterwards."""
    name = f"s-{request.node.name[-60:]}".replace("[", "-").replace("]", "")
    yield name
    if any(told.name == name for told in client.list_snapshots()):
        client.delete_snapshot(name)


def rows(count, seed=1, dim=DIM):
    return np.random.default_rng([17, seed]).standard_normal((count, dim), dtype=np.float32)


def fill(client, name, metric="cosine", dim=DIM, count=ROWS, originals="f32"):
    """Points under numbers and keys, updated, deleted, some to expire; sessions and duplicates."""
    vectors = rows(count, dim=dim)
    vectors[10:20] = vectors[9]
    client.create_collection(name, dim=dim, metric=metric, epoch_points=700, originals=originals)
    client.insert(name, np.arange(count), vectors)
    client.upsert(name, [f"key-{i}" for i in range(50)], rows(50, 2, dim), ttl=4000)
    client.upsert(name, np.arange(100, 200), rows(100, 3, dim))
    client.delete(name, np.arange(300, 600))
    return vectors


def answers(client, name, dim=DIM):
    """Everything that tells whether two collections are one."""
    queries = rows(64, 4, dim)
    told = client.get_collection(name, with_graph_hash=True)
    walk = client.search(name, queries, k=10, ef=50)
    exact = client.search(name, queries, k=10, exact=True)
    got = client.get(name, [*range(700), *(f"key-{i}" for i in range(50))])
    return {
        "hash": told.graph_hash, "points": told.points, "slots": told.slots, "dim": told.dim,
        "metric": told.metric, "epoch": told.epoch, "originals": told.originals,
        "target_recall": told.target_recall, "calibration": told.calibration,
        "walk": (walk.ids.tobytes(), walk.distances.tobytes(), walk.visited.tobytes(),
                 None if walk.keys is None else walk.keys.tolist()),
        "exact": (exact.ids.tobytes(), exact.distances.tobytes()),
        "got": (got.found.tobytes(), got.vectors.tobytes(), got.expires_unix_s.tobytes())}


# ---- made and restored --------------------------------------------------------------------------


@pytest.mark.parametrize("metric, originals", [("l2", "f32"), ("cosine", "f32"), ("ip", "f32"),
                                               ("cosine", "f16")])
def test_a_restored_collection_answers_bit_for_bit_and_takes_writes(client, collection, snapshot,
                                                                    restored, metric, originals):
    fill(client, collection, metric, originals=originals)
    client.update_collection(collection, target_recall=0.95, calibrate=True)
    made = client.create_snapshot(collection, snapshot)
    before = answers(client, collection)
    told = client.restore_snapshot(restored, snapshot=snapshot)
    assert (made.name, made.collection, made.points) == (snapshot, collection, before["points"])
    assert told.name == restored and told.incarnation != made.incarnation
    assert answers(client, restored) == before
    validate(client, restored)
    for name in (collection, restored):  # and both go on alike
        client.upsert(name, np.arange(5000, 5300), rows(300, 5))
        client.delete(name, np.arange(0, 50))
        validate(client, name)
    assert answers(client, restored) == answers(client, collection)


def test_a_snapshot_has_all_that_was_durable_and_nothing_that_came_later(client, collection,
                                                                         snapshot, restored):
    client.create_collection(collection, dim=DIM, metric="l2")
    client.insert(collection, np.arange(100), rows(100), wait="durable")
    client.create_snapshot(collection, snapshot)
    client.insert(collection, np.arange(100, 200), rows(100, 2))
    client.delete(collection, np.arange(50))
    assert client.restore_snapshot(restored, snapshot=snapshot).points == 100
    got = client.get(restored, np.arange(200))
    assert got.found[:100].all() and not got.found[100:].any()
    assert (got.vectors[:100] == rows(100)).all()


def test_an_empty_collection_has_a_snapshot_too(client, collection, snapshot, restored):
    client.create_collection(collection, dim=DIM, metric="l2")
    assert client.create_snapshot(collection, snapshot).points == 0
    assert client.restore_snapshot(restored, snapshot=snapshot).points == 0
    client.insert(restored, np.arange(10), rows(10))
    assert client.get(restored, np.arange(10)).found.all()


def test_snapshots_under_full_ingest_and_deletes_are_each_of_one_moment(client, collection,
                                                                        restored):
    """A writer updates all points again and again, chunk by chunk; each restored snapshot must be
    valid and hold, of every point, one version, with no older chunk behind a newer one."""
    count, piece = 2000, 100
    client.create_collection(collection, dim=DIM, metric="l2", checkpoint_bytes=64 << 10)
    over = threading.Event()
    failures = []

    def versions(version):
        vectors = rows(count, version)
        vectors[:, 0] = version
        return vectors

    def write():
        try:
            with client.insert_stream(collection, mode="upsert") as stream:
                version = 0
                while not over.is_set():
                    vectors = versions(version)
                    for begin in range(0, count, piece):
                        if over.is_set():
                            return
                        stream.add(np.arange(begin, begin + piece), vectors[begin:begin + piece])
                        if version == 0 and begin + piece == count:
                            stream.flush()
                            filled.set()
                    version += 1
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    filled = threading.Event()
    writer = threading.Thread(target=write)
    writer.start()
    assert filled.wait(LIMIT_S)
    for number in range(6):
        name = f"busy-{number}"
        client.create_snapshot(collection, name, timeout=LIMIT_S)
        told = client.restore_snapshot(f"{restored[:50]}-{number}", snapshot=name)
        client.delete_snapshot(name)
        assert told.points == count
        validate(client, told.name)
        got = client.get(told.name, np.arange(count))
        seen = got.vectors[:, 0].astype(int)
        steps = np.flatnonzero(np.diff(seen))
        assert len(steps) <= 1 and seen[0] - seen[-1] in (0, 1), "one moment of the stream"
        assert all(step % piece == piece - 1 for step in steps), "whole chunks"
        for version in set(seen.tolist()):
            mine = seen == version
            assert (got.vectors[mine] == versions(version)[mine]).all(), "bits of its version"
        client.delete_collection(told.name)
    over.set()
    writer.join(LIMIT_S)
    assert failures == []


def test_a_snapshot_outlives_its_collection_and_a_restart(server):
    with Client(server.target) as client:
        fill(client, "words")
        client.create_snapshot("words", "kept")
        before = answers(client, "words")
        client.delete_collection("words")
        server.kill()
        server.start()
        client.wait_ready()
        assert [told.name for told in client.list_snapshots()] == ["kept"]
        client.restore_snapshot("words", snapshot="kept")
        assert answers(client, "words") == before
        server.kill()  # a restored collection is as durable as any
        server.start()
        client.wait_ready()
        assert answers(client, "words") == before
        validate(client, "words")


def test_a_snapshot_of_one_server_is_restored_on_another_with_the_same_answers(start_server,
                                                                               tmp_path):
    first, second = start_server(), start_server("--shards", "3", "--ingest-threads", "1")
    with Client(first.target) as here, Client(second.target) as there:
        fill(here, "words", "ip")
        made = here.create_snapshot("words", "copy")
        steps = []
        got = here.download_snapshot("copy", tmp_path / "words.snapshot",
                                     progress=lambda *step: steps.append(step))
        assert got == made and os.stat(tmp_path / "words.snapshot").st_size == made.bytes
        assert steps[-1] == (made.bytes, made.bytes)
        assert not (tmp_path / "words.snapshot.part").exists()
        there.restore_snapshot("moved", path=tmp_path / "words.snapshot")
        assert answers(there, "moved") == answers(here, "words")
        validate(there, "moved")
        for client, name in ((here, "words"), (there, "moved")):
            client.upsert(name, np.arange(9000, 9500), rows(500, 6))
        assert answers(there, "moved") == answers(here, "words")


# ---- downloads that break -----------------------------------------------------------------------


def test_a_download_that_is_cut_goes_on_where_it_was(server, tmp_path):
    with Client(server.target) as client:
        fill(client, "words", dim=256)
        made = client.create_snapshot("words", "cut")
        cuts = [made.bytes // 5, made.bytes // 3, made.bytes // 4]
        proxy = Proxy(server.port, cuts)
        steps = []
        with Client(proxy.target) as cut:
            cut.download_snapshot("cut", tmp_path / "x", progress=lambda *s: steps.append(s[0]))
        proxy.close()
        assert proxy.cut_count == len(cuts)
        assert steps == sorted(set(steps)), "no byte was sent twice"
        client.download_snapshot("cut", tmp_path / "y")
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


def test_a_part_that_an_earlier_program_left_is_gone_on_with(server, tmp_path):
    with Client(server.target) as client:
        fill(client, "words")
        made = client.create_snapshot("words", "cut")
        client.download_snapshot("cut", tmp_path / "whole")
        whole = (tmp_path / "whole").read_bytes()
        (tmp_path / "x.part").write_bytes(whole[:made.bytes // 2])
        steps = []
        client.download_snapshot("cut", tmp_path / "x", progress=lambda *s: steps.append(s[0]))
        assert steps[0] > made.bytes // 2 and (tmp_path / "x").read_bytes() == whole


def test_a_snapshot_that_was_made_again_is_not_mixed_with_the_old_one(server, tmp_path):
    with Client(server.target) as client:
        fill(client, "words")
        old = client.create_snapshot("words", "name")
        client.download_snapshot("name", tmp_path / "whole")
        (tmp_path / "x.part").write_bytes((tmp_path / "whole").read_bytes()[:100_000])
        client.delete_snapshot("name")
        client.delete("words", np.arange(1000, 2000))
        new = client.create_snapshot("words", "name")
        with pytest.raises(FailedPrecondition) as caught:
            list_of(client, "name", 100_000, old.id)
        assert caught.value.reason == "SNAPSHOT_CHANGED"
        assert client.download_snapshot("name", tmp_path / "x") == new
        client.restore_snapshot("again", path=tmp_path / "x")
        assert answers(client, "again") == answers(client, "words")


def list_of(client, name, offset=0, snapshot_id=b""):
    """The messages of a download."""
    try:
        return list(client._wire.download_snapshot(messages.DownloadSnapshotRequest(
            name=name, offset=offset, id=snapshot_id), timeout=LIMIT_S))
    except grpc.RpcError as error:
        raise from_rpc(error) from None


def test_a_download_may_begin_anywhere_and_nowhere_else(client, collection, snapshot):
    fill(client, collection)
    made = client.create_snapshot(collection, snapshot)
    first, *chunks = list_of(client, snapshot)
    assert first.snapshot.bytes == made.bytes and first.snapshot.id == made.id
    whole = b"".join(response.chunk.data for response in chunks)
    assert len(whole) == made.bytes
    assert all(zlib.crc32(response.chunk.data) == response.chunk.crc32 for response in chunks)
    for offset in (1, 12_345, made.bytes - 1, made.bytes):
        _, *rest = list_of(client, snapshot, offset, made.id)
        assert b"".join(response.chunk.data for response in rest) == whole[offset:]
        assert not rest or rest[0].chunk.offset == offset
    for offset, given, reason in ((made.bytes + 1, made.id, "BAD_OFFSET"), (1, b"", "BAD_OFFSET"),
                                  (0, b"short", "BAD_TOKEN")):
        with pytest.raises(InvalidArgument) as caught:
            list_of(client, snapshot, offset, given)
        assert caught.value.reason == reason


def test_a_download_under_way_outlives_the_deletion_of_its_snapshot(client, collection, snapshot):
    fill(client, collection, dim=512)
    made = client.create_snapshot(collection, snapshot)
    call = client._wire.download_snapshot(messages.DownloadSnapshotRequest(name=snapshot),
                                          timeout=LIMIT_S)
    next(call)
    got = len(next(call).chunk.data)
    client.delete_snapshot(snapshot)
    got += sum(len(response.chunk.data) for response in call)
    assert got == made.bytes
    with pytest.raises(NotFound):
        list_of(client, snapshot)


def test_a_client_that_does_not_read_its_download_costs_little(start_server):
    server = start_server()
    with Client(server.target) as client:
        fill(client, "words", dim=1024, count=16_000)
        client.create_snapshot("words", "big", timeout=LIMIT_S)
        calls = [client._wire.download_snapshot(messages.DownloadSnapshotRequest(name="big"))
                 for _ in range(20)]
        for call in calls:
            next(call)
        before = server.resident_bytes()
        found = client.search("words", rows(8, dim=1024))
        assert (found.counts == 10).all()
        assert server.resident_bytes() - before < 48 << 20
        for call in calls:
            call.cancel()
        assert len(client.list_snapshots()) == 1


def test_a_server_that_drains_ends_a_download_which_goes_on_at_the_next_start(server, tmp_path):
    with Client(server.target) as client:
        fill(client, "words", dim=512)
        made = client.create_snapshot("words", "drained")
        call = client._wire.download_snapshot(messages.DownloadSnapshotRequest(name="drained"))
        next(call)
        data = next(call).chunk.data
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        with pytest.raises(grpc.RpcError) as caught:
            for response in call:
                data += response.chunk.data
        stopping.join()
        told = from_rpc(caught.value)
        assert isinstance(told, Unavailable) and len(data) < made.bytes
        (tmp_path / "x.part").write_bytes(data)
        server.start()
        client.wait_ready()
        assert client.download_snapshot("drained", tmp_path / "x") == made
        client.restore_snapshot("again", path=tmp_path / "x")
        assert client.get_collection("again").points == made.points


# ---- damage -------------------------------------------------------------------------------------


@pytest.fixture
def sent(server, tmp_path):
    """(client, path of a downloaded snapshot, what was told of it)."""
    with Client(server.target) as client:
        fill(client, "words", count=1500)
        made = client.create_snapshot("words", "sound")
        client.download_snapshot("sound", tmp_path / "sound")
        yield client, tmp_path / "sound", made


def test_a_flipped_bit_anywhere_is_refused_with_a_sentence_and_leaves_nothing(sent, tmp_path):
    client, path, made = sent
    whole = path.read_bytes()
    random = np.random.default_rng(8)
    stored = tmp_path / "server0" / "data" / "snapshots" / "sound.snapshot"
    for offset in [0, 4, 17, 45, *random.choice(made.bytes, 40, replace=False).tolist()]:
        bad = bytearray(whole)
        bad[offset] ^= 1 << int(random.integers(8))
        (tmp_path / "bad").write_bytes(bad)
        with pytest.raises(DataLoss) as caught:
            client.restore_snapshot("bad", path=tmp_path / "bad")
        assert caught.value.reason == "BAD_SNAPSHOT" and "offset" in caught.value.message, offset
        stored.write_bytes(bad)
        with pytest.raises(DataLoss) as caught:
            client.verify_snapshot("sound")
        assert caught.value.reason == "BAD_SNAPSHOT" and "offset" in caught.value.message, offset
    stored.write_bytes(whole)
    assert client.verify_snapshot("sound") == made
    assert [told.name for told in client.list_collections()] == ["words"]
    left = {entry.name for entry in (tmp_path / "server0" / "data").rglob("*")}
    assert not any(name.endswith((".making", ".part", ".part.new")) for name in left), left


@pytest.mark.parametrize("keep", [0, 10, 100, 0.5, -1])
def test_a_snapshot_that_was_cut_short_is_refused(sent, tmp_path, keep):
    client, path, made = sent
    end = int(keep * made.bytes) if isinstance(keep, float) else keep % made.bytes
    (tmp_path / "bad").write_bytes(path.read_bytes()[:end])
    with pytest.raises(DataLoss):
        client.restore_snapshot("bad", path=tmp_path / "bad")
    (tmp_path / "bad").write_bytes(path.read_bytes() + b"more")
    with pytest.raises(DataLoss):
        client.restore_snapshot("bad", path=tmp_path / "bad")


def restore_raw(client, *requests):
    try:
        return client._wire.restore_snapshot(iter(requests), timeout=LIMIT_S)
    except grpc.RpcError as error:
        raise from_rpc(error) from None


def begin(**fields):
    return messages.RestoreSnapshotRequest(begin=messages.RestoreBegin(**fields))


def chunk(offset, data, crc32=None):
    return messages.RestoreSnapshotRequest(chunk=messages.SnapshotChunk(
        offset=offset, data=data, crc32=zlib.crc32(data) if crc32 is None else crc32))


@pytest.mark.parametrize("requests, kind, reason", [
    ([], InvalidArgument, "BAD_MESSAGE"),
    ([chunk(0, b"x")], InvalidArgument, "BAD_MESSAGE"),
    ([begin(collection="a"), begin(collection="a")], InvalidArgument, "BAD_MESSAGE"),
    ([begin(collection="a"), messages.RestoreSnapshotRequest()], InvalidArgument, "BAD_MESSAGE"),
    ([begin(collection="no/name")], InvalidArgument, "BAD_NAME"),
    ([begin(collection="")], InvalidArgument, "BAD_NAME"),
    ([begin(collection="a"), chunk(1, b"x")], InvalidArgument, "BAD_OFFSET"),
    ([begin(collection="a"), chunk(0, b"x"), chunk(0, b"y")], InvalidArgument, "BAD_OFFSET"),
    ([begin(collection="a"), chunk(0, bytes((1 << 20) + 1))], InvalidArgument, "TOO_LARGE"),
    ([begin(collection="a"), chunk(0, b"x", 1)], DataLoss, "BAD_CHUNK"),
    ([begin(collection="a"), chunk(0, b"this is no snapshot" * 100)], DataLoss, "BAD_SNAPSHOT"),
    ([begin(collection="a")], DataLoss, "BAD_SNAPSHOT"),
    ([begin(collection="a", snapshot="nobody")], NotFound, "SNAPSHOT_NOT_FOUND"),
    ([begin(collection="a", snapshot="../x")], NotFound, "SNAPSHOT_NOT_FOUND"),
    ([begin(collection="a", snapshot="nobody"), chunk(0, b"x")], InvalidArgument, "BAD_MESSAGE"),
])
def test_what_cannot_be_restored_is_refused_by_name(client, requests, kind, reason):
    with pytest.raises(kind) as caught:
        restore_raw(client, *requests)
    assert caught.value.reason == reason, caught.value
    assert "a" not in [told.name for told in client.list_collections()]


def test_a_restore_that_is_cut_leaves_nothing(server, tmp_path):
    with Client(server.target) as client:
        fill(client, "words", dim=256)
        made = client.create_snapshot("words", "cut")
        client.download_snapshot("cut", tmp_path / "x")
        proxy = Proxy(server.port, [made.bytes // 2])
        with Client(proxy.target) as cut, pytest.raises(Unavailable):
            cut.restore_snapshot("half", path=tmp_path / "x", timeout=LIMIT_S)
        proxy.close()
        folder = tmp_path / "server0" / "data" / "snapshots"
        client.restore_snapshot("whole", path=tmp_path / "x")
        while [entry.name for entry in folder.iterdir()] != ["cut.snapshot"]:
            client.list_snapshots()  # the server hears of the cut when it does
        assert {told.name for told in client.list_collections()} == {"words", "whole"}


# ---- names --------------------------------------------------------------------------------------


def test_snapshots_are_listed_by_name_and_a_name_is_taken_once(server):
    with Client(server.target) as client:
        assert client.list_snapshots() == []
        fill(client, "words", count=100)
        made = [client.create_snapshot("words", name) for name in ("b", "a", "c" * 64)]
        assert client.list_snapshots() == sorted(made, key=lambda told: told.name)
        with pytest.raises(AlreadyExists) as caught:
            client.create_snapshot("words", "a")
        assert caught.value.reason == "SNAPSHOT_EXISTS"
        client.delete_snapshot("a")
        assert [told.name for told in client.list_snapshots()] == ["b", "c" * 64]
        assert client.create_snapshot("words", "a").id != made[1].id


@pytest.mark.parametrize("name", ["", "x" * 65, "a/b", "..", "a.snapshot", "\u00e4"],
                         ids=["empty", "long", "slash", "dots", "suffix", "umlaut"])
def test_a_bad_name_is_refused(client, collection, name):
    fill(client, collection, count=100)
    with pytest.raises(InvalidArgument) as caught:
        client.create_snapshot(collection, name)
    assert caught.value.reason == "BAD_NAME"
    for call in (client.delete_snapshot, client.verify_snapshot, lambda n: list_of(client, n)):
        with pytest.raises(NotFound):
            call(name)


def test_unknown_and_taken_names_are_told(client, collection, snapshot):
    with pytest.raises(NotFound) as caught:
        client.create_snapshot("nobody", snapshot)
    assert caught.value.reason == "COLLECTION_NOT_FOUND"
    for call in (client.delete_snapshot, client.verify_snapshot, lambda n: list_of(client, n)):
        with pytest.raises(NotFound) as caught:
            call("nobody")
        assert caught.value.reason == "SNAPSHOT_NOT_FOUND"
    fill(client, collection, count=100)
    client.create_snapshot(collection, snapshot)
    with pytest.raises(AlreadyExists) as caught:
        client.restore_snapshot(collection, snapshot=snapshot)
    assert caught.value.reason == "COLLECTION_EXISTS"


def test_of_two_snapshots_and_two_restores_of_one_name_one_wins(client, collection, snapshot,
                                                                restored):
    fill(client, collection, count=300)

    def race(call):
        outcomes = []

        def run():
            try:
                outcomes.append(call())
            except AlreadyExists as error:
                outcomes.append(error.reason)

        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [outcome for outcome in outcomes if isinstance(outcome, str)]

    assert race(lambda: client.create_snapshot(collection, snapshot)) == ["SNAPSHOT_EXISTS"] * 3
    assert client.verify_snapshot(snapshot).points == client.get_collection(collection).points
    assert race(lambda: client.restore_snapshot(restored, snapshot=snapshot)) \
        == ["COLLECTION_EXISTS"] * 3
    validate(client, restored)


# ---- a server that dies -------------------------------------------------------------------------


def test_what_a_crash_left_unfinished_is_gone_after_the_next_start(server, tmp_path):
    data = tmp_path / "server0" / "data"
    with Client(server.target) as client:
        fill(client, "words", count=100)
        client.create_snapshot("words", "kept")
        server.kill()
        for name in ("00ff.part", "00ff.part.new"):
            (data / "snapshots" / name).write_bytes(b"half")
        (data / ("ab" * 16 + ".making")).mkdir()
        server.start()
        client.wait_ready()
        assert [entry.name for entry in (data / "snapshots").iterdir()] == ["kept.snapshot"]
        assert not list(data.glob("*.making"))
        assert client.verify_snapshot("kept").points == client.get_collection("words").points


# ---- versions -----------------------------------------------------------------------------------

GOLDEN = REPOSITORY / "tests" / "golden" / "snapshot-1" / "golden.snapshot"


def test_the_stored_snapshot_of_format_1_gives_the_stored_graph_and_answers(client, restored):
    """80 points of this seed under numbers, 10 under keys, ten of them deleted; M is 4."""
    vectors = np.random.default_rng(71).standard_normal((90, 8), dtype=np.float32)
    assert client.restore_snapshot(restored, path=GOLDEN).points == 80
    assert client.get_collection(restored, with_graph_hash=True).graph_hash == "f231b3244e9d2d37"
    got = client.get(restored, [*range(80), *(f"key-{i}" for i in range(10))])
    there = np.ones(90, bool)
    there[20:30] = False
    assert (got.found == there).all() and (got.vectors[there] == vectors[there]).all()
    validate(client, restored)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def test_a_snapshot_of_a_newer_format_is_refused_with_a_sentence(client, restored, tmp_path):
    data = bytearray(GOLDEN.read_bytes())
    data[4:8] = (99).to_bytes(4, "little")  # the version of the first section, and its checksum
    data[36:40] = crc32c(bytes(data[:36])).to_bytes(4, "little")
    (tmp_path / "newer").write_bytes(data)
    with pytest.raises(Unimplemented) as caught:
        client.restore_snapshot(restored, path=tmp_path / "newer")
    assert caught.value.reason == "NEWER_FORMAT" and "99" in caught.value.message

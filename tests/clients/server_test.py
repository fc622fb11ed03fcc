"""The Python client against the real server: every call, its limits, and a server that dies."""
import threading
import time

import numpy as np
import pytest
from conftest import validate
from omendb_client import (
    AlreadyExists,
    Client,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    QueryOptions,
)


def gaussian(count, dim, seed):
    return np.random.default_rng(seed).standard_normal((count, dim), dtype=np.float32)


# ---- collections ------------------------------------------------------------------------------


def test_a_collection_is_described_as_it_was_created(client, collection):
    made = client.create_collection(collection, dim=24, metric="l2", links=8, epoch_points=500)
    assert (made.name, made.dim, made.metric) == (collection, 24, "l2")
    assert (made.links, made.epoch_points, made.points) == (8, 500, 0)
    got = client.get_collection(collection)
    assert got.incarnation == made.incarnation and len(got.incarnation) == 16
    assert collection in [entry.name for entry in client.list_collections()]


def test_originals_in_f16_come_back_rounded_to_halves(client, collection):
    made = client.create_collection(collection, dim=24, metric="l2", originals="f16")
    assert (made.originals, made.target_recall) == ("f16", 0.97)
    vectors = gaussian(3000, 24, seed=5)
    client.insert(collection, ids=np.arange(3000), vectors=vectors)
    halves = vectors.astype(np.float16).astype(np.float32)
    assert (client.get(collection, np.arange(0, 1000)).vectors == halves[:1000]).all()
    found = client.search(collection, halves[:100], k=1)
    assert (found.ids[:, 0] == np.arange(100)).all() and (found.distances == 0).all()
    with pytest.raises(InvalidArgument, match="originals"):
        client.create_collection(f"{collection}-never", dim=4, originals="f8")


def test_a_collection_of_a_taken_name_is_refused(client, collection):
    client.create_collection(collection, dim=4)
    with pytest.raises(AlreadyExists) as caught:
        client.create_collection(collection, dim=4)
    assert caught.value.reason == "COLLECTION_EXISTS"


def test_a_deleted_collection_is_gone_and_its_name_free(client, collection):
    first = client.create_collection(collection, dim=4)
    client.delete_collection(collection)
    with pytest.raises(NotFound) as caught:
        client.get_collection(collection)
    assert caught.value.reason == "COLLECTION_NOT_FOUND"
    assert client.create_collection(collection, dim=4).incarnation != first.incarnation


@pytest.mark.parametrize("arguments, field", [
    ({"dim": 0}, "dim"), ({"dim": 5000}, "dim"), ({"dim": -1}, "dim"),
    ({"dim": 8, "metric": "manhattan"}, "metric"), ({"dim": 8, "links": 99}, "links"),
])
def test_settings_out_of_range_are_refused_with_the_name_of_the_field(
        client, collection, arguments, field):
    with pytest.raises(InvalidArgument, match=field):
        client.create_collection(collection, **arguments)


# ---- insert and search ------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["l2", "cosine", "ip"])
def test_an_exact_search_answers_with_the_distances_of_the_metric(client, collection, metric):
    data, queries = gaussian(3000, 40, 1), gaussian(50, 40, 2)
    client.create_collection(collection, dim=40, metric=metric)
    client.insert(collection, np.arange(3000) + 2**40, data)
    found = client.search(collection, queries, k=7, exact=True)
    true = {
        "l2": lambda: ((queries[:, None] - data[None]) ** 2).sum(axis=2),
        "ip": lambda: -(queries @ data.T),
        "cosine": lambda: 1 - (queries / np.linalg.norm(queries, axis=1, keepdims=True))
        @ (data / np.linalg.norm(data, axis=1, keepdims=True)).T,
    }[metric]()
    order = np.argsort(true, axis=1)[:, :7]
    assert (found.ids == order + 2**40).all()
    assert np.allclose(found.distances, np.take_along_axis(true, order, axis=1), atol=1e-4)
    assert found.exact.all() and (found.ef == 0).all() and (found.counts == 7).all()


def test_real_vectors_streamed_in_are_found_by_the_graph(client, collection, words):
    held = np.random.default_rng(3).choice(len(words), 200, replace=False)
    kept = np.setdiff1d(np.arange(len(words)), held)[:8000]
    client.create_collection(collection, dim=384, metric="cosine")
    result = client.insert(collection, kept, words[kept])
    assert result.inserted == 8000 and not result.errors
    found = client.search(collection, words[held], k=10, ef=200)
    similarity = words[held] @ words[kept].T
    threshold = np.sort(similarity, axis=1)[:, -10]
    hits = np.einsum("qkd,qd->qk", words[found.ids.astype(np.int64)], words[held])
    recall = (hits >= threshold[:, None] - 1e-5).mean()
    assert recall >= 0.95
    assert not found.exact.any() and (found.ef == 200).all()
    assert found.visited.mean() < 4000, "the graph was walked, not scanned"


def test_bad_rows_are_reported_with_their_index_and_the_others_go_in(client, collection):
    data = gaussian(1000, 12, 4)
    data[17, 3] = np.nan
    data[500] = 0
    ids = np.arange(1000)
    ids[900] = 5
    client.create_collection(collection, dim=12, metric="cosine")
    result = client.insert(collection, ids, data)
    assert {(error.index, error.reason) for error in result.errors} == {
        (17, "NOT_FINITE"), (500, "ZERO_VECTOR"), (900, "ALREADY_EXISTS")}
    assert result.inserted == 997
    assert client.get_collection(collection).points == 997


def test_the_largest_and_smallest_ids_come_back_unchanged(client, collection):
    ids = np.array([0, 1, 2**63, 2**64 - 2, 2**64 - 1], dtype=np.uint64)
    data = np.eye(5, dtype=np.float32)
    client.create_collection(collection, dim=5, metric="l2")
    client.insert(collection, ids, data)
    assert (client.search(collection, data, k=1).ids[:, 0] == ids).all()


@pytest.mark.parametrize("dim", [1, 3, 4096])
def test_chunks_of_the_smallest_and_largest_dimension_fit(client, collection, dim):
    count = 9000 if dim < 10 else 100
    data = gaussian(count, dim, 5)
    client.create_collection(collection, dim=dim, metric="l2")
    result = client.insert(collection, np.arange(count), data)
    assert result.inserted == count and not result.errors
    found = client.search(collection, data[-20:], k=1, exact=True)
    assert (found.distances[:, 0] == 0).all()


def test_durable_rows_become_searchable_shortly_after(client, collection):
    data = gaussian(2000, 16, 6)
    client.create_collection(collection, dim=16, metric="l2")
    result = client.insert(collection, np.arange(2000), data, wait="durable")
    assert result.inserted == 2000
    for _ in range(10_000):
        state = client.get_collection(collection)
        assert state.log_position >= result.log_position
        if state.searchable_position >= result.log_position:
            break
    assert state.points == 2000


def test_a_flush_makes_rows_findable_while_the_stream_stays_open(client, collection):
    data = gaussian(300, 16, 7)
    client.create_collection(collection, dim=16, metric="l2")
    with client.insert_stream(collection) as stream:
        for begin in range(0, 300, 100):
            stream.add(np.arange(begin, begin + 100), data[begin:begin + 100])
            stream.flush("searchable", timeout=30)
            found = client.search(collection, data[begin:begin + 100], k=1)
            assert (found.ids[:, 0] == np.arange(begin, begin + 100)).all()


def test_several_streams_write_one_collection_at_once(client, collection):
    data = gaussian(4000, 32, 8)
    client.create_collection(collection, dim=32, metric="l2")
    results = []

    def write(part):
        ids = np.arange(part, 4000, 4)
        results.append(client.insert(collection, ids, data[ids]))

    writers = [threading.Thread(target=write, args=(part,)) for part in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sum(result.inserted for result in results) == 4000
    found = client.search(collection, data, k=1, exact=True)
    assert (found.ids[:, 0] == np.arange(4000)).all()


def test_a_search_beyond_every_limit_of_a_request_is_batched(client, collection):
    data = gaussian(12_000, 8, 9)
    client.create_collection(collection, dim=8, metric="l2")
    client.insert(collection, np.arange(12_000), data)
    found = client.search(collection, data[:3000], k=1, ef=64)
    assert len(found) == 3000
    wide = client.search(collection, data[:3], k=10_000, timeout=60)
    assert wide.ids.shape == (3, 10_000) and (wide.counts == 10_000).all()
    assert (np.diff(wide.distances, axis=1) >= 0).all()


def test_too_few_points_are_a_shortfall_of_the_collection(client, collection):
    client.create_collection(collection, dim=4, metric="l2")
    empty = client.search(collection, np.zeros(4), k=3)
    assert empty.counts.tolist() == [0]
    client.insert(collection, [8, 9], np.eye(4)[:2])
    found = client.search(collection, np.zeros(4), k=3)
    assert found.counts.tolist() == [2] and found.shortfall.tolist() == [1]
    assert found.ids[0, :2].tolist() == [8, 9], "equal distances ascend by id"


@pytest.mark.parametrize("arguments, reason", [
    ({"queries": np.zeros((2, 5))}, "DIMENSION_MISMATCH"),
    ({"queries": np.full((1, 8), np.nan)}, "NOT_FINITE"),
    ({"queries": np.zeros((1, 8)), "k": 10_001}, "BAD_LIMIT"),
    ({"queries": np.zeros((1, 8)), "k": 0}, "BAD_LIMIT"),
])
def test_bad_searches_are_refused_with_a_reason(client, collection, arguments, reason):
    client.create_collection(collection, dim=8, metric="l2")
    with pytest.raises(InvalidArgument) as caught:
        client.search(collection, **arguments)
    assert caught.value.reason == reason


def test_calls_on_an_unknown_collection_are_not_found(client, collection):
    calls = [
        lambda: client.search(collection, np.zeros(4)),
        lambda: client.insert(collection, [1], np.zeros((1, 4))),
        lambda: client.get_collection(collection),
        lambda: client.delete_collection(collection),
    ]
    for call in calls:
        with pytest.raises(NotFound) as caught:
            call()
        assert caught.value.reason == "COLLECTION_NOT_FOUND"


def test_a_serving_server_says_so(client):
    assert client.health() == "SERVING"


# ---- a server that dies -----------------------------------------------------------------------


def test_an_insert_outlives_a_server_killed_in_its_middle(server, words):
    """Every row is there once the restarted server has answered, and none is there twice."""
    rows = words[:6000]
    killed = threading.Event()
    with Client(server.target) as client:
        client.create_collection("words", dim=384, metric="cosine")

        def kill_halfway(progress):
            if progress.durable >= 2000 and not killed.is_set():
                killed.set()
                server.kill()
                server.start()

        result = client.insert("words", np.arange(6000), rows, progress=kill_halfway)
        assert killed.is_set()
        assert result.inserted == 6000, [error.message for error in result.errors[:3]]
        assert client.get_collection("words").points == 6000
        found = client.search("words", rows, k=1, exact=True)
    same = (found.ids[:, 0] == np.arange(6000)) | (found.distances[:, 0] <= 1e-6)
    assert same.all(), f"{(~same).sum()} rows do not answer"


def test_durable_rows_survive_a_kill_right_after_the_acknowledgement(server):
    data = gaussian(1500, 20, 10)
    with Client(server.target) as client:
        client.create_collection("kept", dim=20, metric="l2")
        client.insert("kept", np.arange(1500), data, wait="durable")
        server.kill()
        server.start()
        client.wait_ready()
        found = client.search("kept", data, k=1, exact=True)
    assert (found.ids[:, 0] == np.arange(1500)).all()
    assert (found.distances[:, 0] == 0).all()


# ---- upsert, delete, get ----------------------------------------------------------------------


def test_points_are_written_read_and_deleted_under_numbers_and_keys(client, collection):
    data = gaussian(4, 6, 20)
    ids = [7, "7", "grün", b"\x00\xff"]
    client.create_collection(collection, dim=6, metric="l2")
    written = client.upsert(collection, ids, data)
    assert (written.written, written.errors) == (4, [])
    got = client.get(collection, [*ids, 8, "8"])
    assert got.ids == [7, b"7", "grün".encode(), b"\x00\xff", 8, b"8"]
    assert got.found.tolist() == [True] * 4 + [False] * 2
    assert (got.vectors[:4] == data).all() and np.isnan(got.vectors[4:]).all()
    assert (got.expires_unix_s == 0).all()
    deleted = client.delete(collection, ["7", "never there"])
    assert deleted.errors == [] and deleted.token.log_position > written.token.log_position
    assert client.get(collection, ids, vectors=False).found.tolist() == [True, False, True, True]
    assert client.get_collection(collection).points == 3


def test_calls_of_more_than_a_request_holds_are_cut_and_joined(client, collection):
    count, dim = 3000, 200  # 2.4 MB: five requests; three for Get
    data = gaussian(count, dim, 21)
    keys = [f"point-{number}" for number in range(count)]
    client.create_collection(collection, dim=dim, metric="l2")
    data[[1, 2500], 3] = np.nan
    written = client.upsert(collection, keys, data, wait="durable")
    assert [(error.index, error.id, error.reason) for error in written.errors] == [
        (1, b"point-1", "NOT_FINITE"), (2500, b"point-2500", "NOT_FINITE")]
    assert written.written == count - 2
    good = [number for number in range(count) if number not in (1, 2500)]
    assert client.search(collection, data[2], k=1, min_read=written.token).hits(0)[0] == (
        b"point-2", 0.0)
    got = client.get(collection, keys)
    assert np.flatnonzero(~got.found).tolist() == [1, 2500]
    assert (got.vectors[good] == data[good]).all()
    assert client.delete(collection, keys).errors == []
    assert client.get_collection(collection).points == 0


@pytest.mark.parametrize("write", ["insert", "upsert"])
def test_modes_say_what_becomes_of_an_id_that_exists(client, collection, write):
    data = gaussian(9, 5, 22)
    call = getattr(client, write)
    client.create_collection(collection, dim=5, metric="l2")
    assert call(collection, [1, "a"], data[:2], mode="insert").errors == []
    again = call(collection, [1, "b"], data[2:4], mode="insert")
    assert [(error.id, error.reason) for error in again.errors] == [(1, "ALREADY_EXISTS")]
    absent = call(collection, [1, "c"], data[4:6], mode="update")
    assert [(error.id, error.reason) for error in absent.errors] == [(b"c", "POINT_NOT_FOUND")]
    with pytest.raises(NotFound, match="1 points were refused, the first at index 1 with id b'c'"):
        absent.raise_for_errors()
    assert call(collection, ["a", "c"], data[6:8], mode="upsert").errors == []
    got = client.get(collection, [1, "a", "b", "c"])
    assert (got.vectors == data[[4, 6, 3, 7]]).all()


def test_a_time_to_live_is_told_as_the_moment_when_it_ends(client, collection):
    before = int(time.time())
    client.create_collection(collection, dim=4, metric="l2")
    client.insert(collection, [1, "a"], np.eye(4)[:2], ttl=1000)
    client.upsert(collection, [2], np.eye(4)[:1], ttl=1000)
    client.upsert(collection, [3], np.eye(4)[:1])
    expires = client.get(collection, [1, "a", 2, 3]).expires_unix_s
    assert expires[3] == 0
    assert (expires[:3] >= before + 1000).all() and (expires[:3] <= before + 1062).all()


def test_rows_and_deletes_of_a_stream_keep_their_order(client, collection):
    data = gaussian(600, 8, 23)
    client.create_collection(collection, dim=8, metric="l2")
    with client.insert_stream(collection, mode="upsert") as stream:
        stream.add(np.arange(300), data[:300])
        stream.delete(np.arange(100))
        stream.add(np.arange(50), data[300:350])
        stream.delete([0, "nobody"])
        stream.flush("searchable")
        got = client.get(collection, np.arange(300))
        assert np.flatnonzero(~got.found).tolist() == [0, *range(50, 100)]
        assert (got.vectors[1:50] == data[301:350]).all()
        assert stream.progress.added == 452 and stream.errors == []


def test_ids_that_are_none_are_told_one_by_one(client, collection):
    client.create_collection(collection, dim=3, metric="l2")
    long = "x" * 65
    written = client.upsert(collection, ["", "ok", long], np.eye(3))
    assert [(error.index, error.reason) for error in written.errors] == [
        (0, "BAD_ID"), (2, "BAD_ID")]
    assert [error.index for error in client.delete(collection, ["ok", long]).errors] == [1]
    with pytest.raises(InvalidArgument) as caught:
        client.get(collection, [long])
    assert caught.value.reason == "BAD_ID"


# ---- queries of their own, tokens -------------------------------------------------------------


def test_a_bad_query_costs_the_others_nothing(client, collection):
    data = gaussian(3000, 8, 24)
    queries = data[:2500].copy()
    queries[[3, 2400], 5] = np.inf
    client.create_collection(collection, dim=8, metric="l2")
    client.insert(collection, np.arange(3000), data)
    found = client.search(collection, queries, k=2, exact=True)
    assert [(error.index, error.reason) for error in found.errors] == [
        (3, "NOT_FINITE"), (2400, "NOT_FINITE")]
    assert found.counts[3] == 0 and found.hits(3) == []
    good = np.delete(np.arange(2500), [3, 2400])
    assert (found.ids[good, 0] == good).all()
    with pytest.raises(InvalidArgument, match="NOT_FINITE"):
        found.raise_for_errors()


def test_each_query_may_have_options_of_its_own(client, collection):
    data = gaussian(3000, 8, 25)
    client.create_collection(collection, dim=8, metric="l2")
    client.insert(collection, np.arange(3000), data)
    options = [QueryOptions(k=3, ef=50), None, QueryOptions(k=7, exact=True), QueryOptions(k=20000)]
    found = client.search(collection, data[:4], k=5, ef=77, options=options)
    assert found.counts.tolist() == [3, 5, 7, 0] and found.ids.shape == (4, 20000)
    assert found.exact[:3].tolist() == [False, False, True]
    assert found.ef[:3].tolist() == [50, 77, 0]
    assert [(error.index, error.reason) for error in found.errors] == [(3, "BAD_LIMIT")]
    # More hits than one request may ask for.
    wide = client.search(collection, data[:120], k=1, options=[QueryOptions(k=10_000)] * 120)
    assert (wide.counts == 3000).all() and (wide.ids[:, 0] == np.arange(120)).all()
    with pytest.raises(InvalidArgument, match="options has 4 entries, wanted 3"):
        client.search(collection, data[:3], options=options)


def test_hits_with_keys_are_told_by_their_keys(client, collection):
    client.create_collection(collection, dim=4, metric="l2")
    client.insert(collection, [5, "five", 6], np.eye(4)[:3])
    found = client.search(collection, np.eye(4)[[1, 0]], k=4)
    assert found.hits(0)[0] == (b"five", 0.0) and found.hits(1)[0] == (5, 0.0)
    assert {number for number, _ in found.hits(0)} == {5, b"five", 6}
    assert found.keys[0, 3] is None and found.ids[0, 0] == 0
    one = client.search(collection, np.eye(4)[0], k=1)
    assert one.keys is None and one.ids.tolist() == [[5]]


def test_a_search_with_a_writes_token_sees_the_write(client, collection):
    data = gaussian(4000, 16, 26)
    client.create_collection(collection, dim=16, metric="l2")
    for begin in range(0, 4000, 500):
        ids = np.arange(begin, begin + 500)
        result = client.insert(collection, ids, data[ids], wait="durable")
        found = client.search(collection, data[ids], k=1, exact=True, min_read=result.token)
        assert (found.ids[:, 0] == ids).all()
        assert found.token.log_position >= result.token.log_position == result.log_position
    client.delete_collection(collection)
    client.create_collection(collection, dim=16, metric="l2")
    with pytest.raises(FailedPrecondition) as caught:
        client.search(collection, data[:1], min_read=result.token)
    assert caught.value.reason == "INCARNATION_CHANGED"


def test_a_session_of_a_collection_that_was_made_again_is_refused(server):
    with Client(server.target) as client:
        client.create_collection("again", dim=2)
        with client.insert_stream("again") as stream:
            stream.add([1], np.ones((1, 2)))
            stream.flush()
            client.delete_collection("again")
            client.create_collection("again", dim=2)
            with pytest.raises((FailedPrecondition, NotFound)):
                stream.add([2], np.ones((1, 2)))
                stream.flush(timeout=30)
            stream.abandon()
        assert client.get_collection("again").points == 0


def test_a_collection_is_validated_and_counted(client, collection):
    data = gaussian(2000, 8, 27)
    data[1500:] = data[0]
    client.create_collection(collection, dim=8, metric="l2", checkpoint_bytes=4096)
    client.insert(collection, np.arange(2000), data)
    client.delete(collection, np.arange(1000, 1100))
    counted = validate(client, collection)
    assert counted.points == 1900 and counted.linked >= 1400
    assert counted.reached_by_links > 0 and counted.links > counted.linked
    state = client.get_collection(collection)
    assert state.checkpoint_bytes == 4096 and state.slots_max == 2000
    assert state.slots >= state.points == 1900


# ---- drains -----------------------------------------------------------------------------------


def test_an_insert_outlives_a_server_that_is_asked_to_stop(server):
    data = gaussian(60_000, 32, 28)
    ended = threading.Event()
    with Client(server.target) as client:
        client.create_collection("kept", dim=32, metric="l2")

        def stop_halfway(progress):
            if progress.durable >= 10_000 and not ended.is_set():
                ended.set()
                assert server.stop() == 0
                server.start()

        with client.insert_stream("kept", window_bytes=1 << 20) as stream:
            for begin in range(0, 60_000, 500):
                stream.add(np.arange(begin, begin + 500), data[begin:begin + 500])
                stop_halfway(stream.progress)
            stream.flush(timeout=60)
            assert ended.is_set() and stream.reconnects >= 1
            assert stream.errors == [] and stream.errors_complete
        got = client.get("kept", np.arange(60_000))
        assert got.found.all() and (got.vectors == data).all()


def test_an_idle_stream_goes_on_after_it_was_asked_to_open_again(start_server):
    server = start_server("--stream-max-age-seconds", "1")
    with Client(server.target) as client:
        client.create_collection("old", dim=2, metric="l2")
        with client.insert_stream("old", retry_seconds=0.5) as stream:
            stream.add([1], np.ones((1, 2)))
            stream.flush()
            deadline = time.monotonic() + 30
            while stream.reconnects < 3:  # longer than retry_seconds without any progress
                assert time.monotonic() < deadline, "it was never asked"
                time.sleep(0.02)
            stream.add([2], np.ones((1, 2)))
            stream.flush()
        assert client.get_collection("old").points == 2
    assert server.stop() == 0

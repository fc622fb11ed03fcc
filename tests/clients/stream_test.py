"""The insert stream of the Python client in bad moments, against a scripted server."""
import itertools
import threading
import time

import grpc
import numpy as np
import pytest
from omendb_client import (
    Aborted,
    Client,
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unavailable,
)
from omendb_client.wire import backoff
from scripted_server import REFUSED_ID

ROWS = 500  # ten chunks of 50
CHUNKS = 10


def rows(count=ROWS, dim=8, seed=7):
    vectors = np.random.default_rng(seed).standard_normal((count, dim), dtype=np.float32)
    return np.arange(100, 100 + count, dtype=np.uint64), vectors


def stored(server):
    """What arrived, as arrays in the order of arrival."""
    numbers = np.array([number for number, _ in server.rows], dtype=np.uint64)
    return numbers, np.array([vector for _, vector in server.rows])


def test_rows_arrive_whole_in_order_and_in_chunks_below_the_limit(scripted):
    server = scripted()
    ids, vectors = rows()
    with Client(server.target) as client:
        result = client.insert("words", ids, vectors)
    numbers, values = stored(server)
    assert (numbers == ids).all() and (values == vectors).all()
    assert server.seqs == [list(range(1, CHUNKS + 1))]
    assert result.inserted == ROWS and result.errors == []
    assert result.log_position == CHUNKS + 1


@pytest.mark.parametrize("kind", [np.float16, np.float64, ">f4", np.int32])
def test_vectors_of_any_number_type_arrive_as_their_float32_values(scripted, kind):
    server = scripted()
    ids, vectors = rows(60)
    vectors = (vectors * 100).astype(kind)
    with Client(server.target) as client:
        client.insert("words", ids, vectors)
    assert (stored(server)[1] == vectors.astype(np.float32)).all()


def test_rows_of_a_strided_array_and_ids_of_a_list_arrive_unchanged(scripted):
    server = scripted()
    ids, vectors = rows(120, dim=16)
    with Client(server.target) as client:
        client.insert("words", [int(number) for number in ids], vectors[:, ::2])
    numbers, values = stored(server)
    assert (numbers == ids).all() and (values == vectors[:, ::2]).all()


def stored_vectors(server):
    return np.array([vector for _, vector in server.rows])


def wait_until(done, seconds=10.0):
    """Waits for a condition that another thread makes true."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "nothing came of it"
        time.sleep(0.005)


@pytest.mark.parametrize("forget", [0, 1, 2])
@pytest.mark.parametrize("unacknowledged", [0, 1, 2])
def test_a_broken_connection_loses_and_doubles_nothing(scripted, forget, unacknowledged):
    server = scripted(cut_after=[4, 3, 2], forget=forget, unacknowledged=unacknowledged)
    ids, vectors = rows()
    with Client(server.target) as client:
        result = client.insert("words", ids, vectors)
    numbers, values = stored(server)
    assert (numbers == ids).all() and (values == vectors).all()
    assert result.inserted == ROWS
    assert len(server.opens) == 4 and len(set(server.opens)) == 1, "one session, four connections"


def test_a_resumed_stream_sends_from_where_the_server_wants(scripted):
    server = scripted(cut_after=[6], forget=2, unacknowledged=1)  # 4 is durable, 5 and 6 lost
    ids, vectors = rows()
    with Client(server.target) as client:
        client.insert("words", ids, vectors)
    assert server.seqs == [[1, 2, 3, 4, 5, 6], [5, 6, 7, 8, 9, 10]]


@pytest.mark.parametrize("code", [
    grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.CANCELLED])
def test_what_a_proxy_makes_of_a_broken_connection_is_resumed_too(scripted, code):
    server = scripted(cut_after=[4], cut_code=code)
    ids, vectors = rows()
    with Client(server.target) as client:
        client.insert("words", ids, vectors)
    assert (stored(server)[0] == ids).all()


def test_patience_starts_anew_whenever_something_became_durable(scripted):
    server = scripted(cut_after=[1] * (CHUNKS - 1))  # nine reconnections of a tenth of a second
    ids, vectors = rows()
    with Client(server.target) as client:
        client.insert("words", ids, vectors, retry_seconds=0.4)
    assert (stored(server)[0] == ids).all()


def test_a_server_that_is_loading_is_waited_for(scripted):
    server = scripted(refuse_open=[grpc.StatusCode.UNAVAILABLE] * 2)
    ids, vectors = rows()
    with Client(server.target) as client:
        assert client.insert("words", ids, vectors).inserted == ROWS
    assert len(server.opens) == 3


def test_each_wait_for_the_server_is_twice_as_long_give_or_take_a_fifth(scripted):
    server = scripted(refuse_open=[grpc.StatusCode.UNAVAILABLE] * 4)
    with Client(server.target) as client:
        client.insert("words", *rows())
    for attempt, (before, after) in enumerate(itertools.pairwise(server.open_times)):
        assert after - before >= 0.08 * 2**attempt
    for attempt in (0, 3, 6, 100, 10_000):
        waits = [backoff(attempt) for _ in range(500)]
        middle = min(5.0, 0.1 * 2 ** min(attempt, 50))
        assert 0.8 * middle <= min(waits) < 0.85 * middle
        assert 1.15 * middle < max(waits) <= 1.2 * middle


def test_retrying_ends_when_nothing_becomes_durable_for_long_enough(scripted):
    server = scripted(refuse_open=[None] + [grpc.StatusCode.UNAVAILABLE] * 1000, cut_after=[1],
                      forget=1)
    ids, vectors = rows()
    with Client(server.target) as client:
        with pytest.raises(Unavailable) as caught:
            client.insert("words", ids, vectors, retry_seconds=0.5)
    assert caught.value.reason == "SCRIPTED"


def test_a_refusal_to_open_is_raised_at_once_with_its_reason(scripted):
    server = scripted(refuse_open=[grpc.StatusCode.NOT_FOUND])
    with Client(server.target) as client:
        with pytest.raises(NotFound) as caught:
            client.insert("nowhere", *rows())
    assert caught.value.reason == "SCRIPTED"
    assert caught.value.message == "refused on cue"
    assert len(server.opens) == 1


def test_a_session_taken_over_by_another_stream_is_not_taken_back(scripted):
    server = scripted(refuse_open=[None, grpc.StatusCode.ABORTED], cut_after=[3])
    with Client(server.target) as client:
        with pytest.raises(Aborted):
            client.insert("words", *rows())
    assert len(server.opens) == 2


def test_a_server_that_forgot_acknowledged_chunks_is_data_loss(scripted):
    server = scripted(cut_after=[6], next_seq_lie=2, forget=1)
    with Client(server.target) as client:
        with pytest.raises(DataLoss, match="wants chunk 2 next"):
            client.insert("words", *rows())


def test_a_collection_made_again_meanwhile_gets_none_of_the_old_rows(scripted):
    server = scripted(cut_after=[6], incarnations=[b"a" * 16, b"b" * 16])
    with Client(server.target) as client:
        with pytest.raises(FailedPrecondition, match="deleted and created again") as caught:
            client.insert("words", *rows())
    assert caught.value.reason == "INCARNATION_CHANGED"
    assert server.seqs[1] == []


def test_item_errors_carry_the_index_in_the_callers_arrays(scripted):
    server = scripted()
    ids, vectors = rows()
    ids[[0, 49, 50, 320, 499]] = REFUSED_ID
    with Client(server.target) as client:
        result = client.insert("words", ids, vectors)
    assert [error.index for error in result.errors] == [0, 49, 50, 320, 499]
    assert {(error.id, error.reason) for error in result.errors} == {(13, "ALREADY_EXISTS")}
    assert result.inserted == ROWS - 5
    with pytest.raises(Exception, match="5 points were refused, the first at index 0 with id 13"):
        result.raise_for_errors()


def test_item_errors_count_over_several_adds(scripted):
    server = scripted()
    ids, vectors = rows()
    ids[[70, 130]] = REFUSED_ID
    with Client(server.target) as client, client.insert_stream("words") as stream:
        for begin in range(0, ROWS, 60):
            stream.add(ids[begin:begin + 60], vectors[begin:begin + 60])
        stream.flush()
        assert [error.index for error in stream.errors] == [70, 130]


def test_the_window_stops_a_writer_whose_chunks_are_not_acknowledged(scripted):
    server = scripted(acknowledge=False, credit_bytes=6000)  # three chunks of about 1,750 bytes
    ids, vectors = rows()
    with Client(server.target) as client:
        stream = client.insert_stream("words")
        writer = threading.Thread(target=stream.add, args=(ids, vectors), daemon=True)
        writer.start()
        while stream.progress.added < 150:
            writer.join(0.01)
        writer.join(0.3)
        assert writer.is_alive(), "the writer had to wait"
        assert stream.progress.added == 150
        server.release.set()
        writer.join(10)
        assert not writer.is_alive()
        stream.close()
    assert (stored(server)[0] == ids).all()


def test_a_credit_that_shrinks_narrows_the_window(scripted):
    server = scripted(acknowledged_credit=4000)  # two chunks; Opened grants 8 MiB
    ids, vectors = rows()
    with Client(server.target) as client, client.insert_stream("words") as stream:
        stream.add(ids[:50], vectors[:50])
        stream.flush()  # from here on the smaller credit is known
        server.script.acknowledge = False
        writer = threading.Thread(target=stream.add, args=(ids[50:], vectors[50:]), daemon=True)
        writer.start()
        while stream.progress.added < 150:
            writer.join(0.01)
        writer.join(0.3)
        assert writer.is_alive() and stream.progress.added == 150
        server.release.set()
        writer.join(10)
        assert not writer.is_alive()
    assert (stored(server)[0] == ids).all()


def test_a_resume_sends_no_more_at_once_than_the_new_credit(scripted):
    """The window holds seven chunks when the connection breaks; then two are allowed."""
    server = scripted(cut_after=[8], forget=8, acknowledge=False)
    ids, vectors = rows(350)
    with Client(server.target) as client, client.insert_stream("words") as stream:
        server.script.credit_bytes = server.script.acknowledged_credit = 4000
        stream.add(ids, vectors)
        stream.add(ids[:50] + 1000, vectors[:50])  # the eighth: now it breaks
        wait_until(lambda: stream.resent == 2)
        with pytest.raises(DeadlineExceeded):
            stream.flush(timeout=0.3)  # long enough to send everything
        assert stream.resent == 2
        server.release.set()
        stream.flush()
        assert server.seqs == [list(range(1, 9)), list(range(1, 9))]
        assert stream.resent == 8 and stream.reconnects == 1


def test_what_is_sent_again_is_at_most_the_window(scripted):
    cuts = 6
    server = scripted(cut_after=[4] * cuts, forget=2, credit_bytes=6000,  # three chunks
                      acknowledged_credit=6000)
    ids, vectors = rows(1000)
    with Client(server.target) as client, client.insert_stream("words") as stream:
        stream.add(ids, vectors)
        stream.flush()
        assert stream.reconnects == cuts
        assert 0 < stream.resent <= 3 * cuts
        sent = [seq for seqs in server.seqs for seq in seqs]
        assert len(sent) - len(set(sent)) <= stream.resent
    assert (stored(server)[0] == ids).all()


# ---- drains -------------------------------------------------------------------------------------


def test_a_drained_stream_sends_nothing_waits_and_goes_on(scripted):
    server = scripted(drain_after=[1], retry_after_ms=300)
    ids, vectors = rows()
    with Client(server.target) as client, client.insert_stream("words") as stream:
        stream.add(ids[:50], vectors[:50])
        stream.flush()  # the Drain came before this acknowledgement
        stream.add(ids[50:], vectors[50:])
        with pytest.raises(DeadlineExceeded):
            stream.flush(timeout=0.3)  # long enough to send everything
        assert server.seqs == [[1]], "nothing was sent after the Drain"
        server.release.set()
        stream.flush(timeout=10)
        assert server.seqs == [[1], list(range(2, CHUNKS + 1))]
        assert server.open_times[1] - server.end_times[0] >= 0.3
        assert stream.resent == 0 and stream.reconnects == 1
    assert (stored(server)[0] == ids).all()


def test_drains_without_end_are_no_reason_to_give_up(scripted):
    server = scripted(drain_after=[1] * (CHUNKS - 1))
    server.release.set()
    ids, vectors = rows()
    with Client(server.target) as client:
        assert client.insert("words", ids, vectors, retry_seconds=0.01).inserted == ROWS
    assert len(server.opens) >= 3
    assert (stored(server)[0] == ids).all()


# ---- item errors over a resume ------------------------------------------------------------------


def test_item_errors_that_a_cut_swallowed_are_told_again_and_counted_once(scripted):
    server = scripted(cut_after=[6, 3], unacknowledged=2)
    ids, vectors = rows()
    refused = [10, 60, 210, 260, 299, 300, 449]  # 210 to 299 were never acknowledged
    ids[refused] = REFUSED_ID
    with Client(server.target) as client:
        result = client.insert("words", ids, vectors)
    assert [error.index for error in result.errors] == refused
    assert result.errors_complete and result.inserted == ROWS - len(refused)
    seen = [request.errors_seen_seq for request in server.open_requests]
    assert seen[0] == 0 and 1 <= seen[1] <= 4 and seen[2] > seen[1]
    assert [request.incarnation for request in server.open_requests] == [b"", b"i" * 16, b"i" * 16]


def test_item_errors_that_the_server_forgot_are_admitted_to_be_missing(scripted):
    server = scripted(cut_after=[6], unacknowledged=6, errors_forgotten_seq=5)
    ids, vectors = rows()
    ids[[10, 260]] = REFUSED_ID  # in chunks 1 and 6
    with Client(server.target) as client:
        result = client.insert("words", ids, vectors)
    assert [error.index for error in result.errors] == [260]
    assert not result.errors_complete


def test_another_stream_of_the_session_gets_the_errors_that_the_first_did_not_see(scripted):
    server = scripted()
    ids, vectors = rows(150)
    ids[[5, 55, 105]] = REFUSED_ID
    session = bytes(range(16))
    with Client(server.target) as client:
        with client.insert_stream("words", session_id=session) as stream:
            stream.add(ids[:100], vectors[:100])
        assert stream.errors_seq == 2
        with client.insert_stream("words", session_id=session, errors_seen_seq=1) as stream:
            stream.add(ids[100:], vectors[100:])
            stream.flush()
            assert [(error.index, error.seq, error.place) for error in stream.errors] == [(5, 3, 5)]
            assert [(e.index, e.seq, e.place) for e in stream.earlier_errors] == [(None, 2, 5)]


# ---- keys and deletes ---------------------------------------------------------------------------


def test_keys_and_numbers_arrive_as_what_they_are(scripted):
    server = scripted()
    _, vectors = rows(4)
    with Client(server.target) as client:
        client.insert("words", ["grün", b"\x00\xff", 7, "7"], vectors)
        client.insert("words", np.array(["a", "bc"]), vectors[:2])
    assert [number for number, _ in server.rows] == [
        "grün".encode(), b"\x00\xff", 7, b"7", b"a", b"bc"]
    assert (stored_vectors(server)[:4] == vectors).all()


def test_chunks_with_long_keys_stay_below_the_limit(scripted):
    server = scripted()
    _, vectors = rows(200)
    keys = [f"{number:064d}" for number in range(200)]
    with Client(server.target) as client:
        client.insert("words", keys, vectors)
    assert [number.decode() for number, _ in server.rows] == keys
    # 64 + 16 + 4 * 8 bytes each, where a chunk has room for 50 * (16 + 4 * 8)
    assert server.seqs == [list(range(1, 11))]


def test_deletes_take_their_turn_among_the_rows(scripted):
    server = scripted()
    ids, vectors = rows(100)
    ids[99] = REFUSED_ID
    with Client(server.target) as client, client.insert_stream("words") as stream:
        stream.add(ids[:50], vectors[:50])
        stream.delete([100, "gone", 101])
        stream.add(ids[50:], vectors[50:])
        stream.flush()
        assert server.deleted == [100, b"gone", 101]
        assert stream.progress.added == 103
        assert [error.index for error in stream.errors] == [102], "deletes count"


@pytest.mark.parametrize("mode, value", [("insert", 1), ("upsert", 2), ("update", 3)])
def test_a_streams_mode_is_told_when_it_opens(scripted, mode, value):
    server = scripted()
    with Client(server.target) as client:
        client.insert("words", *rows(), mode=mode)
        with pytest.raises(InvalidArgument, match="mode is 'replace'"):
            client.insert("words", *rows(), mode="replace")
    assert [request.mode for request in server.open_requests] == [value]


@pytest.mark.parametrize("ttl", [0, -1, 1.5, 2**32, True, "1"])
def test_a_time_to_live_that_is_none_is_refused(scripted, ttl):
    server = scripted()
    with Client(server.target) as client:
        with pytest.raises(InvalidArgument, match="ttl is"):
            client.insert("words", *rows(), ttl=ttl)
    assert server.opens == []


def test_progress_only_grows_and_ends_at_the_total(scripted):
    server = scripted(cut_after=[4])
    seen = []
    with Client(server.target) as client:
        client.insert("words", *rows(), progress=seen.append)
    for earlier, later in itertools.pairwise(seen):
        assert earlier.added <= later.added
        assert earlier.durable <= later.durable
        assert earlier.searchable <= later.searchable
    last = seen[-1]
    assert (last.added, last.durable, last.searchable, last.total) == (ROWS, ROWS, ROWS, ROWS)


def test_a_flush_that_takes_too_long_leaves_the_stream_usable(scripted):
    server = scripted(acknowledge=False)
    ids, vectors = rows(50)
    with Client(server.target) as client, client.insert_stream("words") as stream:
        stream.add(ids, vectors)
        with pytest.raises(DeadlineExceeded):
            stream.flush(timeout=0.1)
        server.release.set()
        stream.flush(timeout=10)
        assert stream.progress.durable == 50


def test_a_session_goes_on_in_another_stream(scripted):
    server = scripted()
    ids, vectors = rows()
    session = bytes(range(16))
    with Client(server.target) as client:
        with client.insert_stream("words", session_id=session) as stream:
            stream.add(ids[:100], vectors[:100])
        with client.insert_stream("words", session_id=session) as stream:
            assert stream.next_seq == 3
            stream.add(ids[100:], vectors[100:])
    assert (stored(server)[0] == ids).all()


def test_a_stream_left_by_an_exception_does_not_wait_for_the_server(scripted):
    server = scripted(acknowledge=False)
    with Client(server.target) as client:
        with pytest.raises(ZeroDivisionError):
            with client.insert_stream("words") as stream:
                stream.add(*rows(50))
                raise ZeroDivisionError
        with pytest.raises(FailedPrecondition):
            stream.add(*rows(50))


@pytest.mark.parametrize("ids, vectors, message", [
    ([1], np.zeros(8), r"vectors has shape \(8,\)"),
    ([1, 2], np.zeros((1, 8)), r"ids has shape \(2,\), wanted \[1\]"),
    ([-5], np.zeros((1, 8)), "ids has -5"),
    ([1.5], np.zeros((1, 8)), "ids has type float64"),
    ([2**64], np.zeros((1, 8)), "ids has 18446744073709551616"),
    (["a", -1], np.zeros((1, 8)), "ids has -1"),
    (["a", 1.5], np.zeros((1, 8)), "ids has 1.5"),
    ([True, "a"], np.zeros((1, 8)), "ids has True"),
    ("ab", np.zeros((2, 8)), "ids is 'ab'"),
    ([[1]], np.zeros((1, 8)), r"ids has shape \(1, 1\)"),
    ([1], np.array([["x"] * 8]), "vectors has type"),
    ([1], np.zeros((1, 9)), "vectors have 9 components, collection 'words' has 8"),
])
def test_arrays_that_cannot_be_rows_are_refused_before_anything_is_sent(
        scripted, ids, vectors, message):
    server = scripted()
    with Client(server.target) as client:
        with pytest.raises(InvalidArgument, match=message):
            client.insert("words", ids, vectors)
    assert server.rows == []


def test_an_address_without_a_server_is_unavailable():
    with Client("127.0.0.1:1") as client:
        with pytest.raises(Unavailable):
            client.insert("words", *rows(), retry_seconds=0.3)
        with pytest.raises(Unavailable):
            client.health()


def test_many_queries_are_cut_into_requests_and_joined_in_order(scripted):
    server = scripted()
    ids, vectors = rows(2500)
    with Client(server.target) as client:
        client.insert("words", ids, vectors)
        result = client.search("words", vectors, k=3)
    assert sorted(server.search_sizes) == [452, 1024, 1024]
    assert (result.ids[:, 0] == ids).all()
    assert result.ids.dtype == np.uint64 and result.distances.dtype == np.float32
    assert (result.distances[:, 0] == 0).all()
    assert result.server_seconds == pytest.approx(0.003)
    assert result.exact.all() and (result.visited == 2500).all()


def test_missing_hits_are_padded_and_counted(scripted):
    server = scripted()
    ids, vectors = rows(2)
    with Client(server.target) as client:
        client.insert("words", ids, vectors)
        result = client.search("words", vectors[0], k=4)
    assert result.ids.tolist() == [[100, 101, 2**64 - 1, 2**64 - 1]]
    assert np.isinf(result.distances[0, 2:]).all()
    assert result.counts.tolist() == [2] and result.shortfall.tolist() == [1]


def test_a_failing_batch_fails_the_search_with_the_servers_words(scripted):
    server = scripted()
    with Client(server.target) as client:
        with pytest.raises(InvalidArgument) as caught:
            client.search("words", np.zeros((3000, 5)))
    assert caught.value.reason == "DIMENSION_MISMATCH"
    assert caught.value.message == "columns.dim is 5, wanted 8"


def test_a_stream_that_ends_well_too_early_is_not_believed(scripted):
    # The last chunk gets lost, but the connection ends as if all were well.
    server = scripted(cut_after=[CHUNKS + 1], forget=2)
    ids, vectors = rows()
    with Client(server.target) as client:
        client.insert("words", ids, vectors)
    assert (stored(server)[0] == ids).all()

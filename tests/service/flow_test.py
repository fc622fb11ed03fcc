"""Slow, silent and vanishing clients: none of them may hurt another, or fill the memory."""
import itertools
import threading

import grpc
import numpy as np
from calls import TIMEOUT_S, Api, chunk_message, columns, open_message, point, refusal_of
from omendb.v1 import collection_pb2 as c
from omendb.v1 import vector_pb2 as v


# A receive window that stays at 64 KiB, so that what a client does not read stays with the server.
SMALL_WINDOW = [("grpc.http2.bdp_probe", 0)]


def stuff_with_errors(api, name, chunks=40):
    """A stream that is owed megabytes of item errors and reads nothing."""
    stream = api.insert(open_message(name))
    stream.read_opened()
    for seq in range(1, chunks + 1):
        stream.send(chunk_message(seq, [point(seq, 1)] * 1000))
    position = 0
    while position < chunks:  # a record for each chunk
        info = api.collections.GetCollection(c.GetCollectionRequest(name=name), timeout=TIMEOUT_S)
        position = info.collection.searchable_position
    return stream


def test_a_client_that_never_reads_holds_up_nobody(shared_server, api):
    name = api.create()
    with Api(shared_server.target, SMALL_WINDOW) as silent:
        stuck = stuff_with_errors(silent, name)
        for seq in range(1, 11):
            api.fill(name, {seq: (seq, seq)})
            assert api.ids(name, seq, seq, k=1) == [seq]
        acks = stuck.finish()
    assert sum(len(ack.errors) for ack in acks) == 40_000
    assert acks[-1].searchable_seq == 40


def test_a_client_is_read_no_faster_than_its_points_become_searchable(start_server):
    """Offers much more than the stream's credit: what was taken and is not searchable stays
    within it, give or take what the transport holds."""
    server = start_server("--ingest-threads", "1")
    dim, rows, chunks = 1024, 110, 480
    rng = np.random.default_rng(5)
    pulled = 0
    searchable = 0
    ahead_max = 0

    def messages(name):
        nonlocal pulled, ahead_max
        yield open_message(name).SerializeToString()
        for seq in range(1, chunks + 1):
            ids = range(seq * rows, (seq + 1) * rows)
            data = rng.random((rows, dim), dtype=np.float32).tobytes()
            message = chunk_message(seq, columns=columns(dim, ids, data)).SerializeToString()
            pulled += 1
            ahead_max = max(ahead_max, pulled - searchable)
            yield message

    with Api(server.target) as api:
        name = api.create(dim=dim)
        call = api._insert(messages(name), timeout=TIMEOUT_S * 2)
        opened = next(call).opened
        for response in call:
            searchable = response.ack.searchable_seq
        assert call.code() == grpc.StatusCode.OK
    chunk_bytes = rows * dim * 4
    transport_bytes = 16 << 20  # both ends' flow-control windows and the client's queue
    unheard_bytes = 3 * (16 << 20)  # epochs that were published, but whose Ack is not read yet
    bound = opened.credit_bytes + chunk_bytes + transport_bytes + unheard_bytes
    assert searchable == chunks
    assert ahead_max * chunk_bytes < bound
    assert chunks * chunk_bytes > 2 * bound


def test_a_cancelled_stream_keeps_what_was_durable(api):
    name = api.create()
    stream = api.insert(open_message(name), chunk_message(1, [point(1, 1, 1)]))
    stream.read_opened()
    stream.read_until(lambda ack: ack.searchable_seq == 1)
    stream.call.cancel()
    assert api.ids(name, 1, 1) == [1]


def test_streams_cancelled_at_any_moment_leave_the_server_well(api):
    name = api.create()
    for sent in itertools.islice(itertools.cycle(range(5)), 60):
        stream = api.insert(open_message(name))
        for seq in range(1, sent + 1):
            stream.send(chunk_message(seq, [point(seq, 1, 1)] * 50))
        stream.call.cancel()
    api.fill(name, {1000: (7, 7)})
    assert api.ids(name, 7, 7, k=1) == [1000]


def test_a_cut_connection_ends_its_streams_and_frees_the_session(shared_server, api):
    name = api.create()
    session = b"cut-connection-1"
    with Api(shared_server.target) as other:
        stream = other.insert(open_message(name, session), chunk_message(1, [point(1, 1, 1)]))
        stream.read_opened()
        stream.read_until(lambda ack: ack.durable_seq == 1)
    again = api.insert(open_message(name, session))
    assert again.read_opened().next_seq == 2
    again.finish()


def test_a_search_past_its_deadline_is_given_up_and_the_next_one_served(api):
    rows = np.random.default_rng(9).standard_normal((4000, 256), dtype=np.float32)
    name = api.create(dim=256)
    stream = api.insert(open_message(name))
    stream.read_opened()
    for seq, start in enumerate(range(0, 4000, 400), start=1):
        stream.send(chunk_message(seq, columns=columns(
            256, range(start, start + 400), rows[start:start + 400].tobytes())))
    stream.finish()
    request = v.SearchRequest(collection=name, options=v.SearchOptions(k=1000, exact=True))
    request.columns.dim = 256
    request.columns.vectors_f32_le = rows[:1024].tobytes()
    refusal = refusal_of(lambda: api.vectors.Search(request, timeout=0.001))
    assert refusal.code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert api.ids(name, *rows[17].tolist(), k=1, exact=True) == [17]


def test_searches_and_inserts_run_side_by_side(api):
    """Readers see points only whole, and never an id that was not inserted yet."""
    name = api.create(dim=8)
    api.fill(name, {0: [0.5] * 8})
    stop = threading.Event()
    problems = []

    def search():
        while not stop.is_set():
            for hit in api.search(name, [0.0] * 8, k=50).results[0].hits:
                expected = 8 * (hit.id.num + 0.5) ** 2
                if abs(hit.distance - expected) > expected * 1e-3:
                    problems.append((hit.id.num, hit.distance))

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    stream = api.insert(open_message(name))
    stream.read_opened()
    for seq in range(1, 101):
        stream.send(chunk_message(seq, [point(seq * 20 + i, *[seq * 20 + i + 0.5] * 8)
                                        for i in range(20)]))
    stream.finish()
    stop.set()
    for thread in threads:
        thread.join()
    assert not problems
    info = api.collections.GetCollection(c.GetCollectionRequest(name=name), timeout=TIMEOUT_S)
    assert info.collection.points == 2001

"""Streams over connections that break, servers that die, and clients that behave badly."""
import threading

import numpy as np
import pytest
from conftest import validate
from omendb_client import Aborted, Client
from omendb_client._proto import vector_pb2 as messages
from proxy import Proxy

DIM = 32
ROWS = 100_000
PIECE = 500  # rows of one chunk
CUTS, KILLS = 20, 5
WINDOW_BYTES = 1 << 20
CHUNK_BYTES_MIN = PIECE * 4 * DIM  # on the wire; ids and tags come on top
WINDOW_CHUNKS = WINDOW_BYTES // CHUNK_BYTES_MIN


@pytest.fixture
def proxy_to():
    """proxy_to(server, cuts) starts a proxy."""
    running = []

    def start(server, cuts=None):
        running.append(Proxy(server.port, cuts))
        return running[-1]

    yield start
    for proxy in running:
        proxy.close()


def check_contents(client, collection, expected):
    """`expected` has a row of NaN where nothing may be."""
    got = client.get(collection, np.arange(len(expected)))
    there = ~np.isnan(expected[:, 0])
    assert (got.found == there).all(), f"{(got.found != there).sum()} ids are wrong"
    assert (got.vectors[there] == expected[there]).all()
    assert client.get_collection(collection).points == there.sum()


def test_twenty_cuts_and_five_kills_leave_exactly_the_right_contents(server, proxy_to):
    random = np.random.default_rng(21)
    rows = random.standard_normal((ROWS, DIM), dtype=np.float32)
    expected = rows.copy()
    proxy = proxy_to(server, random.integers(100_000, 700_000, CUTS).tolist())
    kill_at = set(np.linspace(10, ROWS // PIECE - 10, KILLS).astype(int).tolist())
    with Client(server.target) as client, Client(proxy.target) as cut_client:
        client.create_collection("cut", dim=DIM, metric="l2")
        with cut_client.insert_stream("cut", mode="upsert", window_bytes=WINDOW_BYTES) as stream:
            for piece in range(ROWS // PIECE):
                ids = np.arange(piece * PIECE, (piece + 1) * PIECE)
                stream.add(ids, rows[ids])
                # Whoever applied these twice, or in another order, would end with other contents.
                gone, new = random.choice(ids[-1] + 1, (2, 30), replace=False)
                stream.delete(gone)
                expected[gone] = np.nan
                expected[new] = random.standard_normal((30, DIM), dtype=np.float32)
                stream.add(new, expected[new])
                if piece in kill_at:
                    server.kill()
                    server.start()
            stream.flush(timeout=120)
            assert proxy.cut_count == CUTS
            assert stream.reconnects >= CUTS
            assert stream.errors == [] and stream.errors_complete
            # A window: chunks of 500 rows with those of 30 rows and 30 deletes between them.
            bound = 3 * (WINDOW_CHUNKS + 1) * (CUTS + KILLS)
            print(f"\n{stream.reconnects} reconnects, {stream.resent} chunks sent again, at most"
                  f" {bound} may be")
            assert 0 < stream.resent <= bound
        check_contents(client, "cut", expected)
        validate(client, "cut")


def test_a_half_open_stream_is_taken_over_by_the_next_of_its_session(server, proxy_to):
    rows = np.random.default_rng(22).standard_normal((400, DIM), dtype=np.float32)
    proxy = proxy_to(server)
    session = bytes(range(16))
    with Client(server.target) as client, Client(proxy.target) as cut_off:
        client.create_collection("taken", dim=DIM, metric="l2")
        old = cut_off.insert_stream("taken", session_id=session)
        old.add(np.arange(100), rows[:100])
        old.flush(timeout=30)
        proxy.freeze()
        old.add(np.arange(100, 200), -rows[100:200])  # gets stuck on its way
        with client.insert_stream("taken", session_id=session) as new:
            assert new.next_seq == 2
            new.add(np.arange(100, 400), rows[100:])
            new.flush(timeout=30)
            proxy.thaw()  # only now the old chunk, with the same number, arrives
            with pytest.raises(Aborted) as caught:
                old.flush(timeout=30)
            assert caught.value.reason == "SESSION_TAKEN"
        check_contents(client, "taken", rows)


def test_a_client_that_never_reads_its_answers_harms_nobody(server):
    """It sends as long as it is read, asks for an Ack each time, and takes none of them."""
    chunks = 2000
    rows = np.random.default_rng(23).standard_normal((5000, DIM), dtype=np.float32)
    sent = threading.Semaphore(0)
    hang_up = threading.Event()

    def requests():
        yield messages.InsertRequest(open=messages.Open(
            collection="deaf", mode=messages.WRITE_MODE_UPSERT)).SerializeToString()
        for seq in range(1, chunks + 1):
            request = messages.InsertRequest()
            request.chunk.seq = seq
            request.chunk.columns.dim = DIM
            request.chunk.columns.ids.extend(range(10))
            request.chunk.columns.vectors_f32_le = rows[:10].tobytes()
            yield request.SerializeToString()
            yield messages.InsertRequest(flush=messages.Flush()).SerializeToString()
            sent.release()
        hang_up.wait()

    with Client(server.target) as client, Client(server.target) as deaf:
        client.create_collection("deaf", dim=DIM, metric="l2")
        call = deaf._wire.insert(requests())
        for _ in range(chunks // 10):
            assert sent.acquire(timeout=30), "the server has stopped reading too soon"
        before = server.resident_bytes()
        for round_ in range(5):
            client.insert("deaf", np.arange(100, 5100), rows, mode="upsert")
            found = client.search("deaf", rows[:50], k=1)
            assert (found.distances[:, 0] == 0).all()
            while sent.acquire(timeout=0.01):
                pass  # whatever else it could send
        assert server.resident_bytes() - before < 64 << 20
        hang_up.set()
        call.cancel()
        check_contents(client, "deaf", np.concatenate(
            [rows[:10], np.full((90, DIM), np.nan, np.float32), rows]))
    assert server.stop() == 0

"""Insert streams: modes, deletes, credit, heartbeats, drains, and errors that survive a resume."""
import itertools
import os
import threading

import grpc
from calls import (TIMEOUT_S, Api, as_id, chunk_message, columns, f32, flush_message, id_of,
                   open_message, point, refusal_of)
from flow_test import SMALL_WINDOW, stuff_with_errors
from http_calls import Http, metrics
from omendb.v1 import collection_pb2 as c
from omendb.v1 import vector_pb2 as v

MIB = 2**20


def run(api, name, *chunks, **fields):
    """All item errors of a stream of these messages."""
    stream = api.insert(open_message(name, **fields), *chunks)
    stream.read_opened()
    return [error for ack in stream.finish() for error in ack.errors]


# ---- what a chunk does --------------------------------------------------------------------------


def test_deletes_of_a_chunk_come_after_its_points(api):
    name = api.create()
    api.fill(name, {1: (1, 1), 2: (2, 2)})
    errors = run(api, name, chunk_message(
        1, [point(3, 3, 3), point(b"k", 4, 4)], columns(2, [5], f32(5, 5)),
        deletes=[1, 3, b"k", 9]),
        chunk_message(2, [point(1, 6, 6)]), mode=v.WRITE_MODE_UPSERT)
    assert not errors
    assert api.rows(name, 1, 2, 3, 5) == [(6, 6), (2, 2), None, (5, 5)]
    assert sorted(api.ids(name, 0, 0)) == [1, 2, 5]


def test_items_are_counted_by_kind_and_not_by_their_place_in_the_message(api):
    """Deletes first, then columns, then points, as protobuf allows: the same chunk."""
    def field(number, message):
        payload = message.SerializeToString()
        return bytes([number << 3 | 2, len(payload)]) + payload

    name = api.create()
    api.fill(name, {1: (1, 1)})
    body = (field(4, v.PointId()) + field(4, as_id(7)) + field(3, columns(3, [20], bytes(12))) +
            field(2, point(7, 1, 1)) + field(2, point(8, 1)) + b"\x08\x01")
    message = bytes([2 << 3 | 2, len(body)]) + body
    errors = run(api, name, message, mode=v.WRITE_MODE_UPSERT)
    assert [(e.index, id_of(e.id), e.reason) for e in errors] == [
        (1, 8, "DIMENSION_MISMATCH"), (2, 20, "DIMENSION_MISMATCH"), (3, None, "ID_MISSING")]
    assert api.ids(name, 1, 1) == [1]


def test_a_stream_of_each_mode_does_what_its_mode_says(api):
    name = api.create()
    api.fill(name, {1: (1, 1)})
    assert not run(api, name, chunk_message(1, [point(1, 2, 2), point(2, 2, 2), point(2, 3, 3)]),
                   mode=v.WRITE_MODE_UPSERT)
    assert api.rows(name, 1, 2) == [(2, 2), (3, 3)]
    errors = run(api, name, chunk_message(1, [point(1, 4, 4), point(9, 4, 4)]),
                 mode=v.WRITE_MODE_UPDATE_ONLY)
    assert [(e.seq, e.index, e.reason) for e in errors] == [(1, 1, "POINT_NOT_FOUND")]
    errors = run(api, name, chunk_message(1, [point(1, 5, 5), point(10, 5, 5)]))
    assert [(e.seq, e.index, e.reason) for e in errors] == [(1, 0, "ALREADY_EXISTS")]
    assert api.rows(name, 1, 2, 9, 10) == [(4, 4), (3, 3), None, (5, 5)]


def test_points_of_a_stream_expire_too(api):
    name = api.create()
    run(api, name, chunk_message(1, [point(1, 1, 1, ttl_s=1)], v.PointColumns(
        dim=2, ids=[2], vectors_f32_le=f32(2, 2), ttl_s=1)), chunk_message(2, [point(3, 3, 3)]))
    while api.ids(name, 0, 0) != [3]:
        pass


def test_a_chunk_of_deletes_alone_has_its_own_limit(api):
    name = api.create()
    stream = api.insert(open_message(name), chunk_message(1, deletes=range(20_000)))
    stream.read_opened()
    assert stream.finish()[-1].searchable_seq == 1
    refusal = api.insert(open_message(name), chunk_message(1, deletes=range(65_000))).refusal()
    assert refusal.reason == "TOO_LARGE" and "65000 deletes" in refusal.sentence
    assert str(480 << 10) in refusal.sentence


# ---- errors after a resume ----------------------------------------------------------------------


def test_errors_that_a_client_has_not_seen_are_told_again_after_a_resume(api):
    name = api.create()
    session = os.urandom(16)
    stream = api.insert(open_message(name, session))
    opened = stream.read_opened()
    assert opened.errors_from_seq == 1
    stream.send(chunk_message(1, [point(1, 1)]), chunk_message(2, [point(2, 2, 2)]),
                chunk_message(3, [point(b"k", 3)]))
    stream.read_until(lambda ack: ack.errors_complete_seq == 3)
    stream.call.cancel()
    for seen, wanted in ((0, [1, 3]), (1, [3]), (3, [])):
        again = api.insert(open_message(name, session, errors_seen_seq=seen))
        opened = again.read_opened()
        assert opened.next_seq == 4 and opened.errors_from_seq <= seen + 1 or not wanted
        acks = again.finish()
        errors = [error for ack in acks for error in ack.errors]
        assert [error.seq for error in errors] == wanted
        assert acks[-1].errors_complete_seq == 3


def test_a_resumed_stream_tells_old_errors_before_anything_new_is_sent(start_server):
    with Api(start_server("--heartbeat-seconds", "3600").target) as api:
        name = api.create()
        session = os.urandom(16)
        stream = api.insert(open_message(name, session), chunk_message(1, [point(1, 1)]))
        stream.read_opened()
        stream.read_until(lambda ack: ack.searchable_seq == 1)
        stream.call.cancel()
        again = api.insert(open_message(name, session), timeout=20)
        again.read_opened()
        assert [error.seq for error in again.read_ack().errors] == [1]
        again.finish()


# ---- credit, heartbeats -------------------------------------------------------------------------


def test_credit_starts_at_eight_mib_and_grows_for_a_stream_that_is_alone(server):
    with Api(server.target) as api:
        name = api.create()
        stream = api.insert(open_message(name))
        assert stream.read_opened().credit_bytes == 8 * MIB
        stream.send(chunk_message(1, [point(1, 1, 1)]))
        assert stream.read_ack().credit_bytes == 32 * MIB
        stream.finish()


def test_credit_is_shared_and_never_below_one_mib(start_server):
    server = start_server("--ingest-memory-mib", "16")
    with Api(server.target) as api:
        name = api.create()
        streams, credits = [], []
        for _ in range(44):
            streams.append(api.insert(open_message(name)))
            credits.append(streams[-1].read_opened().credit_bytes)
        assert credits[0] == 8 * MIB and credits[3] == 4 * MIB
        assert sorted(credits, reverse=True) == credits and credits[-1] == MIB
        streams[0].send(chunk_message(1, [point(1, 1, 1)]))
        assert streams[0].read_ack().credit_bytes == MIB
        for stream in streams:
            stream.finish()


def test_a_silent_stream_gets_an_ack_now_and_then(start_server):
    server = start_server("--heartbeat-seconds", "1")
    with Api(server.target) as api:
        stream = api.insert(open_message(api.create()))
        stream.read_opened()
        for _ in range(2):
            ack = stream.read_ack()
            assert ack.received_seq == 0 and ack.credit_bytes >= MIB
        stream.finish()


def test_a_flush_is_answered_though_nothing_moved(api):
    stream = api.insert(open_message(api.create()))
    stream.read_opened()
    for _ in range(3):
        stream.send(flush_message())
        assert stream.read_ack().searchable_seq == 0
    stream.finish()


# ---- drains -------------------------------------------------------------------------------------


def read_to_the_end(stream):
    """Drains and Acks up to the end, whose refusal comes last."""
    answers = []
    try:
        for response in stream.call:
            answers.append(response)
    except grpc.RpcError:
        pass
    drains = [response.drain for response in answers if response.HasField("drain")]
    acks = [response.ack for response in answers if response.HasField("ack")]
    return drains, acks


def test_sigterm_drains_a_stream_and_every_chunk_that_was_taken_is_kept(start_server):
    server = start_server(directory="kept")
    session = os.urandom(16)
    with Api(server.target) as api:
        name = api.create(name="drained")
        stream = api.insert(open_message(name, session))
        stream.read_opened()
        stop = threading.Event()

        def send():
            for seq in itertools.takewhile(lambda _: not stop.is_set(), itertools.count(1)):
                stream.send(chunk_message(seq, [point(seq, seq, 1)]))
                stop.wait(0.001)

        sender = threading.Thread(target=send)
        sender.start()
        stream.read_until(lambda ack: ack.searchable_seq >= 20)
        server.terminate()
        drains, acks = read_to_the_end(stream)
        stop.set()
        sender.join()
        assert stream.call.code() == grpc.StatusCode.UNAVAILABLE
        assert "resume" in stream.call.details()
        assert server.wait() == 0
    [drain] = drains
    assert drain.reason == v.DRAIN_REASON_SHUTDOWN and drain.retry_after_ms > 0
    assert acks[-1].received_seq == acks[-1].searchable_seq == drain.received_seq >= 20
    with Api(start_server(directory="kept").target) as api:
        again = api.insert(open_message(name, session))
        assert again.read_opened().next_seq == drain.received_seq + 1
        again.finish()
        assert len(api.ids(name, 0, 0, k=10_000)) == drain.received_seq


def test_an_old_stream_is_asked_to_open_again_while_the_server_goes_on(start_server):
    server = start_server("--stream-max-age-seconds", "1")
    session = os.urandom(16)
    with Api(server.target) as api, Http(server.http_port) as http:
        name = api.create()
        stream = api.insert(open_message(name, session), chunk_message(1, [point(1, 1, 1)]))
        stream.read_opened()
        drains, acks = read_to_the_end(stream)
        assert stream.call.code() == grpc.StatusCode.UNAVAILABLE
        assert [(one.reason, one.received_seq) for one in drains] == [(v.DRAIN_REASON_MAX_AGE, 1)]
        assert acks[-1].searchable_seq == 1
        again = api.insert(open_message(name, session))
        assert again.read_opened().next_seq == 2
        again.send(chunk_message(2, [point(2, 2, 2)]))
        assert again.finish()[-1].searchable_seq == 2
        assert metrics(http)["omendb_insert_drains_total"] == 1
        assert api.ids(name, 1, 1) == [1, 2]


def test_a_stream_never_outlives_its_connection(start_server):
    """Its age is below that of connections, whatever the settings say."""
    server = start_server("--max-connection-age-seconds", "2", "--stream-max-age-seconds", "0")
    with Api(server.target) as api:
        stream = api.insert(open_message(api.create()))
        stream.read_opened()
        drains, _ = read_to_the_end(stream)
        assert [one.reason for one in drains] == [v.DRAIN_REASON_MAX_AGE]


def test_a_stream_without_open_ends_with_its_age_too(start_server):
    server = start_server("--stream-max-age-seconds", "1")
    with Api(server.target) as api:
        refusal = api.insert().refusal()
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")


def test_a_half_closed_stream_ends_well_during_a_drain(start_server):
    server = start_server("--ingest-threads", "1")
    with Api(server.target) as api:
        name = api.create(dim=256, candidates=256, probes=64)
        stream = api.insert(open_message(name))
        stream.read_opened()
        for seq in range(1, 21):
            ids = range(seq * 400, seq * 400 + 400)
            stream.send(chunk_message(seq, columns=columns(256, ids, os.urandom(1) * 409600)))
        stream.half_close()
        stream.read_until(lambda ack: ack.received_seq == 20)
        # An answer on the same connection: the server has read the half-close, which went before.
        api.collections.ListCollections(c.ListCollectionsRequest(), timeout=TIMEOUT_S)
        server.terminate()
        _, acks = read_to_the_end(stream)
        assert stream.call.code() == grpc.StatusCode.OK
        assert server.wait() == 0


def test_writes_during_a_drain_are_refused_and_reads_go_on(start_server):
    """A client that reads nothing keeps the drain going until its seconds are over."""
    server = start_server("--drain-seconds", "3")
    with Api(server.target, SMALL_WINDOW) as silent, Api(server.target) as api, \
            Http(server.http_port) as http:
        name = api.create()
        api.upsert(name, point(b"k", 1, 1))
        stuck = stuff_with_errors(silent, name)
        server.terminate()
        while http.get("/readyz").status == 200:
            pass
        for refusal in (refusal_of(lambda: api.upsert(name, point(1, 1, 1))),
                        refusal_of(lambda: api.delete(name, b"k"))):
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
        answer = http.post(f"/v1/collections/{name}/delete", {"ids": ["k"]})
        assert (answer.status, answer.error["reason"]) == (503, "DRAINING")
        assert api.rows(name, b"k") == [(1, 1)] and api.ids(name, 1, 1, k=1) == [b"k"]
        assert server.wait() == 0
        assert stuck.refusal().code == grpc.StatusCode.UNAVAILABLE

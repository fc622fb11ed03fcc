"""VectorService.Insert: streams, acks, sessions."""
import os
import random

import grpc
import numpy as np
from calls import (Api, chunk_message, columns, f32, flush_message, open_message, point)
from omendb.v1 import vector_pb2 as v


def test_a_stream_is_answered_opened_then_acks_then_ok(api):
    name = api.create()
    stream = api.insert(open_message(name))
    opened = stream.read_opened()
    assert (opened.next_seq, opened.dim, opened.max_chunk_bytes) == (1, 2, 480 << 10)
    assert len(opened.session_id) == 16 and any(opened.session_id)
    assert opened.credit_bytes > opened.max_chunk_bytes and len(opened.incarnation) == 16
    stream.send(chunk_message(1, [point(1, 1, 2)]), chunk_message(2, [point(2, 3, 4)]))
    last = stream.finish()[-1]
    assert (last.received_seq, last.durable_seq, last.searchable_seq) == (2, 2, 2)
    assert last.errors_complete_seq == 2 and last.log_position > 0


def test_an_acknowledged_point_is_found_by_the_next_search(api):
    name = api.create()
    stream = api.insert(open_message(name))
    stream.read_opened()
    for seq in range(1, 21):
        stream.send(chunk_message(seq, [point(seq, seq, -seq)]))
        stream.read_until(lambda ack: ack.searchable_seq >= seq)
        assert api.ids(name, seq, -seq, k=1) == [seq]
    stream.finish()


def test_watermarks_never_fall_and_searchable_never_passes_durable(api):
    name = api.create()
    stream = api.insert(open_message(name))
    stream.read_opened()
    for seq in range(1, 201):
        stream.send(chunk_message(seq, [point(seq * 10 + i, seq, i) for i in range(5)]))
    acks = stream.finish()
    for before, after in zip(acks, acks[1:]):
        assert before.durable_seq <= after.durable_seq
        assert before.searchable_seq <= after.searchable_seq
        assert before.errors_complete_seq <= after.errors_complete_seq
    assert all(ack.searchable_seq <= ack.durable_seq <= ack.received_seq for ack in acks)
    assert acks[-1].searchable_seq == 200


def test_a_stream_without_chunks_ends_well(api):
    stream = api.insert(open_message(api.create()))
    stream.read_opened()
    assert stream.finish()[-1].received_seq == 0


def test_flush_is_answered_even_when_nothing_moved(api):
    stream = api.insert(open_message(api.create()))
    stream.read_opened()
    for _ in range(3):
        stream.send(flush_message())
        assert stream.read_ack().received_seq == 0
    stream.finish()


def test_an_empty_chunk_is_acknowledged(api):
    stream = api.insert(open_message(api.create()), chunk_message(1))
    stream.read_opened()
    assert stream.finish()[-1].durable_seq == 1


def test_every_way_to_write_points_gives_the_same(api):
    """Bytes, packed and unpacked floats, columns in two blocks, with ids packed and one by one."""
    name = api.create()

    def field(number, payload):
        return bytes([number << 3 | 2, len(payload)]) + payload

    def point_bytes(num, float_vector):
        vector = v.Vector.FromString(field(2, float_vector))
        assert len(vector.floats.values) == 2
        return field(1, bytes([8, num])) + field(2, field(2, float_vector))

    chunk = v.Chunk(seq=1, points=[
        point(1, 1, 0),
        v.Point(id=v.PointId(num=2), vector=v.Vector(floats=v.FloatVector(values=[2, 0])))])
    raw = chunk.SerializeToString()
    raw += field(2, point_bytes(3, b"\x0d" + f32(3) + b"\x0d" + f32(0)))
    raw += field(2, point_bytes(4, field(1, f32(4)) + field(1, f32(0))))
    raw += field(3, columns(2, [5, 6], f32(5, 0, 6, 0)).SerializeToString())
    backwards = field(3, f32(7, 0)) + bytes([2 << 3, 7]) + bytes([1 << 3, 2])
    raw += field(3, backwards)
    message = bytes([2 << 3 | 2, 0x80 | len(raw) % 128, len(raw) // 128]) + raw
    stream = api.insert(open_message(name), message)
    stream.read_opened()
    assert not [error for ack in stream.finish() for error in ack.errors]
    for num in range(1, 8):
        hit = api.search(name, (num, 0), k=1).results[0].hits[0]
        assert (hit.id.num, hit.distance) == (num, 0)


def test_unknown_fields_are_skipped(api):
    """A newer client's additions, in every message on the way to a vector."""
    name = api.create()
    extra = bytes([15 << 3 | 2, 3]) + b"abc" + bytes([14 << 3, 1])

    def grown(message, number):
        payload = message.SerializeToString() + extra
        return bytes([number << 3 | 2, len(payload)]) + payload

    vector = grown(v.Vector(f32_le=f32(5, 6)), 2)
    identity = grown(v.PointId(num=9), 1)
    body = identity + vector + extra
    chunk = bytes([8, 1]) + bytes([2 << 3 | 2, len(body)]) + body + extra
    message = bytes([2 << 3 | 2, len(chunk)]) + chunk + extra
    stream = api.insert(open_message(name), message)
    stream.read_opened()
    stream.finish()
    assert api.ids(name, 5, 6, k=1) == [9]


def test_one_chunk_of_the_largest_size_goes_in(api):
    rows = np.random.default_rng(3).standard_normal((300, 384), dtype=np.float32)
    name = api.create(dim=384)
    stream = api.insert(open_message(name),
                        chunk_message(1, columns=columns(384, range(300), rows.tobytes())))
    stream.read_opened()
    assert stream.finish()[-1].searchable_seq == 1
    assert api.ids(name, *rows[299].tolist(), k=1, exact=True) == [299]


# ---- item errors ----------------------------------------------------------------------------


def errors_of(api, name, *points, cols=None):
    stream = api.insert(open_message(name), chunk_message(1, points, cols))
    stream.read_opened()
    return [error for ack in stream.finish() for error in ack.errors]


def test_a_bad_point_is_an_item_error_and_the_good_ones_go_in(api):
    name = api.create()
    errors = errors_of(api, name, point(1, 1, 1), point(2, 1, 1, 1), point(3, 2, 2),
                       point(4, float("nan"), 0), v.Point(vector=v.Vector(f32_le=f32(1, 1))),
                       v.Point(id=v.PointId(key=b"k"), vector=v.Vector(f32_le=f32(1, 1))),
                       point(7), v.Point(id=v.PointId(num=8)), point(9, 3, 3))
    found = {error.index: (error.code, error.reason) for error in errors}
    invalid = grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert found[1] == (invalid, "DIMENSION_MISMATCH")
    assert found[3] == (invalid, "NOT_FINITE")
    assert found[4][0] == invalid
    assert found[6] == found[7] == (invalid, "DIMENSION_MISMATCH")
    assert sorted(found) == [1, 3, 4, 6, 7]
    assert "3" in errors[0].message and "2" in errors[0].message
    assert {error.id.num for error in errors if error.HasField("id")} == {2, 4, 7, 8}
    hits = [hit.id for hit in api.search(name, (0, 0)).results[0].hits]
    assert sorted(hit.num for hit in hits if hit.HasField("num")) == [1, 3, 9]
    assert [hit.key for hit in hits if hit.HasField("key")] == [b"k"]


def test_a_last_component_that_is_cut_off_is_an_item_error(api):
    """Six bytes are neither one component nor two; nothing may be made up for the missing ones."""
    name = api.create()
    cut = v.Point(id=v.PointId(num=1), vector=v.Vector(f32_le=f32(1, 1)[:6]))
    behind = v.Point(id=v.PointId(num=2), vector=v.Vector(f32_le=f32(1, 1) + b"x"))
    errors = errors_of(api, name, cut, behind, point(3, 3, 3))
    assert [(e.index, e.reason) for e in errors] == [
        (0, "DIMENSION_MISMATCH"), (1, "DIMENSION_MISMATCH")]
    assert "1 components" in errors[0].message
    assert api.ids(name, 0, 0) == [3]


def test_an_id_that_exists_is_an_item_error(api):
    name = api.create()
    api.fill(name, {1: (1, 1)})
    errors = errors_of(api, name, point(1, 2, 2), point(2, 3, 3), point(2, 4, 4))
    already = grpc.StatusCode.ALREADY_EXISTS.value[0]
    assert [(e.index, e.id.num, e.code, e.reason) for e in errors] == [
        (0, 1, already, "ALREADY_EXISTS"), (2, 2, already, "ALREADY_EXISTS")]
    assert api.search(name, (1, 1), k=1).results[0].hits[0].distance == 0


def test_columns_of_a_wrong_dimension_are_item_errors_of_each_point(api):
    errors = errors_of(api, api.create(), point(1, 1, 1), cols=columns(3, [5, 6], bytes(24)))
    assert [(e.index, e.id.num, e.reason) for e in errors] == [
        (1, 5, "DIMENSION_MISMATCH"), (2, 6, "DIMENSION_MISMATCH")]


def test_more_errors_than_one_ack_holds_all_arrive(api):
    name = api.create()
    api.fill(name, {1: (1, 1)})
    stream = api.insert(open_message(name))
    stream.read_opened()
    for seq in (1, 2, 3):
        stream.send(chunk_message(seq, [point(1, 0, 0)] * 1000))
    acks = stream.finish()
    errors = [(error.seq, error.index) for ack in acks for error in ack.errors]
    assert errors == [(seq, index) for seq in (1, 2, 3) for index in range(1000)]
    assert max(len(ack.errors) for ack in acks) <= 256
    assert acks[-1].errors_complete_seq == 3


# ---- sessions -------------------------------------------------------------------------------


def test_a_session_resumes_where_it_was_and_repeats_do_no_harm(api):
    name = api.create()
    session = os.urandom(16)
    api.fill(name, {1: (1, 1)}, session)
    stream = api.insert(open_message(name, session))
    opened = stream.read_opened()
    assert (opened.session_id, opened.next_seq) == (session, 2)
    stream.send(chunk_message(1, [point(1, 1, 1)]), chunk_message(2, [point(2, 2, 2)]))
    acks = stream.finish()
    assert not [error for ack in acks for error in ack.errors]
    assert acks[-1].searchable_seq == 2
    assert sorted(api.ids(name, 0, 0)) == [1, 2]


def test_a_newer_stream_takes_the_session(api):
    name = api.create()
    session = os.urandom(16)
    older = api.insert(open_message(name, session))
    older.read_opened()
    newer = api.insert(open_message(name, session))
    newer.read_opened()
    refusal = older.refusal()
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "SESSION_TAKEN")
    newer.send(chunk_message(1, [point(1, 1, 1)]))
    assert newer.finish()[-1].searchable_seq == 1


def test_an_acknowledged_point_survives_sigkill(start_server):
    server = start_server(directory="killed")
    rows = {num: (num, -num) for num in range(1, 501)}
    with Api(server.target) as api:
        name = api.create()
        api.fill(name, rows)
    server.kill()
    again = start_server(directory="killed")
    with Api(again.target) as api:
        for num in random.Random(11).sample(sorted(rows), 50):
            assert api.ids(name, *rows[num], k=1) == [num]


def test_many_streams_at_once_all_end_well(api):
    name = api.create()
    streams = [api.insert(open_message(name)) for _ in range(30)]
    for number, stream in enumerate(streams):
        for seq in range(1, 6):
            stream.send(chunk_message(seq, [point(number * 1000 + seq, number, seq)]))
        stream.half_close()
    for stream in streams:
        responses = list(stream.call)
        assert responses[-1].ack.searchable_seq == 5
    assert len(api.ids(name, 0, 0, k=1000)) == 150

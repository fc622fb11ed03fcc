"""VectorService.Insert: what ends a stream, and what the status says."""
import os

import grpc
import numpy as np
import pytest
from calls import TIMEOUT_S, chunk_message, columns, f32, flush_message, open_message, point
from omendb.v1 import collection_pb2 as c
from omendb.v1 import vector_pb2 as v

INVALID = grpc.StatusCode.INVALID_ARGUMENT


def refused(api, *messages, half_close=False):
    stream = api.insert(*messages)
    if half_close:
        stream.half_close()
    return stream.refusal()


def test_an_unknown_collection_is_not_found(api):
    refusal = refused(api, open_message("nobody"))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "COLLECTION_NOT_FOUND")
    assert refusal.domain == "omendb" and "nobody" in refusal.sentence


def test_the_mode_must_be_chosen(api):
    refusal = refused(api, open_message(api.create(), mode=v.WRITE_MODE_UNSPECIFIED))
    assert (refusal.code, refusal.field) == (INVALID, "open.mode")
    assert refused(api, open_message(api.create(), mode=9)).field == "open.mode"


@pytest.mark.parametrize("incarnation", [b"x", b"x" * 15, b"x" * 17])
def test_an_incarnation_has_sixteen_bytes(api, incarnation):
    refusal = refused(api, open_message(api.create(), incarnation=incarnation))
    assert (refusal.code, refusal.reason) == (INVALID, "BAD_TOKEN")
    assert refusal.field == "open.incarnation" and f"{len(incarnation)} bytes" in refusal.sentence


def test_a_stream_into_another_life_of_the_collection_is_refused(api):
    """Deleted and made anew: it knows nothing of the session, and says so."""
    name = api.create()
    session = os.urandom(16)
    stream = api.insert(open_message(name, session))
    incarnation = stream.read_opened().incarnation
    stream.finish()
    again = api.insert(open_message(name, session, incarnation=incarnation))
    assert again.read_opened().incarnation == incarnation
    again.finish()
    api.collections.DeleteCollection(c.DeleteCollectionRequest(name=name), timeout=TIMEOUT_S)
    api.create(name=name)
    refusal = refused(api, open_message(name, session, incarnation=incarnation))
    assert refusal.code == grpc.StatusCode.FAILED_PRECONDITION
    assert refusal.reason == "INCARNATION_CHANGED" and name in refusal.sentence


@pytest.mark.parametrize("session", [b"x", b"x" * 15, b"x" * 17, bytes(16)])
def test_a_session_id_is_sixteen_bytes_and_not_all_zero(api, session):
    refusal = refused(api, open_message(api.create(), session))
    assert (refusal.reason, refusal.field) == ("BAD_SESSION_ID", "open.session_id")
    assert f"{len(session)} bytes" in refusal.sentence


def test_a_client_name_has_a_limit(api):
    refusal = refused(api, open_message(api.create(), client_name="x" * 65))
    assert (refusal.reason, refusal.field) == ("BAD_LIMIT", "open.client_name")
    assert "65" in refusal.sentence and "64" in refusal.sentence


@pytest.mark.parametrize("first", [chunk_message(1, [point(1, 1, 1)]), flush_message()])
def test_the_first_message_must_be_open(api, first):
    refusal = refused(api, first)
    assert (refusal.code, refusal.reason) == (INVALID, "BAD_MESSAGE")
    assert "first message" in refusal.sentence


def test_a_stream_that_ends_before_open_is_refused(api):
    assert refused(api, half_close=True).reason == "BAD_MESSAGE"


def test_a_second_open_is_refused(api):
    name = api.create()
    refusal = refused(api, open_message(name), open_message(name))
    assert (refusal.code, refusal.reason) == (INVALID, "BAD_MESSAGE")
    assert "second" in refusal.sentence


def test_a_message_without_a_body_is_refused(api):
    refusal = refused(api, open_message(api.create()), v.InsertRequest())
    assert (refusal.code, refusal.reason, refusal.field) == (INVALID, "BAD_MESSAGE", "body")
    unknown = bytes([9 << 3 | 2, 2]) + b"hi"
    assert refused(api, open_message(api.create()), unknown).reason == "BAD_MESSAGE"


def test_a_message_with_two_bodies_is_refused(api):
    two = chunk_message(1, [point(1, 1, 1)]).SerializeToString()
    refusal = refused(api, open_message(api.create()), two + two)
    assert (refusal.code, refusal.reason) == (INVALID, "BAD_MESSAGE")


@pytest.mark.parametrize("seq", [0, 3, 2**63])
def test_a_gap_in_the_sequence_is_refused(api, seq):
    refusal = refused(api, open_message(api.create()), chunk_message(1, [point(1, 1, 1)]),
                      chunk_message(seq, [point(2, 1, 1)]))
    assert (refusal.code, refusal.reason) == (INVALID, "SEQUENCE_GAP")
    assert str(seq) in refusal.sentence


def test_a_chunk_above_the_limit_is_too_large(api):
    name = api.create(dim=384)
    data = bytes(384 * 4 * 400)
    refusal = refused(api, open_message(name),
                      chunk_message(1, columns=columns(384, range(400), data)))
    assert (refusal.code, refusal.reason) == (INVALID, "TOO_LARGE")
    assert "400" in refusal.sentence and "491520" in refusal.sentence


@pytest.mark.parametrize("dim, most", [(1, 35103), (4, 18901), (384, 317), (4096, 29)])
def test_a_chunk_of_exactly_the_limit_goes_in_and_one_point_more_does_not(api, dim, most):
    """The limit is that of the record: 24 + 48 bytes, 10 a point (its indexes padded), and the
    floats."""
    assert 72 + most * 8 + -(-most // 4) * 8 + most * dim * 4 <= 480 << 10
    rows = np.ones((most + 1, dim), dtype=np.float32)
    name = api.create(dim=dim)
    stream = api.insert(open_message(name))
    stream.read_opened()
    stream.send(chunk_message(1, columns=columns(dim, range(most), rows[:most].tobytes())))
    assert stream.finish()[-1].searchable_seq == 1
    refusal = refused(api, open_message(name), chunk_message(1, columns=columns(
        dim, range(most + 1), rows.tobytes())))
    assert (refusal.code, refusal.reason) == (INVALID, "TOO_LARGE")
    record = int(refusal.sentence.split("as a record ")[1].split()[0])
    assert record > 480 << 10 and f"({most} points of dimension {dim})" in refusal.sentence


def test_too_many_points_one_by_one_are_too_large(api):
    name = api.create(dim=1)
    refusal = refused(api, open_message(name),
                      chunk_message(1, [v.Point(id=v.PointId(num=i)) for i in range(60000)]))
    assert (refusal.code, refusal.reason) == (INVALID, "TOO_LARGE")


def test_a_message_above_the_transports_limit_is_refused_and_hurts_nobody_else(api):
    name = api.create()
    other = api.insert(open_message(name))
    other.read_opened()
    stream = api.insert(open_message(name))
    stream.read_opened()
    stream.send(chunk_message(1, columns=columns(2, [1], bytes(17 << 20))))
    assert stream.refusal().code == grpc.StatusCode.RESOURCE_EXHAUSTED
    other.send(chunk_message(1, [point(1, 1, 1)]))
    assert other.finish()[-1].searchable_seq == 1


@pytest.mark.parametrize("ids, count", [([1, 2], 3), ([1, 2, 3], 2), ([], 1), ([1], 0)])
def test_columns_must_hold_as_many_rows_as_ids(api, ids, count):
    refusal = refused(api, open_message(api.create()),
                      chunk_message(1, columns=columns(2, ids, bytes(8 * count))))
    assert (refusal.code, refusal.reason) == (INVALID, "BAD_MESSAGE")
    assert refusal.field == "chunk.columns.vectors_f32_le"
    assert f"{8 * count} bytes" in refusal.sentence and f"{8 * len(ids)}" in refusal.sentence


def test_half_a_float_in_columns_is_refused(api):
    refusal = refused(api, open_message(api.create()),
                      chunk_message(1, columns=columns(2, [1], f32(1, 2)[:-1])))
    assert "7 bytes" in refusal.sentence and "8" in refusal.sentence


def test_a_refused_stream_keeps_what_was_acknowledged(api):
    name = api.create()
    session = os.urandom(16)
    stream = api.insert(open_message(name, session), chunk_message(1, [point(1, 1, 1)]))
    stream.read_opened()
    stream.read_until(lambda ack: ack.searchable_seq == 1)
    stream.send(chunk_message(7, [point(2, 1, 1)]))
    assert stream.refusal().reason == "SEQUENCE_GAP"
    assert api.ids(name, 1, 1) == [1]
    again = api.insert(open_message(name, session))
    assert again.read_opened().next_seq == 2
    again.finish()


def test_a_sentence_is_valid_text_whatever_the_client_sent(api):
    """A name of bytes that are no UTF-8 comes back in a status that every client can read."""
    raw = v.Open(mode=v.WRITE_MODE_INSERT_ONLY).SerializeToString() + b"\x0a\x04a\xff\xfeb"
    refusal = refused(api, bytes([1 << 3 | 2, len(raw)]) + raw)
    assert refusal.code in (grpc.StatusCode.NOT_FOUND, INVALID)
    assert refusal.reason and "a??b" in refusal.sentence

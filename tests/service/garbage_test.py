"""Bytes that are no messages: each gets a status, and the server goes on."""
import random

import grpc
import pytest
from calls import TIMEOUT_S, chunk_message, columns, open_message, point, refusal_of
from omendb.v1 import vector_pb2 as v

SEED = 20240229
REFUSED = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND,
           grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.ALREADY_EXISTS}


def end_of_insert(api, *messages):
    """The status code of a stream of these messages, half-closed."""
    stream = api.insert(*messages).half_close()
    try:
        for _ in stream.call:
            pass
    except grpc.RpcError:
        pass
    return stream.call.code()


def end_of_unary(api, path, request):
    try:
        api.channel.unary_unary(path)(request, timeout=TIMEOUT_S)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def good_chunk(dim):
    return chunk_message(1, [point(1, *[1.5] * dim), point(2, *[2.5] * dim)],
                         columns(dim, [3, 300], bytes(8 * dim))).SerializeToString()


def good_search(name):
    return v.SearchRequest(
        collection=name, queries=[v.Query(vector=v.Vector(f32_le=bytes(8)))],
        columns=v.QueryColumns(dim=2, vectors_f32_le=bytes(16)),
        options=v.SearchOptions(k=3, ef=50, exact=True), layout=2).SerializeToString()


def test_a_message_cut_off_anywhere_is_refused_or_a_shorter_message(api):
    """At a field's end a cut leaves a valid message, so OK is allowed; no other outcome is."""
    name = api.create()
    for message in (good_chunk(2),):
        codes = {end_of_insert(api, open_message(name), message[:length])
                 for length in range(len(message))}
        assert codes <= {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OK}
        assert grpc.StatusCode.INVALID_ARGUMENT in codes
    message = good_search(name)
    codes = {end_of_unary(api, "/omendb.v1.VectorService/Search", message[:length])
             for length in range(len(message))}
    assert codes <= {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OK}
    assert grpc.StatusCode.INVALID_ARGUMENT in codes


def test_a_message_with_flipped_bytes_never_ends_badly(api):
    rng = random.Random(SEED)
    name = api.create()
    chunk, search = good_chunk(2), good_search(name)

    def flip(message):
        damaged = bytearray(message)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        return bytes(damaged)

    allowed = REFUSED | {grpc.StatusCode.OK}
    for _ in range(300):
        assert end_of_insert(api, open_message(name), flip(chunk)) in allowed
        assert end_of_unary(api, "/omendb.v1.VectorService/Search", flip(search)) in allowed


@pytest.mark.parametrize("path", [
    "/omendb.v1.VectorService/Search", "/omendb.v1.CollectionService/CreateCollection",
    "/omendb.v1.CollectionService/GetCollection", "/omendb.v1.CollectionService/DeleteCollection",
    "/grpc.health.v1.Health/Check"])
def test_random_bytes_as_a_request_are_refused(api, path):
    rng = random.Random(SEED)
    for _ in range(100):
        code = end_of_unary(api, path, rng.randbytes(rng.randint(1, 200)))
        assert code in REFUSED | {grpc.StatusCode.OK}


def test_random_bytes_on_a_stream_are_refused(api):
    rng = random.Random(SEED)
    name = api.create()
    for _ in range(100):
        garbage = rng.randbytes(rng.randint(1, 2000))
        assert end_of_insert(api, garbage) == grpc.StatusCode.INVALID_ARGUMENT
        assert end_of_insert(api, open_message(name), garbage) == \
            grpc.StatusCode.INVALID_ARGUMENT


def test_a_refusal_says_where_the_message_broke(api):
    stream = api.insert(open_message(api.create()), b"\x12\x7f\x08")
    refusal = stream.refusal()
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "BAD_MESSAGE")
    assert "InsertRequest" in refusal.sentence and "of 3" in refusal.sentence
    refusal = refusal_of(lambda: api.channel.unary_unary("/omendb.v1.VectorService/Search")(
        b"\x0a\x09abc", timeout=TIMEOUT_S))
    assert refusal.reason == "BAD_MESSAGE" and "SearchRequest" in refusal.sentence


def test_a_megabyte_of_empty_points_is_refused_without_memory_for_each(api):
    """2 bytes a point: a million of them must not become a million item errors."""
    name = api.create(dim=384)
    points = b"\x12\x00" * 500_000
    body = b"\x08\x01" + points
    length = len(body)
    varint = bytes([0x80 | length & 0x7f, 0x80 | length >> 7 & 0x7f, length >> 14])
    refusal = api.insert(open_message(name), b"\x12" + varint + body).refusal()
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "TOO_LARGE")


def test_deep_nesting_of_unknown_fields_is_skipped(api):
    """Unknown submessages are skipped as bytes, whatever they hold."""
    nested = b""
    for _ in range(5000):
        length = len(nested)
        nested = b"\x7a" + bytes([0x80 | length & 0x7f, 0x80 | length >> 7 & 0x7f,
                                  length >> 14]) + nested
    name = api.create()
    assert end_of_insert(api, open_message(name), b"\x1a\x00" + nested) == grpc.StatusCode.OK

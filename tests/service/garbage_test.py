"""Bytes that are no messages: each gets a status, and the server goes on."""
import random

import grpc
import pytest
from calls import TIMEOUT_S, as_id, chunk_message, open_message, point, refusal_of
from omendb.v1 import collection_pb2 as c
from omendb.v1 import snapshot_pb2 as s
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


def whole_messages(name):
    """(path, a request in which every field is there), for each unary method."""
    ids = [as_id(1), as_id(b"key")]
    points = [point(1, 1.5, 1.5, ttl_s=1000), point(b"key", 2.5, 2.5)]
    vector = v.Vector(f32_le=bytes(8))
    requests = {
        "Vector/Upsert": v.UpsertRequest(
            collection=name, mode=2, points=points, wait_for=1,
            columns=v.PointColumns(dim=2, ids=[3, 300], vectors_f32_le=bytes(16), ttl_s=9)),
        "Vector/Delete": v.DeleteRequest(collection=name, ids=ids, wait_for=2),
        "Vector/Get": v.GetRequest(collection=name, ids=ids, without_vectors=True),
        "Vector/Search": v.SearchRequest(
            collection=name, layout=2, options=v.SearchOptions(k=3, ef=50, exact=True),
            queries=[v.Query(vector=vector, options=v.SearchOptions(k=2)),
                     v.Query(vector=v.Vector(floats=v.FloatVector(values=[1, 2])))],
            columns=v.QueryColumns(dim=2, vectors_f32_le=bytes(16))),
        "Collection/GetCollection": c.GetCollectionRequest(name=name, with_graph_hash=True),
        "Collection/ValidateCollection": c.ValidateCollectionRequest(name=name),
        "Snapshot/VerifySnapshot": s.VerifySnapshotRequest(name="nobody"),
        "Snapshot/DeleteSnapshot": s.DeleteSnapshotRequest(name="nobody"),
        "Snapshot/CreateSnapshot": s.CreateSnapshotRequest(collection="nobody", name="any"),
    }
    for method, request in requests.items():
        service, call = method.split("/")
        yield f"/omendb.v1.{service}Service/{call}", request.SerializeToString()


def whole_chunk():
    columns = v.PointColumns(dim=2, ids=[3, 300], vectors_f32_le=bytes(16), ttl_s=9)
    return chunk_message(1, [point(1, 1.5, 1.5, ttl_s=1000), point(b"key", 2.5, 2.5)], columns,
                         deletes=[9, b"other"]).SerializeToString()


def whole_open(name):
    return open_message(name, b"0123456789abcdef", client_name="me", mode=2,
                        errors_seen_seq=77).SerializeToString()


def test_a_message_cut_off_anywhere_is_refused_or_a_shorter_message(api):
    """At a field's end a cut leaves a valid message, so OK is allowed, and a name that is cut names
    nothing; no other outcome is."""
    name = api.create()
    allowed = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.OK}
    message = whole_chunk()
    codes = {end_of_insert(api, open_message(name), message[:length])
             for length in range(len(message))}
    codes |= {end_of_insert(api, whole_open(name)[:length])
              for length in range(len(whole_open(name)))}
    assert codes <= allowed and grpc.StatusCode.INVALID_ARGUMENT in codes
    for path, message in whole_messages(name):
        codes = {end_of_unary(api, path, message[:length]) for length in range(len(message))}
        assert codes <= allowed | {grpc.StatusCode.FAILED_PRECONDITION}
        assert grpc.StatusCode.INVALID_ARGUMENT in codes or "Collection" in path


def test_a_message_with_flipped_bytes_never_ends_badly(api):
    rng = random.Random(SEED)
    name = api.create()
    chunk, opening, unary = whole_chunk(), whole_open(name), list(whole_messages(name))

    def flip(message):
        damaged = bytearray(message)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        return bytes(damaged)

    allowed = REFUSED | {grpc.StatusCode.OK, grpc.StatusCode.FAILED_PRECONDITION,
                         grpc.StatusCode.ABORTED}
    for _ in range(200):
        assert end_of_insert(api, open_message(name), flip(chunk)) in allowed
        assert end_of_insert(api, flip(opening), chunk) in allowed
        for path, message in unary:
            assert end_of_unary(api, path, flip(message)) in allowed
    validate = c.ValidateCollectionRequest(name=name)
    while True:
        try:
            api.collections.ValidateCollection(validate, timeout=TIMEOUT_S)
            break
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error


@pytest.mark.parametrize("path", [
    "/omendb.v1.VectorService/Search", "/omendb.v1.VectorService/Upsert",
    "/omendb.v1.VectorService/Delete", "/omendb.v1.VectorService/Get",
    "/omendb.v1.CollectionService/ValidateCollection",
    "/omendb.v1.CollectionService/CreateCollection",
    "/omendb.v1.CollectionService/GetCollection", "/omendb.v1.CollectionService/DeleteCollection",
    "/omendb.v1.SnapshotService/CreateSnapshot", "/omendb.v1.SnapshotService/VerifySnapshot",
    "/omendb.v1.SnapshotService/DeleteSnapshot",
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


@pytest.mark.parametrize("path, field", [("Upsert", 3), ("Delete", 2), ("Get", 2), ("Search", 2)])
def test_millions_of_empty_items_are_refused_without_memory_for_each(api, path, field):
    """15 MiB of them, 2 bytes each, in one request."""
    name = api.create()
    message = v.GetRequest(collection=name).SerializeToString() + bytes([field << 3 | 2, 0]) * (
        15 << 19)
    call = api.channel.unary_unary(f"/omendb.v1.VectorService/{path}")
    refusal = refusal_of(lambda: call(message, timeout=TIMEOUT_S))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "TOO_LARGE")


@pytest.mark.parametrize("path", ["Upsert", "Delete", "Get", "Search"])
def test_a_request_above_the_transports_limit_is_refused(api, path):
    call = api.channel.unary_unary(f"/omendb.v1.VectorService/{path}")
    refusal = refusal_of(lambda: call(bytes(17 << 20), timeout=TIMEOUT_S))
    assert refusal.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert api.ids(api.create(), 1, 1) == []


def test_lengths_and_numbers_beyond_all_bounds_are_refused(api):
    """Varints of ten bytes and more, lengths of gigabytes, field numbers that are none."""
    name = api.create()
    head = v.GetRequest(collection=name).SerializeToString()
    huge = b"\xff\xff\xff\xff\x07"
    for path in ("Upsert", "Delete", "Get", "Search"):
        for tail in (b"\x12" + huge, b"\x1a" + huge + b"x", b"\x12\x80" + b"\xff" * 12, b"\x00\x00",
                     b"\x13", b"\x17\x01", b"\xfa\xff\xff\xff\xff\x7f\x01", b"\x12\x02\x0a\x7f"):
            code = end_of_unary(api, f"/omendb.v1.VectorService/{path}", head + tail)
            assert code == grpc.StatusCode.INVALID_ARGUMENT, (path, tail)


def test_deep_nesting_of_unknown_fields_is_skipped(api):
    """Unknown submessages are skipped as bytes, whatever they hold."""
    nested = b""
    for _ in range(5000):
        length = len(nested)
        nested = b"\x7a" + bytes([0x80 | length & 0x7f, 0x80 | length >> 7 & 0x7f,
                                  length >> 14]) + nested
    name = api.create()
    assert end_of_insert(api, open_message(name), b"\x1a\x00" + nested) == grpc.StatusCode.OK

"""VectorService.Upsert, Delete and Get: points without a stream."""
import grpc
import numpy as np
import pytest
from calls import TIMEOUT_S, as_id, columns, f32, id_of, point, refusal_of
from omendb.v1 import collection_pb2 as c
from omendb.v1 import vector_pb2 as v

INVALID = grpc.StatusCode.INVALID_ARGUMENT
LARGEST = b"k" * 64


def info(api, name):
    return api.collections.GetCollection(c.GetCollectionRequest(name=name),
                                         timeout=TIMEOUT_S).collection


def test_what_was_upserted_is_found_and_got_and_a_second_time_replaced(api):
    name = api.create()
    response = api.upsert(name, point(1, 1, 2), point(2, 3, 4))
    assert not response.errors
    assert api.ids(name, 1, 2) == [1, 2]
    api.upsert(name, point(1, 9, 9), point(3, 5, 6))
    assert api.rows(name, 1, 2, 3, 4) == [(9, 9), (3, 4), (5, 6), None]
    assert api.ids(name, 9, 9) == [1, 3, 2]
    assert info(api, name).points == 3


def test_within_one_request_the_last_write_wins(api):
    name = api.create()
    api.upsert(name, point(1, 1, 1), point(1, 2, 2), columns=columns(2, [1, 1], f32(3, 3, 4, 4)))
    assert api.rows(name, 1) == [(4, 4)]
    assert api.ids(name, 0, 0) == [1]


@pytest.mark.parametrize("key", [b"k", LARGEST, b"\x00", b"\xff\xfe", "ä".encode(), b"7"])
def test_a_key_is_an_id_everywhere(api, key):
    """7 and "7" are two ids, and a key may hold any bytes."""
    name = api.create()
    api.upsert(name, point(key, 1, 1), point(7, 2, 2))
    assert api.ids(name, 1, 1) == [key, 7]
    assert api.rows(name, 7, key) == [(2, 2), (1, 1)]
    [error] = api.upsert(name, point(key, 5, 5), mode=v.WRITE_MODE_INSERT_ONLY).errors
    assert id_of(error.id) == key and error.reason == "ALREADY_EXISTS"
    result = api.search(name, (1, 1), layout=v.RESULT_LAYOUT_COLUMNS).results[0]
    assert [id_of(one) for one in result.keys] == [key, 7]
    assert np.frombuffer(result.ids_le, "<u8").tolist() == [0, 7]
    api.delete(name, key)
    assert api.ids(name, 1, 1) == [7]
    assert not api.search(name, (1, 1), layout=v.RESULT_LAYOUT_COLUMNS).results[0].keys


def test_insert_only_refuses_what_is_there_and_update_only_what_is_not(api):
    name = api.create()
    api.upsert(name, point(1, 1, 1))
    response = api.upsert(name, point(1, 2, 2), point(2, 2, 2), mode=v.WRITE_MODE_INSERT_ONLY)
    assert [(e.seq, e.index, e.id.num, e.code, e.reason) for e in response.errors] == [
        (0, 0, 1, grpc.StatusCode.ALREADY_EXISTS.value[0], "ALREADY_EXISTS")]
    response = api.upsert(name, point(3, 3, 3), point(1, 4, 4), mode=v.WRITE_MODE_UPDATE_ONLY)
    assert [(e.index, e.id.num, e.code, e.reason) for e in response.errors] == [
        (0, 3, grpc.StatusCode.NOT_FOUND.value[0], "POINT_NOT_FOUND")]
    assert api.rows(name, 1, 2, 3) == [(4, 4), (2, 2), None]


def test_bad_points_are_item_errors_and_the_good_ones_go_in(api):
    name = api.create()
    bad = [v.Point(vector=v.Vector(f32_le=f32(1, 1))), point(b"", 1, 1), point(b"k" * 65, 1, 1),
           point(4, 1), point(5, float("nan"), 1), v.Point(id=v.PointId())]
    errors = api.upsert(name, point(1, 1, 1), *bad, point(9, 2, 2),
                        columns=columns(3, [10], bytes(12))).errors
    assert [(e.index, e.reason) for e in errors] == [
        (1, "ID_MISSING"), (2, "BAD_ID"), (3, "BAD_ID"), (4, "DIMENSION_MISMATCH"),
        (5, "NOT_FINITE"), (6, "ID_MISSING"), (8, "DIMENSION_MISMATCH")]
    assert "65" in errors[2].message and "64" in errors[2].message
    assert sorted(api.ids(name, 0, 0)) == [1, 9]


def test_deletes_are_exact_and_an_id_that_is_not_there_is_no_error(api):
    name = api.create()
    api.upsert(name, *(point(num, num, 1) for num in range(10)), point(b"a", 20, 1))
    errors = api.delete(name, 3, 77, b"a", b"b", b"", b"x" * 65).errors
    assert [(e.index, e.reason) for e in errors] == [(4, "BAD_ID"), (5, "BAD_ID")]
    assert sorted(api.ids(name, 0, 0, k=20)) == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert info(api, name).points == 9
    api.upsert(name, point(3, 30, 30))
    assert api.ids(name, 30, 30, k=1) == [3]


@pytest.mark.parametrize("wait_for", [v.WAIT_FOR_UNSPECIFIED, v.WAIT_FOR_DURABLE,
                                      v.WAIT_FOR_SEARCHABLE])
def test_a_token_of_a_write_makes_a_search_see_it(api, wait_for):
    name = api.create()
    for num in range(1, 30):
        token = api.upsert(name, point(num, num, num), wait_for=wait_for).token
        assert token.incarnation == info(api, name).incarnation
        response = api.vectors.Search(v.SearchRequest(
            collection=name, queries=[v.Query(vector=v.Vector(f32_le=f32(num, num)))],
            options=v.SearchOptions(k=1), min_read=token), timeout=TIMEOUT_S)
        assert response.results[0].hits[0].id.num == num
        assert response.log_position >= token.log_position
        assert response.incarnation == token.incarnation
    token = api.delete(name, 29, wait_for=wait_for).token
    request = v.SearchRequest(collection=name, min_read=token, queries=[
        v.Query(vector=v.Vector(f32_le=f32(29, 29)))], options=v.SearchOptions(k=1))
    assert api.vectors.Search(request, timeout=TIMEOUT_S).results[0].hits[0].id.num == 28


def test_a_point_with_a_time_to_live_says_when_it_expires_and_goes(api):
    name = api.create()
    api.upsert(name, point(1, 1, 1, ttl_s=1), point(2, 2, 2, ttl_s=1000), point(3, 3, 3),
               columns=v.PointColumns(dim=2, ids=[4], vectors_f32_le=f32(4, 4), ttl_s=1000))
    found = api.get(name, 2, 3, 4).results
    assert found[0].expires_unix_s > 1.7e9 and found[1].expires_unix_s == 0
    assert 0 <= found[2].expires_unix_s - found[0].expires_unix_s <= 1
    while 1 in api.ids(name, 1, 1):
        pass
    assert api.ids(name, 1, 1) == [2, 3, 4]


def test_a_request_of_exactly_one_record_goes_in_and_one_point_more_is_too_large(api):
    name = api.create(dim=384)
    rows = np.ones((318, 384), dtype=np.float32)
    most = 317
    assert not api.upsert(name, columns=columns(384, range(most), rows[:most].tobytes())).errors
    refusal = refusal_of(lambda: api.upsert(name, columns=columns(384, range(318),
                                                                  rows.tobytes())))
    assert (refusal.code, refusal.reason) == (INVALID, "TOO_LARGE")
    assert str(480 << 10) in refusal.sentence and "318" in refusal.sentence
    keys = [v.Point(id=as_id(b"%064d" % num), vector=v.Vector(f32_le=rows[0].tobytes()))
            for num in range(most)]
    refusal = refusal_of(lambda: api.upsert(name, *keys))
    assert (refusal.code, refusal.reason) == (INVALID, "TOO_LARGE")
    assert "317 points" in refusal.sentence and str(480 << 10) in refusal.sentence
    refusal = refusal_of(lambda: api.delete(name, *range(70_000)))
    assert (refusal.code, refusal.reason) == (INVALID, "TOO_LARGE") and "65536" in refusal.sentence
    refusal = refusal_of(lambda: api.delete(name, *(b"%064d" % num for num in range(10_000))))
    assert refusal.reason == "TOO_LARGE" and "10000 deletes" in refusal.sentence
    assert info(api, name).points == most


@pytest.mark.parametrize("call, message", [
    ("Upsert", v.UpsertRequest), ("Delete", v.DeleteRequest)])
def test_a_write_of_nothing_is_refused(api, call, message):
    refusal = refusal_of(lambda: getattr(api.vectors, call)(message(collection=api.create()),
                                                            timeout=TIMEOUT_S))
    assert (refusal.code, refusal.reason) == (INVALID, "BAD_MESSAGE")
    assert "nothing to write" in refusal.sentence


@pytest.mark.parametrize("call", ["Upsert", "Delete", "Get"])
def test_names_are_looked_up_and_checked(api, call):
    message = {"Upsert": lambda name: v.UpsertRequest(collection=name, points=[point(1, 1, 1)]),
               "Delete": lambda name: v.DeleteRequest(collection=name, ids=[as_id(1)]),
               "Get": lambda name: v.GetRequest(collection=name, ids=[as_id(1)])}[call]

    def refused(name):
        return refusal_of(lambda: getattr(api.vectors, call)(message(name), timeout=TIMEOUT_S))

    missing = refused("nobody")
    assert (missing.code, missing.reason) == (grpc.StatusCode.NOT_FOUND, "COLLECTION_NOT_FOUND")
    for name in ("", "a\0b", "x" * 300):
        assert (refused(name).code, refused(name).reason) == (INVALID, "BAD_NAME")


def test_a_mode_or_a_wait_that_is_none_is_refused(api):
    name = api.create()
    refusal = refusal_of(lambda: api.upsert(name, point(1, 1, 1), mode=9))
    assert (refusal.reason, refusal.field) == ("BAD_MODE", "mode")
    refusal = refusal_of(lambda: api.upsert(name, point(1, 1, 1), wait_for=9))
    assert (refusal.reason, refusal.field) == ("BAD_LIMIT", "wait_for")
    assert api.ids(name, 1, 1) == []


def test_a_write_to_a_collection_that_is_dropped_meanwhile_ends_either_way(api):
    for _ in range(20):
        name = api.create()
        writes = [api.vectors.Upsert.future(v.UpsertRequest(
            collection=name, points=[point(num, 1, 1)]), timeout=TIMEOUT_S) for num in range(8)]
        api.collections.DeleteCollection(c.DeleteCollectionRequest(name=name), timeout=TIMEOUT_S)
        assert {write.code() for write in writes} <= {grpc.StatusCode.OK,
                                                      grpc.StatusCode.NOT_FOUND}


def test_many_writes_at_once_are_each_answered_for_themselves(api):
    name = api.create()
    writes = [api.vectors.Upsert.future(v.UpsertRequest(
        collection=name, points=[point(num, num, 0), point(num, 1)]), timeout=TIMEOUT_S)
        for num in range(200)]
    for num, write in enumerate(writes):
        assert [(e.index, e.id.num) for e in write.result().errors] == [(1, num)]
    assert api.rows(name, *range(200)) == [(num, 0) for num in range(200)]


# ---- Get --------------------------------------------------------------------------------------


def test_a_get_answers_in_the_order_of_the_ids_with_what_was_sent(api):
    name = api.create(dim=3, metric=c.METRIC_COSINE)
    api.upsert(name, point(5, 1e-3, 2, 3), point(b"x", 4, 5, 6))
    response = api.get(name, b"x", 6, 5, 5)
    assert [id_of(result.id) for result in response.results] == [b"x", 6, 5, 5]
    assert [result.found for result in response.results] == [True, False, True, True]
    assert response.results[0].f32_le == f32(4, 5, 6)
    assert response.results[2].f32_le == f32(1e-3, 2, 3)  # not the unit vector
    assert response.token.incarnation == info(api, name).incarnation
    assert response.token.log_position > 0
    without = api.get(name, b"x", 6, without_vectors=True).results
    assert [(result.found, result.f32_le) for result in without] == [(True, b""), (False, b"")]


def test_a_get_of_a_thousand_large_vectors_is_whole(api):
    name = api.create(dim=2048)
    rows = np.random.default_rng(3).standard_normal((1024, 2048), dtype=np.float32)
    for start in range(0, 1024, 50):
        some = rows[start:start + 50]
        api.upsert(name, columns=columns(2048, range(start, start + len(some)), some.tobytes()))
    results = api.get(name, *range(1024)).results
    assert b"".join(result.f32_le for result in results) == rows.tobytes()


def test_the_limits_of_a_get(api):
    name = api.create()
    assert refusal_of(lambda: api.get(name)).reason == "BAD_LIMIT"
    assert len(api.get(name, *range(1024)).results) == 1024
    refusal = refusal_of(lambda: api.get(name, *range(1025)))
    assert (refusal.code, refusal.reason) == (INVALID, "TOO_LARGE")
    assert "1025" in refusal.sentence and "1024" in refusal.sentence
    for bad, sentence in ((b"", "0 bytes"), (b"k" * 65, "65 bytes")):
        refusal = refusal_of(lambda bad=bad: api.get(name, 1, bad))
        assert (refusal.reason, refusal.field) == ("BAD_ID", "ids[1]")
        assert sentence in refusal.sentence
    refusal = refusal_of(lambda: api.vectors.Get(v.GetRequest(
        collection=name, ids=[v.PointId()]), timeout=TIMEOUT_S))
    assert (refusal.reason, refusal.field) == ("BAD_ID", "ids[0]")


# ---- ValidateCollection -------------------------------------------------------------------------


def test_a_validation_counts_points_and_links(api):
    name = api.create(dim=4)
    rows = np.random.default_rng(1).standard_normal((500, 4), dtype=np.float32)
    api.upsert(name, columns=columns(4, range(500), rows.tobytes()))
    api.delete(name, *range(100))
    answer = api.collections.ValidateCollection(c.ValidateCollectionRequest(name=name),
                                                timeout=TIMEOUT_S)
    assert answer.points == 400 and 400 <= answer.linked <= 500 and answer.links > 400
    refusal = refusal_of(lambda: api.collections.ValidateCollection(
        c.ValidateCollectionRequest(name="nobody"), timeout=TIMEOUT_S))
    assert refusal.reason == "COLLECTION_NOT_FOUND"

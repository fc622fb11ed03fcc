"""VectorService.Search: answers, layouts, limits."""
import math
import struct

import grpc
import numpy as np
import pytest
from calls import TIMEOUT_S, f32, refusal_of
from omendb.v1 import collection_pb2 as c
from omendb.v1 import vector_pb2 as v


@pytest.fixture(scope="module")
def corners(request):
    """A name of a collection with the corners of a square, once for the module."""
    from calls import Api
    with Api(request.getfixturevalue("shared_server").target) as api:
        name = api.create()
        api.fill(name, {10: (0, 0), 11: (1, 0), 12: (0, 2), 0: (3, 3)})
    return name


def refused(api, name="nobody", **fields):
    return refusal_of(lambda: api.vectors.Search(v.SearchRequest(collection=name, **fields),
                                                 timeout=TIMEOUT_S))


def partly_refused(api, name, **fields):
    """The results of a search whose first query is answered, and all others are not."""
    response = api.vectors.Search(v.SearchRequest(collection=name, **fields), timeout=TIMEOUT_S)
    good, *bad = response.results
    assert good.hits and good.code == 0 and not good.reason and not good.message
    assert all(not result.hits and result.code and result.message for result in bad)
    return response.results


def query(*values):
    return v.Query(vector=v.Vector(f32_le=f32(*values)))


def test_hits_come_by_distance_with_squared_l2(api, corners):
    result = api.search(corners, (0, 0), k=4).results[0]
    assert [(hit.id.num, hit.distance) for hit in result.hits] == [(10, 0), (11, 1), (12, 4),
                                                                   (0, 18)]


def test_an_id_of_zero_is_an_id(api, corners):
    hit = api.search(corners, (3, 3), k=1).results[0].hits[0]
    assert hit.id.WhichOneof("kind") == "num" and hit.id.num == 0


def test_results_come_in_the_order_of_the_queries(api, corners):
    response = api.search(corners, (3, 3), (0, 0), (1, 0), k=1)
    assert [result.hits[0].id.num for result in response.results] == [0, 10, 11]
    assert response.log_position > 0


def test_cosine_and_inner_product_distances(api):
    rows = {1: (2, 0), 2: (0, 3)}
    cosine = api.create(metric=c.METRIC_COSINE)
    api.fill(cosine, rows)
    distances = [hit.distance for hit in api.search(cosine, (5, 0), k=2).results[0].hits]
    assert distances == pytest.approx([0, 1], abs=1e-6)
    product = api.create(metric=c.METRIC_INNER_PRODUCT)
    api.fill(product, rows)
    distances = [hit.distance for hit in api.search(product, (1, 1), k=2).results[0].hits]
    assert distances == [-3, -2]


def test_columns_say_the_same_as_hits(api, corners):
    queries = [(0, 0), (1, 1), (2, 2)]
    hits = api.search(corners, *queries, k=3)
    columns = api.search(corners, *queries, k=3, layout=v.RESULT_LAYOUT_COLUMNS)
    for one, other in zip(hits.results, columns.results, strict=True):
        assert not other.hits
        ids = list(struct.unpack(f"<{len(other.ids_le) // 8}Q", other.ids_le))
        distances = list(struct.unpack(f"<{len(other.distances_le) // 4}f", other.distances_le))
        assert ids == [hit.id.num for hit in one.hits]
        assert distances == [hit.distance for hit in one.hits]


def test_every_way_to_write_a_query_gives_the_same(api, corners):
    """f32_le, packed and unpacked floats, floats in two runs, and columns."""
    packed = v.Query(vector=v.Vector(floats=v.FloatVector(values=[1, 0]))).SerializeToString()
    one, nought = f32(1), f32(0)

    def field(number, payload):
        return bytes([number << 3 | 2, len(payload)]) + payload

    def as_query(float_vector):
        return field(1, field(2, float_vector))

    unpacked = as_query(b"\x0d" + one + b"\x0d" + nought)
    split = as_query(field(1, one) + field(1, nought))
    mixed = as_query(b"\x0d" + one + field(1, nought))
    message = field(1, corners.encode())
    message += b"".join(field(2, q) for q in (query(1, 0).SerializeToString(), packed, unpacked,
                                              split, mixed))
    columns = v.QueryColumns(dim=2, vectors_f32_le=f32(1, 0, 1, 0)).SerializeToString()
    message += field(3, columns) + field(3, columns)
    raw = api.channel.unary_unary("/omendb.v1.VectorService/Search",
                                  response_deserializer=v.SearchResponse.FromString)
    response = raw(message, timeout=TIMEOUT_S)
    assert len(response.results) == 9
    for result in response.results:
        assert result.hits == response.results[0].hits and result.hits[0].id.num == 11


def test_the_fields_may_come_in_any_order(api, corners):
    """The collection's name behind the queries, as protobuf allows."""
    name = v.SearchRequest(collection=corners).SerializeToString()
    rest = v.SearchRequest(queries=[query(3, 3)], options=v.SearchOptions(k=1))
    raw = api.channel.unary_unary("/omendb.v1.VectorService/Search",
                                  response_deserializer=v.SearchResponse.FromString)
    response = raw(rest.SerializeToString() + name, timeout=TIMEOUT_S)
    assert response.results[0].hits[0].id.num == 0


def test_fewer_points_than_k_is_a_shortfall_of_the_collection(api, corners):
    result = api.search(corners, (0, 0), k=100).results[0]
    assert len(result.hits) == 4
    assert result.shortfall == v.SHORTFALL_COLLECTION
    assert result.exact and result.visited == 4 and result.ef == 0


def test_k_defaults_to_ten(api):
    name = api.create(dim=1)
    api.fill(name, {i: (i,) for i in range(1, 31)})
    assert api.ids(name, 1) == list(range(1, 11))


def test_a_large_batch_in_columns_is_answered_in_full(api):
    rows = np.random.default_rng(7).standard_normal((500, 64), dtype=np.float32)
    name = api.create(dim=64)
    api.fill(name, dict(enumerate(rows.tolist(), start=1)))
    request = v.SearchRequest(collection=name, options=v.SearchOptions(k=1, exact=True))
    request.columns.dim = 64
    request.columns.vectors_f32_le = np.tile(rows, (3, 1))[:1024].tobytes()
    response = api.vectors.Search(request, timeout=TIMEOUT_S)
    assert [result.hits[0].id.num for result in response.results] == \
        [i % 500 + 1 for i in range(1024)]


def test_a_compressed_request_is_understood(api, corners):
    request = v.SearchRequest(collection=corners, queries=[query(0, 0)] * 100,
                              options=v.SearchOptions(k=1))
    response = api.vectors.Search(request, timeout=TIMEOUT_S, compression=grpc.Compression.Gzip)
    assert [result.hits[0].id.num for result in response.results] == [10] * 100


# ---- refusals -------------------------------------------------------------------------------


def test_an_unknown_collection_is_not_found(api):
    refusal = refused(api, "nobody", queries=[query(1)])
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "COLLECTION_NOT_FOUND")
    assert "nobody" in refusal.sentence


@pytest.mark.parametrize("components", [0, 1, 3, 1000])
def test_a_query_of_a_wrong_dimension_is_refused_alone_with_both_numbers(api, corners, components):
    good, bad = partly_refused(api, corners, queries=[query(1, 2), query(*[1.0] * components)])
    assert (bad.code, bad.reason) == (3, "DIMENSION_MISMATCH")
    assert bad.message == f"vector has {components} components, the collection 2"


def test_a_wrong_dimension_of_columns_names_both(api, corners):
    good, *bad = partly_refused(api, corners, queries=[query(1, 2)], columns=v.QueryColumns(
        dim=3, vectors_f32_le=f32(1, 2, 3, 4, 5, 6)))
    assert [(result.code, result.reason, result.message) for result in bad] == \
        [(3, "DIMENSION_MISMATCH", "vector has 3 components, the collection 2")] * 2


def test_half_a_row_of_columns_is_refused(api, corners):
    refusal = refused(api, corners, columns=v.QueryColumns(dim=2, vectors_f32_le=f32(1, 2, 3)))
    assert (refusal.reason, refusal.field) == ("BAD_MESSAGE", "columns.vectors_f32_le")
    assert "12 bytes" in refusal.sentence and "8 bytes" in refusal.sentence


def test_half_a_float_is_refused(api, corners):
    bad = v.Query(vector=v.Vector(f32_le=b"\0" * 9))
    _, result = partly_refused(api, corners, queries=[query(1, 1), bad])
    assert result.reason == "DIMENSION_MISMATCH"


def test_a_last_component_that_is_cut_off_is_refused(api, corners):
    """Six bytes are neither one component nor two."""
    cut = v.Query(vector=v.Vector(f32_le=b"\0" * 6))
    behind = v.Query(vector=v.Vector(f32_le=f32(1, 1) + b"x"))
    _, *bad = partly_refused(api, corners, queries=[query(1, 1), cut, behind])
    assert [result.reason for result in bad] == ["DIMENSION_MISMATCH"] * 2


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_query_must_be_finite(api, corners, value):
    _, bad = partly_refused(api, corners, queries=[query(1, 1), query(1, value)])
    assert (bad.code, bad.reason) == (3, "NOT_FINITE") and "component 1" in bad.message


def test_a_zero_query_has_no_cosine(api):
    name = api.create(metric=c.METRIC_COSINE)
    api.fill(name, {1: (1, 1)})
    _, bad = partly_refused(api, name, queries=[query(1, 1), query(0, 0)])
    assert (bad.code, bad.reason) == (3, "ZERO_VECTOR")


@pytest.mark.parametrize("field, value, limit", [
    ("k", 10001, 10000), ("k", 2**32 - 1, 10000), ("ef", 8193, 8192)])
def test_a_limit_names_field_value_and_limit(api, corners, field, value, limit):
    own = v.Query(vector=v.Vector(f32_le=f32(1, 1)), options=v.SearchOptions(k=1))
    _, bad = partly_refused(api, corners, queries=[own, query(1, 1)],
                            options=v.SearchOptions(**{field: value}))
    assert (bad.code, bad.reason) == (3, "BAD_LIMIT")
    assert bad.message == f"options.{field} is {value}; it is 1 to {limit}"


def test_the_limits_themselves_are_allowed(api, corners):
    assert len(api.search(corners, (0, 0), k=10000).results[0].hits) == 4
    assert len(api.search(corners, (0, 0), k=1, ef=8192).results[0].hits) == 1
    assert len(api.search(corners, *[(0, 0)] * 1024, k=1).results) == 1024


def test_no_query_and_too_many_are_refused(api, corners):
    assert refused(api, corners).reason == "BAD_LIMIT"
    refusal = refused(api, corners, queries=[query(1, 1)] * 1025)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "TOO_LARGE")
    assert "1025" in refusal.sentence and "1024" in refusal.sentence
    refusal = refused(api, corners, columns=v.QueryColumns(dim=2, vectors_f32_le=bytes(8 * 1025)))
    assert refusal.reason == "TOO_LARGE"


def test_an_answer_too_large_to_send_is_refused_beforehand(api, corners):
    refusal = refused(api, corners, queries=[query(1, 1)] * 1024, options=v.SearchOptions(k=10000))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "TOO_LARGE")
    assert "10240000" in refusal.sentence


def test_a_name_that_cannot_be_is_refused(api):
    assert refused(api, "", queries=[query(1)]).field == "collection"
    assert refused(api, "a\0b", queries=[query(1)]).reason == "BAD_NAME"
    assert refused(api, "x" * 300, queries=[query(1)]).reason == "BAD_NAME"


def test_an_unknown_layout_is_refused(api, corners):
    assert refused(api, corners, queries=[query(1, 1)], layout=7).field == "layout"


def test_more_than_the_transport_takes_is_refused_and_the_next_search_is_not(api, corners):
    refusal = refused(api, corners, columns=v.QueryColumns(dim=2, vectors_f32_le=bytes(17 << 20)))
    assert refusal.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert api.ids(corners, 0, 0, k=1) == [10]

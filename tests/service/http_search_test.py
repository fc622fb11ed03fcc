"""Insert and search over HTTP."""
import threading

import numpy as np
import pytest
from calls import TIMEOUT_S, chunk_message, f32, open_message, point, refusal_of
from http_calls import Http
from omendb.v1 import vector_pb2 as v

LARGE = 2**64 - 1


def test_points_that_went_in_over_http_are_found_over_both(http, api, name):
    http.create(name)
    answer = http.insert(name, {1: (1, 1), 2: (2, 2), 3: (3, 3)})
    assert answer["points"] == answer["inserted"] == 3 and answer["errors"] == []
    assert api.ids(name, 2.1, 2.1, k=2) == http.ids(name, 2.1, 2.1, k=2) == [2, 3]
    api.fill(name, {4: (4, 4)})
    assert http.ids(name, 4, 4, k=1) == [4]


def test_search_answers_what_grpc_answers(http, api, name):
    http.create(name, dim=16)
    rows = np.random.default_rng(11).standard_normal((2000, 16)).astype(np.float32)
    api.fill(name, dict(enumerate(rows)))
    queries = np.random.default_rng(12).standard_normal((20, 16)).astype(np.float32)
    for options in ({}, {"k": 3}, {"k": 5, "ef": 200}, {"exact": True, "k": 7}):
        theirs = api.search(name, *queries, **options)
        ours = http.search(name, *queries.tolist(), **options)
        assert ours["log_position"] == theirs.log_position
        for mine, other in zip(ours["results"], theirs.results, strict=True):
            assert [hit["id"] for hit in mine["hits"]] == [hit.id.num for hit in other.hits]
            assert [np.float32(hit["distance"]) for hit in mine["hits"]] == \
                [np.float32(hit.distance) for hit in other.hits]
            assert (mine["visited"], mine["exact"], mine["ef"]) == \
                (other.visited, other.exact, other.ef)
            assert mine["shortfall"] == "none"


def test_numbers_are_exact_to_the_last_digit_and_strings_are_keys(http, api, name):
    http.create(name)
    rows = {0: (0, 0), 2**53: (1, 1), 2**53 + 1: (2, 2), LARGE: (3, 3), "17": (4, 4)}
    assert http.insert(name, rows)["inserted"] == 5
    assert http.ids(name, 0, 0, k=5) == [0, 2**53, 2**53 + 1, LARGE, "17"]
    hits = api.search(name, (0, 0), k=5).results[0].hits
    assert [hit.id.num for hit in hits] == [0, 2**53, 2**53 + 1, LARGE, 0]
    assert hits[4].id.key == b"17"
    [error] = http.insert(name, {LARGE: (1, 1)})["errors"]
    assert error["id"] == LARGE and error["code"] == "ALREADY_EXISTS"


def test_a_bad_point_is_an_item_error_as_over_grpc_and_the_good_ones_go_in(http, api, name):
    http.create(name, metric="cosine")
    good = [(1, (1, 1)), (2, (1, 2))]
    bad = [(3, (1,)), (4, (1, 2, 3)), (5, (0, 0)), (6, (1e16, 1)), (7, (1e-20, 1e-20)), (1, (2, 2))]
    points = [{"id": num, "vector": list(row)} for num, row in good + bad]
    points += [{"vector": [1, 1]}, {"id": 9}]
    answer = http.post(f"/v1/collections/{name}/insert", {"points": points}).json
    assert (answer["points"], answer["inserted"]) == (10, 2)

    other = api.create(metric=2)
    messages = [point(num, *row) for num, row in good + bad] + [point(0, 1, 1), point(9)]
    messages[8].ClearField("id")
    messages[9].ClearField("vector")
    stream = api.insert(open_message(other), chunk_message(1, messages))
    stream.read_opened()
    theirs = [error for ack in stream.finish() for error in ack.errors]
    assert sorted((e["index"], e["reason"], e["message"]) for e in answer["errors"]) == \
        sorted((e.index, e.reason, e.message) for e in theirs)
    assert len(theirs) == 8
    assert sorted(http.ids(name, 1, 1)) == [1, 2]


def test_a_number_too_large_for_a_float_is_not_finite(http, name):
    http.create(name)
    body = '{"points":[{"id":1,"vector":[1e999,1]},{"id":2,"vector":[1,-1e39]}]}'
    errors = http.post(f"/v1/collections/{name}/insert", body).json["errors"]
    assert [error["reason"] for error in errors] == ["NOT_FINITE", "NOT_FINITE"]


def test_a_request_of_several_chunks_tells_indexes_of_the_request(http, name):
    """4,096 components are 16 KiB, so a chunk holds 29 points and this needs three."""
    http.create(name, dim=4096)
    row = [0.5] * 4095
    points = [{"id": num, "vector": row + [num]} for num in range(70)]
    points[40]["vector"] = [1]
    points[69]["id"] = 5
    answer = http.post(f"/v1/collections/{name}/insert", {"points": points}).json
    assert answer["inserted"] == 68
    assert [(e["index"], e["reason"]) for e in answer["errors"]] == \
        [(40, "DIMENSION_MISMATCH"), (69, "ALREADY_EXISTS")]
    assert http.ids(name, *row, 66.0, k=1) == [66]


@pytest.mark.parametrize("wait", ["durable", "searchable"])
def test_what_was_waited_for_is_there_after_a_kill(start_server, wait):
    first = start_server(directory="kept")
    with Http(first.http_port) as http:
        http.create("kept")
        http.insert("kept", {num: (num, num) for num in range(500)}, wait=wait)
        if wait == "searchable":
            assert http.ids("kept", 499, 499, k=1) == [499]
    first.kill()
    second = start_server(directory="kept")
    with Http(second.http_port) as http:
        assert http.get("/v1/collections/kept").json["points"] == 500


def test_empty_collections_answer_with_a_shortfall(http, name):
    http.create(name)
    [result] = http.search(name, (1, 1))["results"]
    assert result["hits"] == [] and result["shortfall"] == "collection"


@pytest.mark.parametrize("vectors, options", [
    ([], {}), ([[1, 1]] * 1025, {}), ([[1, 1]] * 200, {"k": 10000})])
def test_a_refused_search_is_told_as_grpc_does(http, api, name, vectors, options):
    http.create(name)
    refusal = refusal_of(lambda: api.search(name, *vectors, **options))
    answer = http.post(f"/v1/collections/{name}/search",
                       {"queries": [{"vector": vector} for vector in vectors], **options})
    assert answer.status == 400 and answer.error["code"] == refusal.code.name
    assert (answer.error["reason"], answer.error["message"]) == (refusal.reason, refusal.sentence)


@pytest.mark.parametrize("vector, options", [
    ([1, 1], {"k": 10001}), ([1, 1], {"ef": 8193}), ([1], {}), ([1, 1, 1], {}), ([1e16, 1], {})])
def test_a_refused_query_is_told_as_grpc_does_and_the_others_are_answered(http, api, name, vector,
                                                                          options):
    http.create(name)
    http.insert(name, {1: (1, 1)})
    theirs = api.vectors.Search(v.SearchRequest(collection=name, queries=[
        v.Query(vector=v.Vector(f32_le=f32(*vector)), options=v.SearchOptions(**options)),
        v.Query(vector=v.Vector(f32_le=f32(1, 1)))]), timeout=TIMEOUT_S).results
    ours = http.post(f"/v1/collections/{name}/search", {"queries": [
        {"vector": vector, "options": options}, {"vector": [1, 1]}]}).json["results"]
    assert ours[0] == {"hits": [], "error": {"code": "INVALID_ARGUMENT",
                                             "reason": theirs[0].reason,
                                             "message": theirs[0].message}}
    assert theirs[0].code == 3 and theirs[0].message
    assert [hit["id"] for hit in ours[1]["hits"]] == [1] == [h.id.num for h in theirs[1].hits]


def test_many_requests_at_once_each_get_their_own_answer(shared_server, http, name):
    http.create(name, dim=4)
    wrong = []

    def work(worker):
        rng = np.random.default_rng(worker)
        with Http(shared_server.http_port) as mine:
            for step in range(10):
                num = worker * 1000 + step
                row = [float(num), *rng.standard_normal(3).tolist()]
                mine.insert(name, {num: row})
                if mine.ids(name, *row, k=1) != [num]:
                    wrong.append(num)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert http.get(f"/v1/collections/{name}").json["points"] == 160


def test_a_client_that_leaves_before_its_answer_hurts_nobody(shared_server, http, name):
    http.create(name)
    for num in range(50):
        with Http(shared_server.http_port) as gone:
            gone.connection.request("POST", f"/v1/collections/{name}/insert",
                                    '{"points":[{"id":%d,"vector":[1,2]}]}' % num)
    assert http.insert(name, {100: (1, 2)})["inserted"] == 1
    assert 100 in http.ids(name, 1, 2, k=60)

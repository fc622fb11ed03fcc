"""Upsert, delete and get over HTTP: the same engine, modes and sentences as over gRPC."""
import base64

import numpy as np
import pytest
from calls import TIMEOUT_S, point, refusal_of
from omendb.v1 import collection_pb2 as c
from omendb.v1 import vector_pb2 as v

LARGE = 2**64 - 1


def call(http, name, what, **body):
    answer = http.post(f"/v1/collections/{name}/{what}", body)
    assert answer.status == 200, answer
    return answer.json


def points(rows):
    return [{"id": num, "vector": list(row)} for num, row in rows]


def test_an_upsert_replaces_and_the_modes_do_what_they_say(http, api, name):
    http.create(name)
    answer = call(http, name, "upsert", points=points([(1, (1, 1)), ("k", (2, 2)), (1, (3, 3))]))
    assert (answer["points"], answer["written"], answer["errors"]) == (3, 3, [])
    assert api.rows(name, 1, b"k") == [(3, 3), (2, 2)]
    answer = call(http, name, "upsert", mode="insert_only",
                  points=points([("k", (4, 4)), (2, (4, 4))]))
    assert [(e["index"], e["id"], e["reason"]) for e in answer["errors"]] == \
        [(0, "k", "ALREADY_EXISTS")]
    answer = call(http, name, "upsert", mode="update_only",
                  points=points([(9, (5, 5)), (2, (5, 5))]))
    assert [(e["index"], e["id"], e["code"]) for e in answer["errors"]] == [(0, 9, "NOT_FOUND")]
    assert api.rows(name, 2, 9) == [(5, 5), None]


@pytest.mark.parametrize("key, sent", [
    (b"plain", "plain"), ("ä€😀".encode(), "ä€😀"), (b'"\\/\n', '"\\/\n'), (b"18", "18"),
    (b"\xff\xfe", None), (b"a\0b", None), (b"\xed\xa0\x80", None), (b"k" * 64, "k" * 64),
    (b"\xff", None), (b"\xff\0\xff", None)])
def test_a_key_goes_as_text_if_it_is_text_and_as_base64_otherwise(http, api, name, key, sent):
    http.create(name)
    if sent is None:
        sent = {"key_base64": base64.b64encode(key).decode()}
    call(http, name, "upsert", points=points([(sent, (1, 1)), (7, (2, 2))]))
    assert api.ids(name, 1, 1) == [key, 7]
    assert http.ids(name, 1, 1) == [sent, 7]
    assert [one["id"] for one in call(http, name, "get", ids=[sent, 7])["results"]] == [sent, 7]
    as_base64 = {"key_base64": base64.b64encode(key).decode()}
    assert call(http, name, "get", ids=[as_base64])["results"][0]["found"]
    call(http, name, "delete", ids=[as_base64])
    assert http.ids(name, 1, 1) == [7]


def test_ids_are_exact_in_every_request(http, api, name):
    http.create(name)
    nums = [0, 2**53 - 1, 2**53, 2**53 + 1, 2**63 + 1, LARGE - 1, LARGE]
    call(http, name, "upsert", points=points([(num, (i, i)) for i, num in enumerate(nums)]))
    found = call(http, name, "get", ids=nums)["results"]
    assert [one["id"] for one in found] == nums
    assert [one["vector"] for one in found] == [[i, i] for i in range(len(nums))]
    call(http, name, "delete", ids=[2**53 + 1, LARGE])
    assert sorted(http.ids(name, 0, 0)) == [0, 2**53 - 1, 2**53, 2**63 + 1, LARGE - 1]


def test_large_integers_are_still_numbers_where_numbers_are_wanted(http, name):
    http.create(name)
    [error] = call(http, name, "upsert", points=[{"id": 1, "vector": [1, 12345678901234567]},
                                                 {"id": 2, "vector": [0.5, 1e2]}])["errors"]
    assert (error["index"], error["reason"]) == (0, "OUT_OF_RANGE")
    assert call(http, name, "get", ids=[2])["results"][0]["vector"] == [0.5, 100]
    answer = http.post(f"/v1/collections/{name}/search",
                       {"queries": [{"vector": [1, 1]}], "k": 10**17})
    assert answer.status == 400 and answer.error["field"] == "k"
    answer = http.post("/v1/collections", {"name": 10**17, "config": {"dim": 2, "metric": 1}})
    assert answer.status == 400 and answer.error["field"] == "name"


def test_a_delete_says_how_many_and_which_ids_are_none(http, name):
    http.create(name)
    http.insert(name, {num: (num, num) for num in range(20)})
    answer = call(http, name, "delete", ids=[3, 4, 99, "", "x" * 65, "nobody"])
    assert answer["ids"] == 6
    assert [(e["index"], e["reason"]) for e in answer["errors"]] == [(3, "BAD_ID"), (4, "BAD_ID")]
    assert len(http.ids(name, 0, 0, k=50)) == 18
    answer = call(http, name, "delete", ids=list(range(10_000)))
    assert answer["ids"] == 10_000 and answer["errors"] == []
    assert http.ids(name, 0, 0) == []
    assert answer["token"]["log_position"] == answer["log_position"]


def test_ten_thousand_points_with_long_keys_go_in(http, name):
    http.create(name, dim=8)
    rows = [(f"{num:064d}", [num] * 8) for num in range(10_000)]
    assert call(http, name, "upsert", points=points(rows))["written"] == 10_000
    assert http.ids(name, *[7] * 8, k=1) == [f"{7:064d}"]


def test_a_get_tells_vectors_expiry_and_what_is_not_there(http, name):
    http.create(name)
    call(http, name, "upsert", points=[{"id": 1, "vector": [1.25, -3e-7], "ttl_s": 1000},
                                       {"id": "k", "vector": [0.1, 2]}])
    answer = call(http, name, "get", ids=["k", 1, 5])
    k, one, five = answer["results"]
    assert np.float32(k["vector"]).tolist() == np.float32([0.1, 2]).tolist()
    assert "expires_unix_s" not in k and one["expires_unix_s"] > 1.7e9
    assert np.float32(one["vector"]).tolist() == np.float32([1.25, -3e-7]).tolist()
    assert five == {"id": 5, "found": False}
    assert call(http, name, "get", ids=["k"], without_vectors=True)["results"] == \
        [{"id": "k", "found": True}]
    assert answer["token"]["log_position"] == answer["log_position"]


def test_a_token_of_either_port_is_good_at_the_other(http, api, name):
    http.create(name)
    token = call(http, name, "upsert", points=points([(1, (1, 1))]), wait="durable")["token"]
    response = api.vectors.Search(v.SearchRequest(
        collection=name, queries=[v.Query(vector=v.Vector(f32_le=bytes(8)))],
        min_read=v.ReadToken(incarnation=bytes.fromhex(token["incarnation"]),
                             log_position=token["log_position"])), timeout=TIMEOUT_S)
    assert [hit.id.num for hit in response.results[0].hits] == [1]
    theirs = api.upsert(name, point(2, 2, 2), wait_for=v.WAIT_FOR_DURABLE).token
    answer = http.search(name, (2, 2), k=1, min_read={
        "incarnation": theirs.incarnation.hex(), "log_position": theirs.log_position})
    assert answer["results"][0]["hits"][0]["id"] == 2
    assert answer["token"]["incarnation"] == token["incarnation"]


@pytest.mark.parametrize("min_read, status, reason", [
    ({"incarnation": "00" * 16, "log_position": 1}, 400, "INCARNATION_CHANGED"),
    ({"incarnation": "00" * 15}, 400, "BAD_TOKEN"), ({}, 400, "BAD_TOKEN"),
    ({"incarnation": "zz" * 16}, 400, "BAD_TOKEN"), ({"incarnation": 1}, 400, "BAD_MESSAGE"),
    (1, 400, "BAD_MESSAGE"), ({"incarnation": "00" * 16, "log_position": -1}, 400, "BAD_MESSAGE"),
    ({"incarnation": "00" * 16, "position": 1}, 400, "BAD_MESSAGE")])
def test_a_token_that_is_none_is_refused(http, name, min_read, status, reason):
    http.create(name)
    answer = http.post(f"/v1/collections/{name}/search", {
        "queries": [{"vector": [1, 1]}], "min_read": min_read})
    assert (answer.status, answer.error["reason"]) == (status, reason)


@pytest.mark.parametrize("what, body, reason", [
    ("upsert", {"points": []}, "BAD_LIMIT"), ("upsert", {"points": [{}] * 10001}, "TOO_LARGE"),
    ("upsert", {"points": [{"id": 1}], "mode": "replace"}, "BAD_MODE"),
    ("upsert", {"points": [{"id": 1}], "mode": 2}, "BAD_MODE"),
    ("insert", {"points": [{"id": 1}], "mode": "upsert"}, "BAD_MESSAGE"),
    ("delete", {"points": [{"id": 1}]}, "BAD_MESSAGE"), ("delete", {}, "BAD_LIMIT"),
    ("delete", {"ids": 1}, "BAD_MESSAGE"), ("delete", {"ids": [None]}, "BAD_MESSAGE"),
    ("delete", {"ids": [[1]]}, "BAD_MESSAGE"), ("delete", {"ids": [1] * 10001}, "TOO_LARGE"),
    ("get", {"ids": []}, "BAD_LIMIT"), ("get", {"ids": [1] * 1025}, "TOO_LARGE"),
    ("get", {"ids": [""]}, "BAD_ID"), ("get", {"ids": ["x" * 65]}, "BAD_ID"),
    ("get", {"ids": [1], "without_vectors": 1}, "BAD_MESSAGE")])
def test_what_is_no_such_request_is_refused_and_nothing_is_written(http, name, what, body, reason):
    http.create(name)
    answer = http.post(f"/v1/collections/{name}/{what}", body)
    assert (answer.status, answer.error["reason"]) == (400, reason), answer
    assert http.get(f"/v1/collections/{name}").json["points"] == 0


@pytest.mark.parametrize("what, body", [
    ("upsert", {"points": [{"id": 1, "vector": [1]}]}), ("delete", {"ids": [1]}),
    ("get", {"ids": [1]}), ("validate", {})])
def test_an_unknown_collection_is_told_as_grpc_does(http, api, what, body):
    answer = http.post(f"/v1/collections/nobody/{what}", body)
    refusal = refusal_of(lambda: api.get("nobody", 1))
    assert answer.status == 404
    assert answer.error == {"code": "NOT_FOUND", "reason": refusal.reason,
                            "message": refusal.sentence}


def test_a_validation_says_what_grpc_says(http, api, name):
    http.create(name)
    http.insert(name, {num: (num, num) for num in range(50)})
    theirs = api.collections.ValidateCollection(c.ValidateCollectionRequest(name=name),
                                                timeout=TIMEOUT_S)
    assert call(http, name, "validate") == {
        "points": 50, "linked": theirs.linked, "links": theirs.links,
        "reached_by_links": theirs.reached_by_links}

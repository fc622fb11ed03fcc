"""Whatever comes in over HTTP, the answer is a sentence and the server lives on."""
import json
import random

import pytest
from http_calls import Http, raw

MIB = 2**20


@pytest.fixture
def made(http, name):
    http.create(name)
    http.insert(name, {1: (1, 1)})
    yield name
    assert http.ids(name, 1, 1) == [1]


def refused(answer, *parts, status=400, reason="BAD_MESSAGE"):
    assert answer.status == status, answer
    assert answer.error["reason"] == reason
    for part in parts:
        assert part in answer.error["message"]


@pytest.mark.parametrize("body", ["", "{", "nonsense", "[]", "1", "null", '{"queries":[}', "{} {}",
                                  '{"queries":[{"vector":[NaN,1]}]}', "\xff\xfe", "{}\0{}",
                                  '{"queries":[{"vector":[1,1]}],"k":1\\u0000}'])
def test_what_is_no_json_object_is_refused(http, made, body):
    for path in ("/v1/collections", f"/v1/collections/{made}/search",
                 f"/v1/collections/{made}/insert"):
        refused(http.post(path, body.encode("latin-1")), "body")


@pytest.mark.parametrize("field, value, sentence", [
    ("queries", 1, "queries must be an array"), ("queries", [1], "queries[0] must be an object"),
    ("queries", [{"vector": 1}], "queries[0].vector must be an array of numbers"),
    ("queries", [{"vector": [1, "2"]}], "queries[0].vector[1] must be a number"),
    ("queries", [{"vector": [1, 2], "x": 1}], "queries[0].x is no field"),
    ("k", "1", "k must be an integer"), ("k", -1, "k must be an integer"),
    ("k", 1.5, "k must be an integer"), ("k", 2**32, "k must be an integer"),
    ("ef", None, "ef must be an integer"), ("exact", 1, "exact must be true or false"),
    ("kk", 1, "kk is no field")])
def test_a_wrong_type_in_a_search_names_the_field(http, made, field, value, sentence):
    body = {"queries": [{"vector": [1, 1]}], field: value}
    refused(http.post(f"/v1/collections/{made}/search", body), sentence)


@pytest.mark.parametrize("item, sentence", [
    (1, "points[1] must be an object"), ({"id": -1}, "points[1].id must be an integer"),
    ({"id": 1.5}, "points[1].id"), ({"id": 2**64}, "18446744073709551615"),
    ({"id": 10**40}, "points[1].id"), ({"id": 1e300}, "points[1].id"),
    ({"id": [1]}, "points[1].id"), ({"id": {}}, "points[1].id"), ({"id": None}, "points[1].id"),
    ({"id": {"key": "x"}}, "points[1].id"), ({"id": {"key_base64": "x"}}, "points[1].id"),
    ({"id": {"key_base64": "eA=", "num": 1}}, "points[1].id"),
    ({"id": {"key_base64": "e===", }}, "points[1].id"), ({"id": {"key_base64": 7}}, "points[1].id"),
    ({"id": 2, "ttl_s": -1}, "points[1].ttl_s"), ({"id": 2, "ttl_s": 2**63}, "points[1].ttl_s"),
    ({"id": 2, "vector": {}}, "points[1].vector must be an array"),
    ({"id": 2, "vector": [1, None]}, "points[1].vector[1] must be a number"),
    ({"id": 2, "vectr": [1, 1]}, "points[1].vectr is no field")])
def test_what_cannot_be_a_point_fails_the_request_and_nothing_goes_in(http, made, item, sentence):
    body = {"points": [{"id": 77, "vector": [1, 1]}, item]}
    refused(http.post(f"/v1/collections/{made}/insert", body), sentence)
    assert http.get(f"/v1/collections/{made}").json["points"] == 1


def test_other_limits_of_an_insert(http, made):
    path = f"/v1/collections/{made}/insert"
    refused(http.post(path, {"points": []}), "0 points", reason="BAD_LIMIT")
    refused(http.post(path, {}), "0 points", reason="BAD_LIMIT")
    refused(http.post(path, {"points": [{}] * 10001}), "10001", "10000", reason="TOO_LARGE")
    refused(http.post(path, {"points": [{}], "wait": "for me"}), "wait must be")
    refused(http.post(path, '{"points":[{}],"points":[{}]}'), "points is there twice")
    assert http.post(path, {"points": [{}] * 10000}).json["inserted"] == 0


@pytest.mark.parametrize("body", [
    {"name": 1, "config": {"dim": 2, "metric": 1}}, {"name": "x", "config": 1},
    {"name": "x", "config": {"dim": "2", "metric": 1}},
    {"name": "x", "config": {"dim": 2, "metric": 1, "ef": 1}},
    {"name": "x", "config": {"dim": 2, "metric": 1}, "shards": 2}])
def test_a_wrong_type_in_a_collection_is_refused(http, body):
    refused(http.post("/v1/collections", body))


def test_a_metric_of_another_name_lists_the_names(http):
    refused(http.post("/v1/collections", {"name": "x", "config": {"dim": 2, "metric": "dot"}}),
            '"dot"', "inner_product", reason="BAD_METRIC")


def test_unknown_paths_are_404_and_known_ones_with_another_method_405(http):
    for path in ("/", "/v1", "/v1/", "/v1/collections/", "/v1/collections/a/b", "/livez/",
                 "/v1/collections//search", "/v1/collections/a/search/", "/metrics2"):
        for method in ("GET", "POST", "DELETE"):
            refused(http.ask(method, path), path, status=404, reason="UNKNOWN_PATH")
    for method, path, allow in (("POST", "/livez", "GET"), ("PUT", "/v1/collections", "GET, POST"),
                                ("DELETE", "/metrics", "GET"),
                                ("PATCH", "/v1/collections/a", "GET, DELETE"),
                                ("GET", "/v1/collections/a/search", "POST"),
                                ("DELETE", "/v1/collections/a/insert", "POST")):
        answer = http.ask(method, path)
        refused(answer, method, path, status=405, reason="UNKNOWN_METHOD")
        assert answer.headers["Allow"] == allow


def test_head_answers_like_get_without_the_body(http):
    answer = http.ask("HEAD", "/metrics")
    assert answer.status == 200 and answer.text == "" and int(answer.headers["Content-Length"]) > 0


def test_a_body_up_to_the_limit_is_read_and_a_larger_one_told_its_limit(http, made):
    path = f"/v1/collections/{made}/search"
    body = json.dumps({"queries": [{"vector": [1, 1]}]})
    assert http.post(path, body.ljust(4 * MIB)).status == 200
    for size in (4 * MIB + 1, 20 * MIB):
        answer = http.post(path, body.ljust(size))
        refused(answer, str(4 * MIB), status=413, reason="TOO_LARGE")


def test_a_body_without_end_is_cut_off(shared_server, http, made):
    head = (f"POST /v1/collections/{made}/search HTTP/1.1\r\nHost: x\r\n"
            f"Content-Length: {10**12}\r\n\r\n").encode()
    assert b" 200 " not in raw(shared_server.http_port, head + b" " * (80 * MIB))
    assert http.get("/livez").status == 200


def test_a_body_in_pieces_is_put_together(http, made):
    text = json.dumps({"queries": [{"vector": [1, 1]}]}).encode()
    pieces = (text[i:i + 3] for i in range(0, len(text), 3))
    http.connection.request("POST", f"/v1/collections/{made}/search", pieces, encode_chunked=True,
                            headers={"Transfer-Encoding": "chunked"})
    assert http.connection.getresponse().read().startswith(b'{"results"')


def test_deep_nesting_is_refused(http, made):
    refused(http.post(f"/v1/collections/{made}/search", '{"queries":' + "[" * 100_000))


def test_random_bytes_never_end_the_server(shared_server, http, made):
    rng = random.Random(7)
    valid = json.dumps({"queries": [{"vector": [1, 1]}], "k": 3}).encode()
    for _ in range(200):
        body = bytearray(valid)
        for _ in range(rng.randint(1, 6)):
            body[rng.randrange(len(body))] = rng.randrange(256)
        assert http.post(f"/v1/collections/{made}/search", bytes(body)).status in (200, 400)
        assert http.post(f"/v1/collections/{made}/insert", bytes(body)).status == 400
    for _ in range(50):
        raw(shared_server.http_port, rng.randbytes(rng.randint(1, 3000)), wait=False)
    with Http(shared_server.http_port) as fresh:
        assert fresh.get("/livez").status == 200

"""Collections over HTTP: the same engine, limits and sentences as over gRPC."""
import grpc
import pytest
from calls import TIMEOUT_S, refusal_of
from omendb.v1 import collection_pb2 as c


def info_of(api, name):
    return api.collections.GetCollection(
        c.GetCollectionRequest(name=name, with_graph_hash=True), timeout=TIMEOUT_S).collection


def test_a_collection_is_created_shown_listed_and_dropped(http, api, name):
    created = http.create(name, dim=3, metric="cosine", links=8, candidates=32, probes=4,
                          epoch_points=100)
    assert created["config"] == {"dim": 3, "metric": "cosine", "links": 8, "candidates": 32,
                                 "probes": 4, "epoch_points": 100,
                                 "checkpoint_bytes": 16 << 20, "target_recall": 0.97,
                                 "originals": "f32"}
    http.insert(name, {1: (1, 2, 3), 2: (3, 2, 1)})
    shown = http.get(f"/v1/collections/{name}?with_graph_hash=true").json
    told = info_of(api, name)
    assert shown["graph_hash"] == told.graph_hash and len(told.graph_hash) == 16
    assert shown["incarnation"] == told.incarnation.hex() == created["incarnation"]
    assert shown["kernels"] == list(told.kernels)
    for field in ("name", "points", "log_position", "searchable_position", "epoch",
                  "memory_bytes", "log_bytes", "algorithm_version", "slots", "slots_max",
                  "checkpoint_position"):
        assert shown[field] == getattr(told, field)
    assert "graph_hash" not in http.get(f"/v1/collections/{name}").json
    assert name in [item["name"] for item in http.get("/v1/collections").json["collections"]]
    assert http.ask("DELETE", f"/v1/collections/{name}").json == {}
    assert name not in [item["name"] for item in http.get("/v1/collections").json["collections"]]
    assert http.get(f"/v1/collections/{name}").status == 404


@pytest.mark.parametrize("metric, number", [("l2", 1), ("cosine", 2), ("inner_product", 3)])
def test_a_metric_is_a_name_or_its_number(http, api, name, metric, number):
    assert http.create(name, metric=metric)["config"]["metric"] == metric
    assert info_of(api, name).config.metric == number
    assert http.create(f"{name}-n", metric=number)["config"]["metric"] == metric


@pytest.mark.parametrize("request_name, config", [
    ("ok", {"dim": 0, "metric": 1}), ("ok", {"dim": 5000, "metric": 1}),
    ("ok", {"dim": 2}), ("ok", {"dim": 2, "metric": 9}),
    ("ok", {"dim": 2, "metric": 1, "links": 3}), ("ok", {"dim": 2, "metric": 1, "links": 17}),
    ("ok", {"dim": 2, "metric": 1, "candidates": 1000}),
    ("ok", {"dim": 2, "metric": 1, "probes": 65}),
    ("ok", {"dim": 2, "metric": 1, "target_recall": 1.5}),
    ("ok", {"dim": 2, "metric": 1, "originals": 3}),
    ("ok", {"dim": 2, "metric": 1, "epoch_points": 10000}), ("ok", None),
    ("", {"dim": 2, "metric": 1}), ("a b", {"dim": 2, "metric": 1}),
    ("ä", {"dim": 2, "metric": 1}), ("n" * 65, {"dim": 2, "metric": 1}),
    ("n" * 500, {"dim": 2, "metric": 1})])
def test_a_refusal_is_the_one_of_grpc(http, api, request_name, config):
    refusal = refusal_of(lambda: api.collections.CreateCollection(c.CreateCollectionRequest(
        name=request_name, config=None if config is None else c.CollectionConfig(**config)),
        timeout=TIMEOUT_S))
    body = {"name": request_name} if config is None else {"name": request_name, "config": config}
    answer = http.post("/v1/collections", body)
    assert answer.status == 400
    assert answer.error["code"] == refusal.code.name == "INVALID_ARGUMENT"
    assert (answer.error["reason"], answer.error["message"]) == (refusal.reason, refusal.sentence)
    assert answer.error.get("field") == refusal.field


def test_originals_in_f16_are_rounded_and_too_large_ones_are_told(http, api, name):
    created = http.create(name, originals="f16")
    assert created["config"]["originals"] == "f16"
    assert info_of(api, name).config.originals == c.ORIGINALS_F16
    answer = http.post(f"/v1/collections/{name}/insert", {"points": [
        {"id": 1, "vector": [0.1, 2049]}, {"id": 2, "vector": [1, 70000]}]})
    assert (answer.json["inserted"], len(answer.json["errors"])) == (1, 1)
    assert answer.json["errors"][0]["message"] == (
        "vector's largest component is 70000; originals in f16 hold magnitudes of 6e-08 to 65504")
    got = http.post(f"/v1/collections/{name}/get", {"ids": [1]}).json["results"][0]
    assert got["vector"] == pytest.approx([0.0999755859375, 2048], rel=1e-8)
    found = http.search(name, (0.0999755859375, 2048))["results"][0]["hits"]
    assert found == [{"id": 1, "distance": 0}]
    refused = http.post("/v1/collections", {"name": "never", "config": {
        "dim": 2, "metric": "l2", "originals": "f8"}})
    assert (refused.status, refused.error["field"]) == (400, "config.originals")
    assert http.ask("DELETE", f"/v1/collections/{name}").status == 200


def test_a_target_recall_is_changed_as_over_grpc(http, api, name):
    http.create(name, target_recall=0.9)
    assert info_of(api, name).config.target_recall == 0.9
    answer = http.post(f"/v1/collections/{name}/update", {"target_recall": 0.99,
                                                          "calibrate": True})
    assert answer.status == 200 and answer.json["config"]["target_recall"] == 0.99
    assert answer.json["calibration"] == {
        "ef": 0, "ef_100": 0, "rerank": 0, "rerank_100": 0, "recall": 0, "recall_100": 0,
        "target_recall": 0, "live_queries": False, "queries": 0, "points": 0, "unix_s": 0}
    assert info_of(api, name).config.target_recall == 0.99
    for body, reason in ({}, "BAD_MESSAGE"), ({"target_recall": 2}, "BAD_LIMIT"), (
            {"target_recall": "0.9"}, "BAD_MESSAGE"), ({"calibrate": 1}, "BAD_MESSAGE"), (
            {"recall": 0.9}, "BAD_MESSAGE"):
        refused = http.post(f"/v1/collections/{name}/update", body)
        assert (refused.status, refused.error["reason"]) == (400, reason)
    assert http.post("/v1/collections/nobody/update", {"calibrate": True}).status == 404
    assert http.ask("DELETE", f"/v1/collections/{name}").status == 200


def test_a_name_that_is_taken_or_unknown_is_told_as_grpc_does(http, api, name):
    http.create(name)
    taken = refusal_of(lambda: api.create(name=name))
    answer = http.post("/v1/collections", {"name": name, "config": {"dim": 2, "metric": "l2"}})
    assert taken.code == grpc.StatusCode.ALREADY_EXISTS and answer.status == 409
    assert answer.error == {"code": "ALREADY_EXISTS", "reason": taken.reason,
                            "message": taken.sentence}
    missing = refusal_of(lambda: info_of(api, "nobody"))
    for answer in (http.get("/v1/collections/nobody"), http.ask("DELETE", "/v1/collections/nobody"),
                   http.post("/v1/collections/nobody/search", {"queries": [{"vector": [1]}]}),
                   http.post("/v1/collections/nobody/insert", {"points": [{"id": 1}]})):
        assert answer.status == 404
        assert answer.error == {"code": "NOT_FOUND", "reason": missing.reason,
                                "message": missing.sentence}


def test_an_escaped_or_overlong_name_in_the_path_names_nothing(http, name):
    http.create(name)
    for wrong in (f"{name}%00", f"{name}%20", "n" * 120, "n" * 200):
        assert http.get(f"/v1/collections/{wrong}").status in (400, 404)
    assert http.ask("DELETE", f"/v1/collections/{name}%00x").status in (400, 404)
    assert http.get(f"/v1/collections/{name}").status == 200

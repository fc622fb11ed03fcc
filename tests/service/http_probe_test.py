"""Probes and metrics, from the start to the drain."""
import re
import shutil
import subprocess

import grpc
import numpy as np
import pytest
from calls import Api, chunk_message, columns, open_message, point
from flow_test import SMALL_WINDOW, stuff_with_errors
from http_calls import Http, metrics
from running_server import run


def test_probes_say_ok_while_serving(http):
    for path in ("/livez", "/readyz", "/startupz"):
        answer = http.get(path)
        assert (answer.status, answer.text) == (200, "ok\n")


def test_while_loading_the_server_lives_and_is_not_ready(start_server):
    first = start_server("--checkpoint-seconds", "off", directory="loading")
    rng = np.random.default_rng(2)
    with Api(first.target) as api:
        stream = api.insert(open_message(api.create(dim=256, name="loaded")))
        stream.read_opened()
        for seq in range(1, 81):
            data = rng.standard_normal((400, 256), dtype=np.float32).tobytes()
            stream.send(chunk_message(seq, columns=columns(
                256, range(seq * 400, seq * 400 + 400), data)))
        stream.finish()
    assert first.stop() == 0
    second = start_server("--ingest-threads", "1", directory="loading", wait_for="listening")
    with Http(second.http_port) as http:
        ready = http.get("/readyz")
        refusals = [http.get("/v1/collections"), http.get("/v1/collections/loaded"),
                    http.post("/v1/collections/loaded/search", {"queries": [{"vector": [1]}]}),
                    http.post("/v1/collections/loaded/insert", {"points": [{"id": 1}]})]
        assert (ready.status, http.get("/startupz").status) == (503, 503)
        assert re.fullmatch(r"loading: .* \d+\.\d % are done\n", ready.text)
        assert http.get("/livez").status == 200
        assert 'omendb_build_info{version="0.1.0"}' in metrics(http)
        for refusal in refusals:
            assert refusal.status == 503 and refusal.error["reason"] == "LOADING"
        second.wait_line(" INFO serving ")
        assert http.get("/readyz").status == http.get("/startupz").status == 200
        assert http.get("/v1/collections/loaded").json["points"] == 32_000


def test_while_draining_the_server_lives_and_is_not_ready(start_server):
    """A client that reads nothing keeps the drain going until its seconds are over."""
    server = start_server("--drain-seconds", "3")
    with Api(server.target, SMALL_WINDOW) as silent, Api(server.target) as api, \
            Http(server.http_port) as http:
        name = api.create()
        stuck = stuff_with_errors(silent, name)
        assert http.get("/readyz").status == 200
        server.terminate()
        server.wait_line(" INFO draining ")
        while (ready := http.get("/readyz")).status == 200:
            pass
        assert ready.status == 503 and "draining" in ready.text
        assert http.get("/livez").status == http.get("/startupz").status == 200
        refusal = http.post(f"/v1/collections/{name}/insert", {"points": [{"id": 1}]})
        assert refusal.status == 503 and refusal.error["reason"] == "DRAINING"
        assert refusal.error["message"] == api.insert(open_message(name)).refusal().sentence
        assert http.get(f"/v1/collections/{name}").status == 200
        assert server.wait() == 0
        assert stuck.refusal().code == grpc.StatusCode.UNAVAILABLE


def test_an_insert_that_is_under_way_is_answered_before_the_server_goes(start_server):
    server = start_server("--ingest-threads", "1")
    rows = np.random.default_rng(3).standard_normal((400, 512)).round(3).tolist()
    with Http(server.http_port) as http, Http(server.http_port) as other:
        http.create("late", dim=512)
        http.connection.request("POST", "/v1/collections/late/insert", str(
            {"points": [{"id": num, "vector": row} for num, row in enumerate(rows)]}
        ).replace("'", '"'))
        while metrics(other)["omendb_insert_streams_open"] == 0 and \
                other.get("/v1/collections/late").json["points"] == 0:
            pass
        server.terminate()
        answer = http.connection.getresponse()
        assert answer.status == 200 and b'"inserted":400' in answer.read()
        assert server.wait() == 0


def test_the_http_port_can_be_off_and_a_taken_one_ends_the_start(start_server, tmp_path, server):
    off = start_server("--http-port", "off", directory="off")
    assert off.http_port == 0
    result = run("--data-dir", str(tmp_path / "other"), "--grpc-port", "0", "--http-port",
                 str(server.http_port))
    assert result.returncode == 1
    assert f"http_port {server.http_port}" in result.stderr
    result = run("--data-dir", str(tmp_path / "other"), "--grpc-port", "0", "--http-host",
                 "192.0.2.1", "--http-port", "0")
    assert result.returncode == 1 and "192.0.2.1" in result.stderr


def test_the_port_listens_on_ipv6_too(start_server):
    server = start_server("--http-host", "::1")
    with Http(server.http_port) as http:
        http.connection.host = "::1"
        assert http.get("/livez").status == 200


# ---- metrics ------------------------------------------------------------------------------------

def test_counters_follow_what_both_front_ends_do(server):
    with Api(server.target) as api, Http(server.http_port) as http:
        before = metrics(http)
        constant = {"omendb_serving", "omendb_ingest_bytes_max", "omendb_request_bytes_max",
                    "omendb_disk_free_bytes", "omendb_disk_reserve_bytes",
                    "omendb_memory_limit_bytes"}
        assert all(value == 0 for name, value in before.items()
                   if "build_info" not in name and name not in constant)
        http.create("a")
        http.insert("a", {1: (1, 1), 2: (2, 2), 3: (1,)})
        http.search("a", (1, 1), (2, 2), (1,))
        http.post("/v1/collections/a/delete", {"ids": [2, 77]})
        http.post("/v1/collections/a/get", {"ids": [1, 2, 3]})
        stream = api.insert(open_message("a"),
                            chunk_message(1, [point(4, 1, 1), point(1, 1, 1)]),
                            chunk_message(2, [point(5, 1, 1)], deletes=[8, 9]))
        stream.read_opened()
        stream.read_until(lambda ack: ack.searchable_seq == 2)
        assert metrics(http)["omendb_insert_streams_open"] == 1
        stream.finish()
        api.search("a", (1, 1), (2, 2), (3, 3))
        while (after := metrics(http))["omendb_insert_streams_open"] != 0:
            pass
        info = http.get("/v1/collections/a").json
    assert after["omendb_insert_points_total"] == 3
    assert after["omendb_insert_chunks_total"] == 2
    assert after["omendb_insert_deletes_total"] == 2
    assert after["omendb_insert_item_errors_total"] == 1
    assert after["omendb_upsert_requests_total"] == after["omendb_write_item_errors_total"] == 1
    assert after["omendb_upsert_points_total"] == 3
    assert (after["omendb_delete_requests_total"], after["omendb_delete_points_total"]) == (1, 2)
    assert (after["omendb_get_requests_total"], after["omendb_get_points_total"]) == (1, 3)
    assert after["omendb_search_queries_total"] == 6
    assert after["omendb_search_query_errors_total"] == 1
    assert after["omendb_serving"] == 1 and after["omendb_insert_drains_total"] == 0
    assert after["omendb_ingest_bytes"] == after["omendb_request_bytes"] == 0
    assert after["omendb_ingest_bytes_max"] == 48 << 20
    assert after["omendb_search_duration_seconds_count"] == 2
    assert after['omendb_search_duration_seconds_bucket{le="+Inf"}'] == 2
    assert 0 < after["omendb_search_duration_seconds_sum"] < 10
    for key in ("points", "log_position", "searchable_position", "epoch", "memory_bytes",
                "log_bytes", "slots", "slots_max", "checkpoint_position"):
        assert after[f'omendb_collection_{key}{{collection="a"}}'] == info[key]
    assert info["points"] == 3
    assert after['omendb_collection_target_recall{collection="a"}'] == 0.97
    for key in ("ef", "recall", "queries", "live", "timestamp_seconds"):
        assert after[f'omendb_collection_calibrated_{key}{{collection="a"}}'] == 0
    assert after['omendb_collection_dead_slots{collection="a"}'] == info["slots"] - 3


def test_buckets_grow_and_end_at_the_count(http):
    page = metrics(http)
    buckets = [value for name, value in page.items() if "duration_seconds_bucket" in name]
    assert buckets == sorted(buckets) and len(buckets) == 14
    assert buckets[-1] == page["omendb_search_duration_seconds_count"]


def test_promtool_finds_nothing_to_say(http, name):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    http.create(name)
    http.insert(name, {1: (1, 1)})
    http.search(name, (1, 1))
    answer = http.get("/metrics")
    assert answer.type.startswith("text/plain; version=0.0.4")
    result = subprocess.run([promtool, "check", "metrics"], input=answer.text, text=True,
                            capture_output=True, timeout=60)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")

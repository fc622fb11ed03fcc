"""omendb-load, the load generator of bench/load, against the real server.

Its figures are only as good as its counting: what it says was sent, acknowledged and answered is
compared with what the server holds, and its clock with the schedule it was given.
"""
import json
import os
import pathlib
import subprocess

import grpc
import numpy as np
import pytest
from calls import TIMEOUT_S, Api, refusal_of
from omendb.v1 import collection_pb2 as c
from running_server import binary, environment

PERCENTILES = ["p50_ms", "p90_ms", "p99_ms", "p999_ms", "max_ms"]


def load_binary() -> str:
    beside = pathlib.Path(binary()).resolve().parents[1] / "bench" / "load" / "omendb-load"
    return os.environ.get("OMENDB_LOAD_BINARY", str(beside))


@pytest.fixture
def load(shared_server, tmp_path):
    """load("ingest", "--flag", ...): the figures; it must end with the wanted status."""
    def run(mode, *flags, status=0):
        figures = tmp_path / "figures.json"
        figures.unlink(missing_ok=True)
        command = [load_binary(), mode, "--target", shared_server.target, "--json", str(figures),
                   *map(str, flags)]
        run.told = subprocess.run(command, env=environment(), capture_output=True, text=True,
                                  timeout=TIMEOUT_S)
        assert run.told.returncode == status, run.told.stderr
        return json.loads(figures.read_text()) if figures.exists() else None

    return run


def info(api, name):
    return api.collections.GetCollection(c.GetCollectionRequest(name=name),
                                         timeout=TIMEOUT_S).collection


def check_latency(latency, count):
    assert latency["count"] == count
    values = [latency[name] for name in PERCENTILES]
    assert values == sorted(values)
    assert 0 < latency["mean_ms"] <= latency["max_ms"]


def check_ingest(ingest, rows):
    assert ingest["rows_sent"] == ingest["durable_rows"] == ingest["searchable_rows"] == rows
    assert ingest["rows_refused"] == ingest["broken_streams"] == 0
    assert 0 < ingest["durable_seconds"] <= ingest["searchable_seconds"]
    for level in ("durable", "searchable"):
        assert ingest[f"{level}_per_second"] == pytest.approx(
            rows / ingest[f"{level}_seconds"], rel=1e-3)
        deciles = ingest[f"{level}_deciles_per_second"]
        # The tenths take as long together as the whole.
        assert sum(rows / 10 / rate for rate in deciles) == pytest.approx(
            ingest[f"{level}_seconds"], rel=1e-3)
        check_latency(ingest[f"chunk_{level}"], ingest["chunks"])


def test_ingest_counts_what_the_server_holds(load, api, shared_server):
    figures = load("ingest", "--collection", "load-ingest", "--create", "--keep", "--dim", 32,
                   "--rows", 20_011, "--connections", 2, "--streams", 3, "--chunk", 97,
                   "--server-pid", shared_server.process.pid)
    check_ingest(figures["ingest"], 20_011)
    assert figures["ingest"]["chunks"] == -(-20_011 // 97)
    assert figures["cpu"]["server_seconds"] > 0 and figures["cpu"]["own_seconds"] > 0
    held = info(api, "load-ingest")
    assert held.points == 20_011
    assert held.config.dim == 32 and held.config.metric == c.METRIC_COSINE


@pytest.mark.parametrize("dim", [1, 3, 384, 1000, 4096])
def test_a_chunk_is_as_large_as_the_server_takes_it(load, dim):
    flags = ["ingest", "--collection", f"load-chunk-{dim}", "--create", "--dim", dim,
             "--rows", 1200]
    ingest = load(*flags)["ingest"]
    check_ingest(ingest, 1200)
    points = ingest["chunk_points"]
    if points < 500:
        assert load(*flags, "--chunk", points + 1, status=1) is None
        assert f"--chunk {points + 1}: {points} points" in load.told.stderr


def test_a_paced_ingest_keeps_its_rate(load):
    figures = load("ingest", "--collection", "load-paced", "--create", "--dim", 16, "--rows", 4000,
                   "--chunk", 50, "--ingest-rate", 4000)
    check_ingest(figures["ingest"], 4000)
    # The last chunk is due 50 rows before the end of the second.
    assert 0.98 < figures["ingest"]["searchable_seconds"] < 3


def test_a_collection_that_it_made_is_dropped(load, api):
    load("ingest", "--collection", "load-dropped", "--create", "--dim", 8, "--rows", 100)
    refusal = refusal_of(lambda: info(api, "load-dropped"))
    assert refusal.code == grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_rows_of_a_file_arrive_as_they_are(load, api, tmp_path, kind):
    rows = np.random.default_rng(3).standard_normal((300, 6)).astype(kind)
    rows[7] = [6e-8, -6e-8, 65504, -65504, 1.5, 0]  # f16: the smallest and the largest
    np.save(tmp_path / "rows.npy", rows)
    name = f"load-file-{np.dtype(kind).name}"
    load("ingest", "--collection", name, "--create", "--keep", "--metric", "l2", "--data",
         tmp_path / "rows.npy", "--rows", 250, "--first-id", 1000, "--chunk", 40)
    assert info(api, name).points == 250
    for number in (0, 7, 39, 40, 249):
        result = api.search(name, rows[number].astype(np.float32).tolist(), k=1, exact=True)
        hit = result.results[0].hits[0]
        assert (hit.id.num, hit.distance) == (1000 + number, 0)


def test_synthetic_rows_depend_on_the_seed_alone(load, api):
    def nearest(name, seed, chunk):
        load("ingest", "--collection", name, "--create", "--keep", "--dim", 8, "--rows", 500,
             "--seed", seed, "--chunk", chunk, "--streams", 2)
        hits = api.search(name, [1.0] * 8, k=20, exact=True).results[0].hits
        return [(hit.id.num, hit.distance) for hit in hits]

    first = nearest("load-seed-1", 7, 33)
    assert nearest("load-seed-2", 7, 100) == first
    assert nearest("load-seed-3", 8, 33) != first


@pytest.fixture(scope="module")
def filled(shared_server):
    """A collection of 5,000 synthetic rows to search in."""
    command = [load_binary(), "ingest", "--target", shared_server.target, "--collection",
               "load-filled", "--create", "--keep", "--dim", "32", "--rows", "5000"]
    subprocess.run(command, env=environment(), check=True, capture_output=True, timeout=TIMEOUT_S)
    return ["--collection", "load-filled", "--dim", 32, "--rows", 5000]


def test_a_closed_loop_asks_exactly_as_often_as_told(load, filled, shared_server):
    figures = load("search", *filled, "--requests", 203, "--batch", 7, "--k", 5, "--concurrency",
                   8, "--connections", 3, "--server-pid", shared_server.process.pid)
    search = figures["search"]
    assert (search["requests"], search["queries"], search["hits"]) == (203, 203 * 7, 203 * 7 * 5)
    assert search["failed"] == search["not_sent"] == 0
    assert search["visited"] > search["hits"]
    assert search["queries_per_second"] == pytest.approx(203 * 7 / search["seconds"], rel=1e-3)
    check_latency(search["latency"], 203)
    assert search["latency"] == search["since_sent"]


def test_a_closed_loop_ends_in_time(load, filled):
    search = load("search", *filled, "--seconds", 1)["search"]
    assert 0.9 < search["seconds"] < 5
    check_latency(search["latency"], search["requests"])


def test_an_open_loop_keeps_its_rate(load, filled):
    search = load("search", *filled, "--rate", 150, "--seconds", 1, "--connections", 2)["search"]
    assert search["requests"] == 150 and search["failed"] == search["not_sent"] == 0
    # The last request is due at 149/150 s.
    assert 0.99 < search["seconds"] < 2.5
    assert search["requests_per_second"] == pytest.approx(150 / search["seconds"], rel=1e-3)
    check_latency(search["latency"], 150)
    check_latency(search["since_sent"], 150)


def test_waiting_for_a_slot_counts_as_latency(load, filled):
    """One request at a time, due much faster than they are answered: coordinated omission."""
    search = load("search", *filled, "--rate", 100_000, "--requests", 1000, "--concurrency", 1,
                  "--exact")["search"]
    assert search["requests"] + search["not_sent"] == 1000
    assert search["requests"] > 20
    assert search["latency"]["p50_ms"] > 5 * search["since_sent"]["p50_ms"]
    # The last of so many waits for all the others.
    waited = search["since_sent"]["mean_ms"] * (search["requests"] - 1)
    assert search["latency"]["max_ms"] > 0.7 * waited


def test_mixed_searches_while_it_ingests(load, api, shared_server):
    figures = load("mixed", "--collection", "load-mixed", "--create", "--keep", "--dim", 32,
                   "--rows", 4000, "--chunk", 100, "--ingest-rate", 4000, "--rate", 100,
                   "--server-pid", shared_server.process.pid)
    check_ingest(figures["ingest"], 4000)
    search = figures["search"]
    assert search["failed"] == search["not_sent"] == 0
    # As many as were due while rows went in.
    assert 70 * figures["ingest"]["searchable_seconds"] < search["requests"]
    assert search["requests"] <= 100 * figures["seconds"] + 1
    check_latency(search["latency"], search["requests"])
    assert info(api, "load-mixed").points == 4000


def test_rows_that_are_refused_are_counted_and_fail_the_run(load):
    flags = ["--collection", "load-twice", "--dim", 8]
    load("ingest", *flags, "--create", "--keep", "--rows", 60, "--chunk", 9)
    ingest = load("ingest", *flags, "--rows", 100, "--chunk", 9, status=1)["ingest"]
    assert ingest["rows_refused"] == 60 and ingest["searchable_rows"] == 100
    assert "60 rows were refused" in load.told.stderr


def test_a_server_that_dies_ends_the_run_with_what_was_measured(start_server, tmp_path):
    server = start_server()
    figures = tmp_path / "figures.json"
    command = [load_binary(), "mixed", "--target", server.target, "--json", str(figures),
               "--collection", "load-killed", "--create", "--keep", "--dim", "8", "--rows",
               "1000000", "--chunk", "10", "--ingest-rate", "2000", "--rate", "50"]
    with Api(server.target) as api, subprocess.Popen(
            command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True) as process:
        points = 0
        while points < 100 and process.poll() is None:
            try:
                points = info(api, "load-killed").points
            except grpc.RpcError:
                continue  # not made yet
        server.kill()
        _, told = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 1 and "status 14" in told
    ingest = json.loads(figures.read_text())["ingest"]
    assert ingest["broken_streams"] == 1
    assert 100 <= ingest["searchable_rows"] <= ingest["rows_sent"] < 1_000_000


def test_failed_searches_are_counted_and_fail_the_run(load):
    figures = load("search", "--collection", "load-nowhere", "--dim", 8, "--requests", 5,
                   "--concurrency", 1, "--rate", 1000, status=1)
    assert figures["search"]["failed"] == 5 and figures["search"]["requests"] == 0
    assert "load-nowhere" in load.told.stderr


@pytest.mark.parametrize("flags, named", [
    (["ingest", "--chunk", "0"], "--chunk 0: limits are 1 and 30000"),
    (["search", "--rate", "fast"], "--rate fast"),
    (["search", "--create"], "--create"),
    (["mixed", "--seconds", "3"], "--seconds"),
    (["search", "--concurrency", "101"], "--concurrency 101"),
    (["ingest", "--metric", "hamming"], "--metric hamming"),
    (["ingest", "--nothing", "1"], "--nothing"),
    (["ingest", "--rows"], "--rows wants a value"),
    (["bake"], "bake"),
])
def test_flags_without_a_meaning_are_refused_by_name(load, flags, named):
    assert load(flags[0], *flags[1:], status=2) is None
    assert named in load.told.stderr


def test_files_that_are_no_such_array_are_refused_by_name(load, tmp_path):
    rows = np.ones((4, 8), dtype=np.float32)
    np.save(tmp_path / "f64.npy", rows.astype(np.float64))
    np.save(tmp_path / "fortran.npy", np.asfortranarray(rows))
    np.save(tmp_path / "flat.npy", rows.ravel())
    np.save(tmp_path / "whole.npy", rows)
    whole = (tmp_path / "whole.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(whole[:-1])
    (tmp_path / "text.npy").write_text("not an array at all")
    for name in ("f64", "fortran", "flat", "cut", "text", "missing"):
        path = tmp_path / f"{name}.npy"
        assert load("ingest", "--create", "--data", path, status=1) is None
        assert str(path) in load.told.stderr

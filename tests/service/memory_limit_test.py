"""The memory limit, seen from outside: what is refused, with which figures, and what goes on; and
whether the formula tells the truth about a real server."""
import pathlib
import re

import grpc
import numpy as np
import pytest
from calls import TIMEOUT_S, Api, chunk_message, columns, open_message, point, refusal_of
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from http_calls import Http, metrics
from omendb.v1 import collection_pb2 as c
from omendb.v1 import vector_pb2 as v
from running_server import run

MIB = 1 << 20
BUDGETS = ["--ingest-memory-mib", "16", "--request-memory-mib", "32", "--grpc-memory-mib", "64"]
OTHERS_MIB = 16 + 32 + 64 + 64  # and the program
DIM = 64
PIECE = 1000


def details_of(error: grpc.RpcError):
    """ErrorInfo and RetryInfo of a status."""
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    for detail in rpc_status.from_call(error).details:
        assert detail.Unpack(info) or detail.Unpack(retry), detail
    return info, retry


def fill(api: Api, name: str):
    """Streams points until one chunk is refused. How many are in, and the status."""
    rows = np.random.default_rng(5).standard_normal((PIECE, DIM), dtype=np.float32).tobytes()
    stream = api.insert(open_message(name))
    stream.read_opened()
    seq, acked = 0, 0
    try:
        while seq < 1000:
            seq += 1
            stream.send(chunk_message(seq, columns=columns(
                DIM, range(seq * PIECE, (seq + 1) * PIECE), rows)))
            acked = stream.read_until(lambda ack: ack.searchable_seq >= seq)[-1].searchable_seq
    except grpc.RpcError as error:
        return acked * PIECE, error
    raise AssertionError("nothing was refused")


def test_points_beyond_the_limit_are_refused_with_figures_and_the_rest_goes_on(start_server):
    server = start_server(*BUDGETS, "--memory-limit", f"{OTHERS_MIB + 24}MiB")
    limit = 24 * MIB
    with Api(server.target) as api, Http(server.http_port) as http:
        name = api.create(dim=DIM)
        count, error = fill(api, name)
        assert count >= 5 * PIECE and error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        info, retry = details_of(error)
        assert info.reason == "MEMORY_LIMIT" and retry.retry_delay.seconds > 0
        used, needed = int(info.metadata["used"]), int(info.metadata["needed"])
        assert int(info.metadata["limit"]) == limit and used <= limit < used + needed
        for figure in (used, limit, needed):
            assert str(figure) in error.details()
        page = metrics(http)
        assert page["omendb_memory_limit_bytes"] == limit
        assert used <= page["omendb_memory_used_bytes"] <= limit

        many = [point(num, *[1.0] * DIM) for num in range(10**6, 10**6 + 400)]
        answers = 0
        while True:  # until the last slots are taken, too
            answer = http.post(f"/v1/collections/{name}/upsert", {"points": [
                {"id": 10**7 + answers * 500 + i, "vector": [1.0 + i] * DIM} for i in range(500)]})
            answers += 1
            if answer.status != 200:
                break
        assert answer.status == 429 and answer.error["reason"] == "MEMORY_LIMIT"
        assert answer.error["limit"] == limit and answer.error["retry_after_ms"] > 0
        assert answer.error["used"] + answer.error["needed"] > limit
        refusal = refusal_of(lambda: api.upsert(name, *many))
        assert refusal.reason == "MEMORY_LIMIT"
        assert api.ids(name, *[1.0] * DIM, k=3, exact=True)
        assert api.collections.GetCollection(
            c.GetCollectionRequest(name=name), timeout=TIMEOUT_S).collection.refusal_reason == ""

        # What is deleted makes room, for as much again.
        for first in range(PIECE, 3 * PIECE, 500):
            api.delete(name, *range(first, first + 500))
        while refused(api, name, many):
            pass


def refused(api, name, points) -> bool:
    try:
        api.vectors.Upsert(v.UpsertRequest(collection=name, points=points), timeout=TIMEOUT_S)
    except grpc.RpcError as error:
        assert details_of(error)[0].reason == "MEMORY_LIMIT"
        return True
    return False


def test_a_limit_that_leaves_nothing_ends_the_start(tmp_path):
    result = run("--data-dir", str(tmp_path), "--memory-limit", "150MiB", *BUDGETS)
    assert result.returncode == 2
    for part in ("memory_limit is 150 MiB", "grpc_memory_mib", f"{OTHERS_MIB} MiB"):
        assert part in result.stderr


def test_what_was_not_set_becomes_smaller_with_the_limit(start_server):
    server = start_server("--memory-limit", "400MiB", "--request-memory-mib", "100")
    line = server.wait_line(" INFO memory ")
    # An eighth: 50 MiB for gRPC, but 64 at least; 48 for ingest fit; 64 for the program.
    assert f"limit_mib=400 of=400MiB collections_mib={400 - 100 - 64 - 48 - 64}" in line


@pytest.mark.parametrize("value", ["0", "101%", "4GB", "-1", "", "1.5GiB"])
def test_a_bad_limit_is_named(value):
    result = run("--data-dir", "/x", "--memory-limit", value)
    assert result.returncode == 2
    for part in ("memory_limit", f'is \\"{value}\\"', "--memory-limit", "GiB"):
        assert part in result.stderr


# ---- estimates --------------------------------------------------------------------------------


def estimate(api: Api, dim: int, points: int, keyed: int = 0) -> c.EstimateMemoryResponse:
    return api.collections.EstimateMemory(c.EstimateMemoryRequest(
        config=c.CollectionConfig(dim=dim, metric=c.METRIC_L2), points=points, keyed_points=keyed),
        timeout=TIMEOUT_S)


def test_an_estimate_is_the_same_over_grpc_and_http_and_adds_up(api, http):
    got = estimate(api, 384, 10**6, 1000)
    assert got.memory_bytes == sum((got.codes_bytes, got.rows_bytes, got.ids_bytes,
                                    got.tables_bytes, got.cells_bytes, got.fixed_bytes))
    assert got.originals_bytes == 384 * 4 * 10**6 and got.limit_bytes > 0
    assert 0.8e9 < got.memory_bytes < 1.1e9
    answer = http.get("/v1/estimate?dim=384&points=1000000&keyed_points=1000").json
    for field, value in answer.items():
        if field != "used_bytes":  # other tests' collections come and go
            assert value == getattr(got, field), field


def test_a_bad_estimate_is_refused(api, http):
    for dim, points, keyed in ((0, 1, 0), (4097, 1, 0), (8, 2**28 + 1, 0), (8, 1, 2)):
        refusal = refusal_of(lambda dim=dim, points=points, keyed=keyed:
                             estimate(api, dim, points, keyed))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "BAD_LIMIT")
    assert refusal_of(lambda: api.collections.EstimateMemory(
        c.EstimateMemoryRequest(points=1), timeout=TIMEOUT_S)).field == "config"
    for query in ("", "?dim=x&points=1", "?dim=8&points=-1", "?dim=5000000000&points=1"):
        answer = http.get(f"/v1/estimate{query}")
        assert answer.status == 400 and answer.error["reason"] == "BAD_LIMIT"


def anonymous_bytes(server) -> int:
    status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]) * 1024


def stream_in(api: Api, name: str, dim: int, points: int) -> None:
    rng = np.random.default_rng(9)
    piece = min(400_000 // (4 * dim + 8), 4000)
    stream = api.insert(open_message(name))
    stream.read_opened()
    for seq, first in enumerate(range(0, points, piece), 1):
        count = min(piece, points - first)
        data = rng.standard_normal((count, dim), dtype=np.float32).tobytes()
        ids = range(first, first + count)
        stream.send(chunk_message(seq, columns=columns(dim, ids, data)))
    stream.finish()


@pytest.mark.parametrize("dim,points", [(32, 200_000), (384, 60_000)])
def test_a_server_takes_what_was_estimated(start_server, dim, points):
    """Of anonymous memory, since originals are mapped, and over what a server takes that is at
    work: buffers and workspaces have their own budgets. 15 % and 24 MiB are tolerated: tables that
    were outgrown a moment ago, and what the allocator keeps."""
    server = start_server("--checkpoint-seconds", "off", "--calibrate-seconds", "0")
    if "libasan" in pathlib.Path(f"/proc/{server.process.pid}/maps").read_text():
        pytest.skip("a sanitizer's memory is not what is estimated")
    with Api(server.target) as api:
        warm = api.create(dim=dim)
        stream_in(api, warm, dim, 30_000)
        gone = c.DeleteCollectionRequest(name=warm)
        api.collections.DeleteCollection(gone, timeout=TIMEOUT_S)
        before = anonymous_bytes(server)
        stream_in(api, api.create(dim=dim), dim, points)
        grown = anonymous_bytes(server) - before
        expected = estimate(api, dim, points)
    assert abs(grown - expected.memory_bytes) < 0.15 * expected.memory_bytes + 24 * MIB, (
        f"grown by {grown / MIB:.0f} MiB, estimated {expected.memory_bytes / MIB:.0f} MiB")
    log = sum(file.stat().st_size for file in server.data_dir.rglob("log-*.omen"))
    assert abs(log - expected.log_bytes) < 0.05 * expected.log_bytes
    originals = sum(file.stat().st_size for file in server.data_dir.rglob("originals.f32"))
    assert expected.originals_bytes <= originals < 1.2 * expected.originals_bytes + MIB

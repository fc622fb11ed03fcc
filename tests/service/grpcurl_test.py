"""grpcurl, a client that knows nothing but reflection, can use everything."""
import json
import os
import pathlib
import shutil
import subprocess

import pytest
from calls import Api

# The newest release that Debian 12's Go 1.19 builds.
VERSION = "v1.9.1"
MODULE = "github.com/fullstorydev/grpcurl/cmd/grpcurl"
CACHE = pathlib.Path(__file__).resolve().parents[2] / "build" / "tools" / f"grpcurl-{VERSION}"
BUILD_TIMEOUT_S = 900
CALL_TIMEOUT_S = 60


@pytest.fixture(scope="session")
def grpcurl():
    """Built once, from the Go proxy, and kept in build/."""
    path = CACHE / "grpcurl"
    if not path.exists():
        go = shutil.which("go")
        if go is None:
            pytest.fail("go is not installed: it builds grpcurl")
        CACHE.mkdir(parents=True, exist_ok=True)
        built = subprocess.run([go, "install", f"{MODULE}@{VERSION}"],
                               env={**os.environ, "GOBIN": str(CACHE), "GOFLAGS": "-p=2"},
                               capture_output=True, text=True, timeout=BUILD_TIMEOUT_S)
        assert built.returncode == 0, built.stderr

    def call(target, *arguments, data=None, fails=False):
        command = [str(path), "-plaintext"]
        if data is not None:
            command += ["-d", "".join(json.dumps(message) for message in data)]
        result = subprocess.run([*command, target, *arguments], capture_output=True, text=True,
                                timeout=CALL_TIMEOUT_S)
        assert (result.returncode != 0) == fails, result.stderr
        return result.stderr if fails else result.stdout

    return call


def documents(text):
    """The JSON documents that grpcurl prints one after the other."""
    decoder, found = json.JSONDecoder(), []
    while text.strip():
        text = text.lstrip()
        document, end = decoder.raw_decode(text)
        found.append(document)
        text = text[end:]
    return found


def test_it_lists_and_describes(grpcurl, shared_server):
    listed = grpcurl(shared_server.target, "list").split()
    assert {"omendb.v1.VectorService", "omendb.v1.CollectionService",
            "grpc.health.v1.Health"} <= set(listed)
    for service in listed:
        assert service.rsplit(".", 1)[1] in grpcurl(shared_server.target, "describe", service)
    assert "repeated .omendb.v1.Point points = 2" in grpcurl(shared_server.target, "describe",
                                                             "omendb.v1.Chunk")


def test_it_asks_for_health(grpcurl, shared_server):
    answer = documents(grpcurl(shared_server.target, "grpc.health.v1.Health/Check"))
    assert answer == [{"status": "SERVING"}]


def test_it_creates_inserts_and_searches(grpcurl, shared_server):
    target = shared_server.target
    grpcurl(target, "omendb.v1.CollectionService/CreateCollection",
            data=[{"name": "by-grpcurl", "config": {"dim": 2, "metric": "METRIC_L2"}}])
    answers = documents(grpcurl(target, "omendb.v1.VectorService/Insert", data=[
        {"open": {"collection": "by-grpcurl", "mode": "WRITE_MODE_INSERT_ONLY"}},
        {"chunk": {"seq": 1, "points": [
            {"id": {"num": 7}, "vector": {"floats": {"values": [1, 2]}}},
            {"id": {"num": 8}, "vector": {"floats": {"values": [1, 2, 3]}}}]}}]))
    assert answers[0]["opened"]["dim"] == 2
    assert answers[-1]["ack"]["searchableSeq"] == "1"
    errors = [error for answer in answers[1:] for error in answer["ack"].get("errors", [])]
    assert [error["reason"] for error in errors] == ["DIMENSION_MISMATCH"]
    found = documents(grpcurl(target, "omendb.v1.VectorService/Search", data=[
        {"collection": "by-grpcurl",
         "queries": [{"vector": {"floats": {"values": [1, 2]}}}]}]))[0]
    assert [hit["id"]["num"] for hit in found["results"][0]["hits"]] == ["7"]


def test_it_shows_why_a_call_is_refused(grpcurl, shared_server):
    with Api(shared_server.target) as api:
        name = api.create()
    printed = grpcurl(shared_server.target, "omendb.v1.VectorService/Search", fails=True, data=[
        {"collection": name, "layout": 7, "queries": [{"vector": {"floats": {"values": [1]}}}]}])
    assert "InvalidArgument" in printed and "BAD_LIMIT" in printed
    assert "layout is 7" in printed

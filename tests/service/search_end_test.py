"""Searches that end early, or wait: deadlines, cancellation, read tokens."""
import threading
import time

import grpc
import numpy as np
import pytest
from calls import TIMEOUT_S, Api, f32, open_message, point, refusal_of
from http_calls import Http, metrics
from omendb.v1 import collection_pb2 as c
from omendb.v1 import vector_pb2 as v

DIM = 512
FAR = 2**60  # a log position that nobody reaches


def request(name, token=None, k=1, exact=False, queries=((1, 1),)):
    return v.SearchRequest(collection=name, min_read=token,
                           options=v.SearchOptions(k=k, exact=exact),
                           queries=[v.Query(vector=v.Vector(f32_le=f32(*query)))
                                    for query in queries])


def token_of(api, name, log_position):
    info = api.collections.GetCollection(c.GetCollectionRequest(name=name),
                                         timeout=TIMEOUT_S).collection
    return v.ReadToken(incarnation=info.incarnation, log_position=log_position)


@pytest.fixture(scope="module")
def costly(request, tmp_path_factory):
    """A request that takes a thread seconds, on a server with one search thread."""
    from running_server import RunningServer
    server = RunningServer(tmp_path_factory.mktemp("costly"), ("--search-threads", "1"))
    request.addfinalizer(server.close)
    with Api(server.target) as api:
        name = api.create(dim=DIM)
        rows = np.random.default_rng(5).standard_normal((20_000, DIM), dtype=np.float32)
        stream = api.insert(open_message(name))
        stream.read_opened()
        for seq in range(1, 101):
            message = v.InsertRequest()
            message.chunk.seq = seq
            message.chunk.columns.dim = DIM
            message.chunk.columns.ids.extend(range((seq - 1) * 200, seq * 200))
            message.chunk.columns.vectors_f32_le = rows[(seq - 1) * 200:seq * 200].tobytes()
            stream.send(message)
        stream.finish()
    message = v.SearchRequest(collection=name, options=v.SearchOptions(k=1000, exact=True))
    message.columns.dim = DIM
    message.columns.vectors_f32_le = rows[:1000].tobytes()
    return server, message, rows


def abandoned(http):
    return metrics(http)["omendb_searches_abandoned_total"]


def whole_time(server, message):
    with Api(server.target) as api:
        started = time.monotonic()
        api.vectors.Search(message, timeout=TIMEOUT_S)
        return time.monotonic() - started


def test_a_deadline_ends_the_work_and_not_only_the_wait(costly):
    """With one search thread, the next search is answered long before the first would have been."""
    server, message, rows = costly
    whole = whole_time(server, message)
    with Api(server.target) as api, Http(server.http_port) as http:
        before = abandoned(http)
        started = time.monotonic()
        refusal = refusal_of(lambda: api.vectors.Search(message, timeout=whole / 20))
        assert refusal.code == grpc.StatusCode.DEADLINE_EXCEEDED
        assert api.ids(message.collection, *rows[3].tolist(), k=1) == [3]
        assert time.monotonic() - started < whole / 2
        while abandoned(http) != before + 1:
            pass


def test_a_cancelled_call_ends_the_work(costly):
    server, message, rows = costly
    whole = whole_time(server, message)
    with Api(server.target) as api, Http(server.http_port) as http:
        before = abandoned(http)
        started = time.monotonic()
        calls = [api.vectors.Search.future(message, timeout=TIMEOUT_S) for _ in range(5)]
        for call in calls:
            call.cancel()
        assert api.ids(message.collection, *rows[3].tolist(), k=1) == [3]
        assert time.monotonic() - started < whole * 2
        assert abandoned(http) >= before


def test_a_cut_connection_ends_the_work_of_its_searches(costly):
    server, message, _ = costly
    with Http(server.http_port) as http:
        before = abandoned(http)
        with Api(server.target) as gone, Api(server.target) as api:
            started = threading.Event()
            calls = [gone.vectors.Search.future(message, timeout=TIMEOUT_S) for _ in range(4)]
            started.wait(0.05)
            gone.close()
            assert len(calls) == 4
            api.search(message.collection, [1.0] * DIM, k=1)
        while abandoned(http) <= before:
            pass
        assert metrics(http)["omendb_request_bytes"] >= 0


def test_searches_that_end_at_any_moment_leave_the_server_well(api):
    name = api.create()
    api.fill(name, {num: (num, 1) for num in range(500)})
    for step in range(200):
        call = api.vectors.Search.future(request(name, queries=[(1, 1)] * 50, k=50),
                                         timeout=TIMEOUT_S if step % 2 else 0.0005 * (step % 9))
        if step % 2:
            call.cancel()
    assert api.ids(name, 7, 1, k=1) == [7]


# ---- min_read -----------------------------------------------------------------------------------


def test_a_search_waits_for_what_its_token_names(api):
    name = api.create()
    api.fill(name, {1: (1, 1)})
    last = api.search(name, (1, 1)).log_position
    waiting = api.vectors.Search.future(request(name, token_of(api, name, last + 1)),
                                        timeout=TIMEOUT_S)
    with pytest.raises(grpc.FutureTimeoutError):
        waiting.result(timeout=0.2)
    api.upsert(name, point(2, 1, 1.5))
    response = waiting.result()
    assert response.log_position > last and response.results[0].hits[0].id.num == 1


def test_a_token_that_is_reached_costs_no_wait(api):
    name = api.create()
    api.fill(name, {1: (1, 1)})
    for position in (0, api.search(name, (1, 1)).log_position):
        assert api.vectors.Search(request(name, token_of(api, name, position)),
                                  timeout=TIMEOUT_S).results[0].hits


def test_a_token_that_is_never_reached_meets_the_deadline(api):
    name = api.create()
    refusal = refusal_of(lambda: api.vectors.Search(request(name, token_of(api, name, FAR)),
                                                    timeout=0.3))
    assert refusal.code == grpc.StatusCode.DEADLINE_EXCEEDED


def test_without_a_deadline_the_servers_own_limit_ends_the_wait(start_server):
    server = start_server("--search-seconds-max", "1")
    with Api(server.target) as api, Http(server.http_port) as http:
        name = api.create()
        token = token_of(api, name, FAR)
        refusal = refusal_of(lambda: api.vectors.Search(request(name, token)))
        assert (refusal.code, refusal.domain) == (grpc.StatusCode.DEADLINE_EXCEEDED, "omendb")
        answer = http.post(f"/v1/collections/{name}/search", {
            "queries": [{"vector": [1, 1]}],
            "min_read": {"incarnation": token.incarnation.hex(), "log_position": FAR}})
        assert answer.status == 504 and answer.error["code"] == "DEADLINE_EXCEEDED"


def test_waiting_searches_do_not_hold_up_others(server):
    with Api(server.target) as api:
        name = api.create()
        api.fill(name, {1: (1, 1)})
        waiting = [api.vectors.Search.future(request(name, token_of(api, name, FAR)),
                                             timeout=TIMEOUT_S) for _ in range(50)]
        for _ in range(20):
            assert api.ids(name, 1, 1) == [1]
        for call in waiting:
            call.cancel()
        server.terminate()
        assert server.wait() == 0


@pytest.mark.parametrize("incarnation", [b"", b"x", b"x" * 15, b"x" * 17])
def test_a_token_of_another_length_is_refused(api, incarnation):
    refusal = refusal_of(lambda: api.vectors.Search(request(api.create(), v.ReadToken(
        incarnation=incarnation)), timeout=TIMEOUT_S))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "BAD_TOKEN")
    assert refusal.field == "min_read.incarnation" and f"{len(incarnation)} bytes" in \
        refusal.sentence


def test_a_token_of_an_earlier_life_of_the_collection_is_refused(api):
    name = api.create()
    token = api.upsert(name, point(1, 1, 1)).token
    api.collections.DeleteCollection(c.DeleteCollectionRequest(name=name), timeout=TIMEOUT_S)
    api.create(name=name)
    refusal = refusal_of(lambda: api.vectors.Search(request(name, token), timeout=TIMEOUT_S))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION,
                                              "INCARNATION_CHANGED")


# ---- options of single queries ------------------------------------------------------------------


def test_a_query_has_the_options_of_the_request_or_its_own_as_a_whole(api):
    name = api.create()
    api.fill(name, {num: (num, 1) for num in range(100)})
    vector = v.Vector(f32_le=f32(1, 1))
    response = api.vectors.Search(v.SearchRequest(
        collection=name, options=v.SearchOptions(k=3, ef=200),
        queries=[v.Query(vector=vector), v.Query(vector=vector, options=v.SearchOptions(k=7)),
                 v.Query(vector=vector, options=v.SearchOptions(exact=True)),
                 v.Query(vector=vector, options=v.SearchOptions())],
        columns=v.QueryColumns(dim=2, vectors_f32_le=f32(1, 1, 5, 1))), timeout=TIMEOUT_S)
    assert [len(result.hits) for result in response.results] == [3, 7, 10, 10, 3, 3]
    assert response.results[5].hits[0].id.num == 5


def test_columns_come_after_the_queries_wherever_they_stand(api):
    name = api.create()
    api.fill(name, {1: (1, 1), 2: (2, 2)})
    head = v.SearchRequest(collection=name, columns=v.QueryColumns(
        dim=2, vectors_f32_le=f32(2, 2)), options=v.SearchOptions(k=1)).SerializeToString()
    tail = v.SearchRequest(queries=[v.Query(vector=v.Vector(f32_le=f32(1, 1)))])
    raw = api.channel.unary_unary("/omendb.v1.VectorService/Search",
                                  response_deserializer=v.SearchResponse.FromString)
    response = raw(head + tail.SerializeToString(), timeout=TIMEOUT_S)
    assert [result.hits[0].id.num for result in response.results] == [1, 2]

"""The target recall: searches that name no ef find the share of true neighbours that was asked for,
also when the queries are of another kind than the points."""
import time

import numpy as np
import pytest
from omendb_client import Client
from conftest import validate

ROWS = 20_000
NAME = "words"


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def strangers(words, count):
    """Queries that are no word's neighbours: half of it from between four of them, half noise."""
    rng = np.random.default_rng(5)
    between = unit(sum(words[rng.integers(ROWS, size=count)] for _ in range(4)))
    return unit(between + unit(rng.standard_normal(between.shape)))


def recall(client, queries, ef=None, k=10):
    exact = client.search(NAME, queries, k=k, exact=True)
    found = client.search(NAME, queries, k=k, ef=ef)
    return float((found.distances <= exact.distances[:, -1:]).mean())


@pytest.fixture
def filled(start_server, words):
    """A server that calibrates every second, without rests, and half of the words in it."""
    server = start_server("--calibrate-seconds", "1", "--calibrate-percent", "100")
    with Client(server.target) as client:
        client.create_collection(NAME, dim=words.shape[1], target_recall=0.97)
        client.insert(NAME, ids=np.arange(ROWS), vectors=words[:ROWS])
    return server


def calibration_when(client, holds, seconds=60):
    deadline = time.monotonic() + seconds
    while True:
        found = client.get_collection(NAME).calibration
        if found is not None and holds(found):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.01)  # a poll: the deadline decides


def test_queries_like_the_points_meet_the_target_and_others_raise_ef(filled, words):
    usual = words[ROWS:ROWS + 1000]
    odd = strangers(words, 1000)
    with Client(filled.target) as client:
        stored = calibration_when(client, lambda found: found.points == ROWS)
        assert not stored.live_queries and stored.queries == 256
        client.search(NAME, usual)
        first = calibration_when(client, lambda found: found.live_queries)
        assert first.recall >= 0.97 and first.target_recall == 0.97
        assert recall(client, usual) >= 0.96 and recall(client, usual, k=100) >= 0.96
        assert (client.search(NAME, usual[:5]).ef == first.ef).all()
        assert (client.search(NAME, usual[:5], ef=77).ef == 77).all()
        before = recall(client, odd)
        for _ in range(3):
            client.search(NAME, odd)
        second = calibration_when(client, lambda found: found.unix_s > first.unix_s
                                  and found.ef != first.ef)
        after = recall(client, odd)
        print(f"ef {first.ef} -> {second.ef}, recall of the odd ones {before:.3f} -> {after:.3f}")
        assert before < 0.96
        assert first.ef < second.ef <= 8192
        assert after >= 0.955
        validate(client, NAME)


def test_a_kill_and_a_restart_leave_the_calibration_and_the_graph(filled, words):
    with Client(filled.target) as client:
        client.update_collection(NAME, target_recall=0.99)
        client.search(NAME, words[ROWS:])
        calibration_when(client, lambda found: found.live_queries and found.points == ROWS
                         and found.target_recall == 0.99)
        before = client.get_collection(NAME, with_graph_hash=True)
        for end in filled.kill, filled.stop:  # the log, and a checkpoint of the drain
            end()
            filled.start()
            after = client.get_collection(NAME, with_graph_hash=True)
            assert after.graph_hash == before.graph_hash
            assert after.target_recall == 0.99
            assert after.calibration == before.calibration
            assert (client.search(NAME, words[ROWS:ROWS + 3]).ef == before.calibration.ef).all()


def test_a_server_that_is_told_so_calibrates_only_on_request(start_server, words):
    server = start_server("--calibrate-seconds", "0")
    with Client(server.target) as client:
        client.create_collection(NAME, dim=words.shape[1])
        client.insert(NAME, ids=np.arange(3000), vectors=words[:3000])
        client.search(NAME, words[ROWS:])
        assert client.get_collection(NAME).calibration is None
        assert (client.search(NAME, words[:2]).ef == 100).all()
        found = client.update_collection(NAME, calibrate=True).calibration
        assert found.points == 3000 and not found.live_queries and found.recall >= 0.97
        assert (client.search(NAME, words[:2]).ef == found.ef).all()
        lower = client.update_collection(NAME, target_recall=0.6, calibrate=True)
        assert lower.calibration.target_recall == lower.target_recall == 0.6
        assert lower.calibration.ef <= found.ef and lower.calibration.ef_100 <= found.ef_100

"""SIGKILL while a stream writes and checkpoints are made all the time: what was acknowledged is
there after every start, the starts come from checkpoints, and the log does not grow.

A snapshot is what makes a checkpoint here: the server's own would come too seldom for so few rows.
"""
import os
import re
import secrets
import threading
import time

import numpy as np
from conftest import Server
from faults_test import DIM, SESSION, Model, check_after_kill, check_everything, plan
from omendb_client import Client, OmenError, Unavailable

LONG = os.environ.get("OMEN_TEST_LONG") == "1"
KILLS = 120 if LONG else 12
ROWS = 40_000 if LONG else 8_000


class Checkpoints:
    """Makes one after the other, until it is stopped or the server has gone."""

    def __init__(self, target):
        self.made = 0
        self._target = target
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        with Client(self._target) as client:
            try:
                while not self._stop.is_set():
                    name = secrets.token_hex(8)
                    client.create_snapshot("words", name, timeout=30)
                    self.made += 1
                    client.delete_snapshot(name)
            except OmenError:
                pass

    def stop(self):
        self._stop.set()
        self._thread.join()


def stream_until(client, chunks, last, kill_at, kill):
    """Sends chunks up to `last`; calls `kill` once, on its way to chunk `kill_at`. Returns
    (acknowledged, sent)."""
    stream = client.insert_stream("words", mode="upsert", session_id=SESSION, retry_seconds=0)
    timer = None
    try:
        while stream.next_seq <= last:
            if stream.next_seq == kill_at:
                timer = threading.Timer(np.random.default_rng(kill_at).random() * 0.03, kill)
                timer.start()
            kind, ids, vectors = chunks[stream.next_seq]
            stream.add(ids, vectors) if kind == "add" else stream.delete(ids)
            if stream.next_seq % 4 == 0:
                stream.flush("durable", timeout=60)
        stream.flush("searchable", timeout=60)
    except Unavailable:
        pass
    if timer is not None:
        timer.join()
    acknowledged, sent = stream.durable_seq, stream.next_seq - 1
    stream.abandon()
    return acknowledged, sent


def log_bytes(data):
    return sum(path.stat().st_size for path in data.glob("*/log-*.omen"))


def test_kills_while_checkpoints_are_made_lose_nothing_that_was_acknowledged(tmp_path):
    server = Server(tmp_path / "killed")
    data = tmp_path / "killed" / "data"
    chunks = plan(ROWS, 41)
    model = Model(chunks)
    random = np.random.default_rng(42)
    made = from_checkpoints = 0
    each = (len(chunks) - 1) // KILLS
    with Client(server.target) as client:
        client.create_collection("words", dim=DIM, metric="l2")
    for number in range(1, KILLS + 1):
        last = number * each
        with Client(server.target) as client:
            checkpoints = Checkpoints(server.target)
            kill_at = model.seq + 1 + int(random.integers(max(1, last - model.seq)))
            acknowledged, sent = stream_until(client, chunks, last, kill_at, server.kill)
            if server.process.poll() is None:
                server.kill()
            checkpoints.stop()
            made += checkpoints.made
        from_checkpoints += any(data.glob("*/checkpoint-*.omen"))
        server.start()
        with Client(server.target) as client:
            check_after_kill(client, model, max(model.seq, acknowledged), max(model.seq, sent))
    with Client(server.target) as client:
        stream_until(client, chunks, len(chunks) - 1, 0, None)
        model.forward(len(chunks) - 1)
        check_everything(client, model)
        client.create_snapshot("words", "one", timeout=30)
        client.create_snapshot("words", "two", timeout=30)
        check_everything(client, model)
        assert log_bytes(data) < 4096, "everything is in two checkpoints"
    assert len(list(data.glob("*/checkpoint-*.omen"))) == 2
    server.kill()
    server.start()
    with Client(server.target) as client:
        check_everything(client, model)
    server.kill()
    print(f"\n{KILLS} kills, {made} checkpoints, {from_checkpoints} starts from one")
    assert made > KILLS and from_checkpoints > KILLS * 0.8


def test_a_start_after_sigterm_replays_nothing(start_server, tmp_path):
    server = start_server()
    rows = np.random.default_rng(43).standard_normal((3000, 64), dtype=np.float32)
    with Client(server.target) as client:
        client.create_collection("words", dim=64, metric="l2")
        with client.insert_stream("words") as stream:
            stream.add(np.arange(3000), rows)
        hash_before = client.get_collection("words", with_graph_hash=True).graph_hash
    assert server.stop() == 0
    begin = time.monotonic()
    server.start()
    seconds = time.monotonic() - begin
    with Client(server.target) as client:
        assert client.get_collection("words", with_graph_hash=True).graph_hash == hash_before
        found = client.search("words", rows[:50], k=1, exact=True)
        assert (found.ids[:, 0] == np.arange(50)).all() and (found.distances[:, 0] == 0).all()
    log = (tmp_path / "server0" / "server.log").read_text()
    assert re.search(r"checkpoint at record \d+", log)
    assert "records replayed" not in log
    print(f"\nstarted in {seconds:.2f} s")

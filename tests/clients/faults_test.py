"""SIGKILL at chosen places of the engine, again and again, in the middle of a stream.

The server is omendb-server-faults, the real one with fault points: OMENDB_FAULT_KILL=link:9 makes
it kill itself when it passes the point "link" for the ninth time. After every kill it starts again,
and what it has then must be what a model has after some chunk: not earlier than the last one that
was acknowledged as durable, and not later than the last one sent. So every acknowledged chunk is
there, and of those in flight at most a prefix. The session must know the same, and every invariant
of the collection must hold.
"""
import collections
import os

import numpy as np
from conftest import validate
from dying_server import SHARDS, DyingServer
from omendb_client import Client, Unavailable

LONG = os.environ.get("OMEN_TEST_LONG") == "1"
KILLS = 200 if LONG else 60
ROWS = 20_000 if LONG else 6_000
POINTS = ["append", "fsync", "propose", "link", "ack"]
KILLS_EACH = 10  # at least, of every point, while chunks came in
DIM = 12
PIECE = 5  # rows of one chunk
SESSION = bytes(range(100, 116))

# ---- the model --------------------------------------------------------------------------------


def plan(rows, seed):
    """The chunks of the stream, from number 1: ("add", ids, vectors) or ("delete", ids, None).
    Every fifth new id is a key."""
    random = np.random.default_rng(seed)
    chunks = [None]
    known = []
    while len(known) < rows:
        dice = random.random()
        if dice < 0.7 or len(known) < 50:
            ids = [len(known) + i for i in range(PIECE)]
            ids = [f"key-{i}".encode() if i % 5 == 0 else i for i in ids]
            known += ids
        else:
            ids = [known[i] for i in random.choice(len(known), PIECE, replace=False)]
        if dice < 0.85 or len(known) < 50:
            chunks.append(("add", ids, random.standard_normal((PIECE, DIM), dtype=np.float32)))
        else:
            chunks.append(("delete", ids, None))
    return chunks


class Model:
    """The contents after chunk `seq`."""

    def __init__(self, chunks):
        self.chunks = chunks
        self.seq = 0
        self.points = {}

    def forward(self, seq):
        while self.seq < seq:
            self.seq += 1
            kind, ids, vectors = self.chunks[self.seq]
            for i, number in enumerate(ids):
                if kind == "add":
                    self.points[number] = vectors[i]
                else:
                    self.points.pop(number, None)


def differences(points, ids, got):
    """Those of `ids` for which the server has something else than the model."""
    return [number for number, found, vector in zip(ids, got.found, got.vectors, strict=True)
            if found != (number in points) or found and not (vector == points[number]).all()]


def check_after_kill(client, model, acknowledged, sent):
    """Takes the model to the state that the server is in; fails if there is none."""
    # What could have changed since the last check, and some that must not have.
    touched = {number for _, ids, _ in model.chunks[model.seq + 1:sent + 1] for number in ids}
    random = np.random.default_rng(sent)
    others = list(model.points)
    touched.update(others[i] for i in random.choice(len(others), min(100, len(others)), False))
    ids = list(touched)
    got = client.get("words", ids)
    count = client.get_collection("words").points
    model.forward(acknowledged)
    first = differences(model.points, ids, got)
    while model.seq < sent and (differences(model.points, ids, got) or count != len(model.points)):
        model.forward(model.seq + 1)
    assert differences(model.points, ids, got) == [] and count == len(model.points), (
        f"no state between chunk {acknowledged}, acknowledged, and {sent}, sent; after"
        f" {acknowledged} these differ: {first[:5]}")
    validate(client, "words")


def check_everything(client, model):
    ids = list({number for _, ids, _ in model.chunks[1:] for number in ids})
    assert differences(model.points, ids, client.get("words", ids)) == []
    assert client.get_collection("words").points == len(model.points)
    validate(client, "words")


# ---- the kills ----------------------------------------------------------------------------------


class Aim:
    """Says after how many passes to kill, so that it happens while chunks come in. `propose` and
    `link` are passed in a replay, too, as often as there were epochs, so those come first."""

    PER_EPOCH = {"propose": 1, "link": SHARDS}

    def __init__(self, seed):
        self._random = np.random.default_rng(seed)
        self._spread = dict.fromkeys(POINTS, 8)
        self._ratio = dict(self.PER_EPOCH)
        self._at_start = dict.fromkeys(POINTS, 0)

    def fault(self, point, epochs):
        before = int(self._ratio.get(point, 0) * (epochs + 1)) + self._at_start[point]
        return f"{point}:{before + 1 + self._random.integers(self._spread[point])}"

    def died_too_early(self, point):
        if point in self._ratio:
            self._ratio[point] *= 1.03
        else:
            self._at_start[point] += 1

    def did_not_die(self, point):
        self._spread[point] = max(1, self._spread[point] // 2)
        if point in self._ratio:
            self._ratio[point] *= 0.98


def stream_until_death(client, chunks, last, seed):
    """Sends chunks up to number `last`, on the session. Returns (died, resumed at or 0,
    acknowledged, sent)."""
    random = np.random.default_rng(seed)
    stream = None
    begin, died = 0, False
    try:
        stream = client.insert_stream("words", mode="upsert", session_id=SESSION, retry_seconds=0)
        begin = stream.next_seq
        while stream.next_seq <= last:
            kind, ids, vectors = chunks[stream.next_seq]
            stream.add(ids, vectors) if kind == "add" else stream.delete(ids)
            if random.random() < 0.4:
                stream.flush("searchable" if random.random() < 0.3 else "durable", timeout=60)
        stream.flush("searchable", timeout=60)
    except Unavailable:
        died = True
    if stream is None:
        return died, 0, 0, 0
    acknowledged, sent = stream.durable_seq, stream.next_seq - 1
    stream.abandon()
    return died, begin, acknowledged, sent


class Campaign:
    """The kills so far, and the model of what the server has."""

    def __init__(self, directory):
        self.directory = directory
        self.chunks = plan(ROWS, 31)
        self.model = Model(self.chunks)
        self.aim = Aim(32)
        self.died = collections.Counter()  # by point, while chunks came in
        self.in_replay = collections.Counter()
        self.between = 0  # survived its chunks, and was killed then
        self.epochs = 0

    @property
    def kills(self):
        return self.died.total() + self.in_replay.total() + self.between

    def short_of_kills(self):
        return min(self.died[name] for name in POINTS) < KILLS_EACH

    def kill_once(self):
        """One life that ends, and one that looks at what it left."""
        point = min(POINTS, key=lambda name: self.died[name])
        server = DyingServer(self.directory, self.aim.fault(point, self.epochs))
        if not server.serving:
            server.end(dead=True)
            self.in_replay[point] += 1
            self.aim.died_too_early(point)
            return
        last = (len(self.chunks) - 1) * min(self.kills + 1, KILLS) // KILLS
        with Client(server.target) as client:
            dead, begin, acknowledged, sent = stream_until_death(client, self.chunks, last,
                                                                 self.kills)
        server.end(dead)
        if dead:
            self.died[point] += 1
        else:
            self.between += 1
            self.aim.did_not_die(point)
        assert begin in (0, self.model.seq + 1), "the session knows what the collection has"
        self.look(max(self.model.seq, acknowledged), max(self.model.seq, sent))

    def look(self, acknowledged, sent):
        server = DyingServer(self.directory)
        assert server.serving, "".join(server.lines)
        with Client(server.target) as client:
            check_after_kill(client, self.model, acknowledged, sent)
            self.epochs = client.get_collection("words").epoch
        server.end()

    def __str__(self):
        return (f"{self.kills} kills over {ROWS} rows in {len(self.chunks) - 1} chunks: "
                + ", ".join(f"{name} {self.died[name]}" for name in POINTS)
                + f"; in replays {dict(self.in_replay)}; between writes {self.between}")


def test_every_kill_leaves_the_acknowledged_chunks_and_a_prefix_of_those_in_flight(tmp_path):
    campaign = Campaign(tmp_path)
    server = DyingServer(tmp_path)
    with Client(server.target) as client:
        client.create_collection("words", dim=DIM, metric="l2", checkpoint_bytes=64 << 10)
    server.end()
    while campaign.kills < KILLS or campaign.short_of_kills():
        assert campaign.kills < 2 * KILLS, f"the faults do not strike: {campaign}"
        campaign.kill_once()
    print(f"\n{campaign}")
    server = DyingServer(tmp_path)
    with Client(server.target) as client:
        stream_until_death(client, campaign.chunks, len(campaign.chunks) - 1, 0)
        campaign.model.forward(len(campaign.chunks) - 1)
        check_everything(client, campaign.model)
    server.end()


def die_between_log_and_acknowledgement(directory, ids, vectors):
    """True if the client was not told that its chunk is durable. The engine dies before it tells
    the stream, but an Ack that goes out for another reason may know already."""
    server = DyingServer(directory)
    with Client(server.target) as client:
        client.create_collection("words", dim=DIM, metric="l2")
    server.end()
    server = DyingServer(directory, "ack:2")  # the first is that of the session's opening
    with Client(server.target) as client:
        stream = client.insert_stream("words", session_id=SESSION, retry_seconds=0)
        stream.add(ids, vectors)  # and no Flush, which would be such a reason
        server.end(dead=True)
        try:
            stream.flush(timeout=30)
        except Unavailable:
            pass
        return stream.durable_seq == 0


def test_a_chunk_that_is_logged_but_not_acknowledged_is_not_sent_again(tmp_path):
    data = np.random.default_rng(33).standard_normal((30, DIM), dtype=np.float32)
    directory = next((tmp_path / str(attempt) for attempt in range(10)
                      if die_between_log_and_acknowledgement(tmp_path / str(attempt),
                                                             np.arange(10), data[:10])), None)
    assert directory is not None, "the acknowledgement came each time"
    server = DyingServer(directory)
    with Client(server.target) as client:
        with client.insert_stream("words", session_id=SESSION) as stream:
            assert stream.next_seq == 2, "the first chunk was kept"
            stream.add(np.arange(10, 30), data[10:])
        assert stream.errors == [] and stream.earlier_errors == []
        got = client.get("words", np.arange(30))
        assert got.found.all() and (got.vectors == data).all()
    server.end()

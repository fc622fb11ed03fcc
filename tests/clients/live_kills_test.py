"""SIGKILL again and again while three clients stream, delete and search, each over its own
connection, and a fourth makes snapshots, which writes checkpoints and trims the log; with kills at
every fault point of the engine and at moments of nobody's choice.

After each kill the server starts again, and three things must hold. Contents: every acknowledged
chunk and delete is there, of what was in flight a whole part or nothing, and nothing else. The
collection is valid. And, after a few chunks more, its graph is the one that a server gets which
was never disturbed: the whole log, also what was trimmed, is copied into an empty data directory,
where another server, with other threads and shards and without a checkpoint, replays it from its
first record; both must tell the same hash.
"""
import contextlib
import os
import shutil
import threading
import time

import numpy as np
from conftest import Server, validate
from dying_server import DyingServer, points
from omendb_client import Client, OmenError, Unavailable

LONG = os.environ.get("OMEN_TEST_LONG") == "1"
ROUNDS = 500 if LONG else 27
ROUNDS_EACH = 50  # on one data directory, so that replays stay short
CHUNKS_MAX = 300  # of one round
MORE = 3  # chunks after a restart, before the graphs are compared
DIM = 12
NEW, AGAIN = 4, 1  # rows of a chunk: new ids, and updates of ids of the chunks just before
SETTLED = 4  # a chunk's rows are not updated any more so many chunks later, and may be deleted
SESSION = bytes(range(60, 76))
RARE = ["checkpoint", "manifest", "snapshot", "trim"]  # passed once for each snapshot
LIMIT_S = 120.0  # for each wait


# ---- the data: a function of the chunk's number -------------------------------------------------


def new_ids(seq):
    first = (seq - 1) * NEW
    return [f"key-{i}".encode() if i % 5 == 0 else i for i in range(first, first + NEW)]


def chunk(seq):
    """(ids, vectors) of the chunk `seq`: new rows, and an update of one of the chunk before."""
    random = np.random.default_rng([7, seq])
    ids = new_ids(seq)
    if seq > 1:
        ids += [new_ids(seq - 1)[int(random.integers(NEW))] for _ in range(AGAIN)]
    return ids, random.standard_normal((len(ids), DIM), dtype=np.float32)


class Contents:
    """What the collection must hold after the chunks up to `seq`, without the deleted."""

    def __init__(self):
        self.seq = 0
        self.points = {}

    def forward(self, seq):
        while self.seq < seq:
            self.seq += 1
            ids, vectors = chunk(self.seq)
            self.points.update(zip(ids, vectors, strict=True))


# ---- four clients -------------------------------------------------------------------------------


class Traffic:
    """Four clients of one life of the server, from the chunk that its session wants until it dies.
    What they were told is noted before they go on. `keep_log` is called between checkpoints."""

    def __init__(self, target, contents, seed, keep_log):
        self.keep_log = keep_log
        self.contents = contents
        self.seed = seed
        self.begin = 0  # where the session went on; 0: it was not opened
        self.durable = self.searchable = contents.seq
        self.sent = contents.seq
        self.deleted = set()  # acknowledged
        self.deleting = []  # asked for and not answered
        self.searches = self.snapshots = 0
        self.failures = []
        self.over = threading.Event()
        self.clients = [Client(target, timeout=LIMIT_S) for _ in range(4)]
        self.started = threading.Semaphore(0)
        self.threads = [threading.Thread(target=self._run, args=(work, client)) for work, client in
                        zip((self._stream, self._delete, self._search, self._snapshot),
                            self.clients, strict=True)]
        for thread in self.threads:
            thread.start()

    def _run(self, work, client):
        try:
            work(client)
        except (OmenError, ValueError) as error:  # ValueError: the channel was closed meanwhile
            if not self.over.is_set() and not isinstance(error, Unavailable):
                self.failures.append(error)
        except AssertionError as error:
            self.failures.append(error)

    def _stream(self, client):
        random = np.random.default_rng([self.seed, 1])
        stream = client.insert_stream("live", mode="upsert", session_id=SESSION, retry_seconds=0)
        self.begin = stream.next_seq
        self.started.release()
        try:
            while stream.next_seq < self.begin + CHUNKS_MAX and not self.over.is_set():
                stream.add(*chunk(stream.next_seq))
                self.sent = stream.next_seq - 1
                if random.random() < 0.4:
                    wait = "searchable" if random.random() < 0.5 else "durable"
                    stream.flush(wait, timeout=LIMIT_S)
                    if wait == "searchable":
                        self.searchable = self.sent
                self.durable = max(self.durable, stream.durable_seq)
        finally:
            self.durable = max(self.durable, stream.durable_seq)
            stream.abandon()

    def _delete(self, client):
        random = np.random.default_rng([self.seed, 2])
        self.started.release()
        while not self.over.is_set():
            last = self.durable - SETTLED
            some = [number for seq in random.integers(1, max(2, last), 2)
                    for number in new_ids(int(seq))[:2] if seq <= last]
            self.deleting = [
                number for number in dict.fromkeys(some)
                if number in self.contents.points or seq_of(number) > self.contents.seq]
            if self.deleting:
                client.delete("live", self.deleting, wait="durable", timeout=LIMIT_S)
                self.deleted |= set(self.deleting)
                self.deleting = []
            time.sleep(0)

    def _search(self, client):
        """Every settled row that was searchable before the search and that nobody tries to delete
        is found by an exact search; no row that was deleted before comes back from any."""
        random = np.random.default_rng([self.seed, 3])
        self.started.release()
        while not self.over.is_set():
            last, gone = self.searchable - SETTLED, set(self.deleted)
            seqs = random.integers(1, max(2, last), 8)
            asked = [new_ids(int(seq))[2] for seq in seqs if seq <= last]  # none is ever deleted
            rows = np.array([self._row(number) for number in asked], np.float32).reshape(-1, DIM)
            exact = bool(self.searches % 2)
            found = client.search("live", rows, k=5, exact=exact, timeout=LIMIT_S)
            for i, number in enumerate(asked):
                ids = self._ids(found, i)
                assert not exact or number in ids, f"{number} was searchable and is not found"
            # Deletes are only promised to be durable here: they are searchable soon after.
            self.searches += 1
            if gone:
                one = sorted(gone, key=str)[int(random.integers(len(gone)))]
                assert not client.get("live", [one]).found[0] or self._soon_gone(client, one)

    def _snapshot(self, client):
        """Each makes a checkpoint, behind which the log is trimmed."""
        self.started.release()
        while not self.over.is_set():
            self.keep_log()
            client.create_snapshot("live", f"s-{self.seed}-{self.snapshots}", timeout=LIMIT_S)
            self.snapshots += 1
            self.keep_log()
            if self.snapshots > 1:
                client.delete_snapshot(f"s-{self.seed}-{self.snapshots - 2}")

    def _soon_gone(self, client, number):
        client.delete("live", [number], wait="searchable", timeout=LIMIT_S)
        return not client.get("live", [number]).found[0]

    @staticmethod
    def _ids(found, i):
        if found.keys is not None and found.keys[i, 0] is not None:
            return list(found.keys[i, :found.counts[i]])
        return [int(number) for number in found.ids[i, :found.counts[i]]]

    @staticmethod
    def _row(number):
        """The vector that an id ends with: of its own chunk, or of the update in the next."""
        seq = seq_of(number)
        latest = dict(zip(*chunk(seq), strict=True))[number]
        return dict(zip(*chunk(seq + 1), strict=True)).get(number, latest)

    def end(self):
        """The server is dead: nobody needs to try again."""
        self.over.set()
        for client in self.clients:
            client.close()
        for thread in self.threads:
            thread.join(LIMIT_S)
            assert not thread.is_alive()
        assert self.failures == []


def seq_of(number):
    digits = int(number[4:]) if isinstance(number, bytes) else number
    return digits // NEW + 1


# ---- what must hold after a kill ----------------------------------------------------------------


def check_contents(client, contents, traffic, deleted):
    """The server holds what `contents` becomes after the chunks that the session has."""
    with client.insert_stream("live", mode="upsert", session_id=SESSION) as stream:
        seq = stream.next_seq - 1
    assert traffic.durable <= seq <= traffic.sent, "what was acknowledged, and what was sent"
    contents.forward(seq)
    deleted |= traffic.deleted
    for number in traffic.deleted:
        contents.points.pop(number, None)
    in_flight = [number for number in traffic.deleting if number in contents.points]
    if in_flight:
        there = client.get("live", in_flight).found
        assert there.all() or not there.any(), f"{in_flight} were deleted in part: {there}"
        for number in in_flight if not there.any() else []:
            deleted.add(number)
            contents.points.pop(number)
    ids = list(contents.points)
    got = client.get("live", ids)
    assert got.found.all()
    assert (got.vectors == np.array([contents.points[number] for number in ids])).all()
    assert not client.get("live", list(deleted)).found.any() if deleted else True
    assert client.get_collection("live").points == len(contents.points)
    validate(client, "live")
    for told in client.list_snapshots():
        assert client.verify_snapshot(told.name) == told, "a snapshot is whole or not there"
        client.delete_snapshot(told.name)


def go_on(client, contents):
    """A few chunks more: on the graph that the restart made."""
    with client.insert_stream("live", mode="upsert", session_id=SESSION) as stream:
        for seq in range(stream.next_seq, stream.next_seq + MORE):
            stream.add(*chunk(seq))
            stream.flush("searchable", timeout=LIMIT_S)
    contents.forward(contents.seq + MORE)


def data_of(directory):
    return next(path for path in directory.iterdir() if len(path.name) == 32)


def keep_log(directory, kept):
    """Another name for every file of the log: it stays when the server lets go of it, and is read
    as long as it grows."""
    for path in data_of(directory).glob("log-*.omen"):
        with contextlib.suppress(FileExistsError, FileNotFoundError):
            os.link(path, kept / path.name)


def undisturbed(kept, name, place):
    """(hash, points, epoch) of a server that replays the log from its first record."""
    shutil.rmtree(place, ignore_errors=True)
    (place / "data" / name).mkdir(parents=True)
    for path in kept.iterdir():
        shutil.copyfile(path, place / "data" / name / path.name)
    server = Server(place, "--ingest-threads", "1", "--shards", "7", "--search-threads", "1")
    with Client(server.target) as client:
        told = describe(client)
    server.kill()
    return told


def describe(client):
    told = client.get_collection("live", with_graph_hash=True)
    return told.graph_hash, told.points, told.epoch


# ---- the rounds ---------------------------------------------------------------------------------


class Rounds:
    """The kills on one data directory."""

    def __init__(self, root, seed):
        self.random = np.random.default_rng([seed, 4])
        self.seed = seed
        self.data, self.kept, self.place = root / "data", root / "kept", root / "undisturbed"
        self.armed = root / "armed"
        self.kept.mkdir(parents=True)
        self.contents = Contents()
        self.deleted = set()
        self.count = self.searches = self.snapshots = 0
        server = DyingServer(self.data)
        with Client(server.target) as client:
            client.create_collection("live", dim=DIM, metric="l2", epoch_points=64,
                                     checkpoint_bytes=16 << 10)
        server.end()

    def kill_once(self, point, spread):
        """True if it died at the point, and not because it was told to in the end."""
        self.count += 1
        self.armed.unlink(missing_ok=True)
        server = DyingServer(self.data, f"{point}:{1 + self.random.integers(spread)}", self.armed)
        assert server.serving, "".join(server.lines)
        traffic = Traffic(server.target, self.contents, self.seed * 1000 + self.count,
                          lambda: keep_log(self.data, self.kept))
        for _ in traffic.threads:
            assert traffic.started.acquire(timeout=LIMIT_S)
        self.armed.touch()
        traffic.threads[0].join(LIMIT_S)
        died = server.process.poll() is not None or self._dies_now(server)
        if not died:
            server.process.kill()
        server.end(dead=True)
        traffic.end()
        self.searches += traffic.searches
        self.snapshots += traffic.snapshots
        keep_log(self.data, self.kept)
        self._look(traffic)
        return died

    @staticmethod
    def _dies_now(server):
        """The stream ended: because of the kill, of which the kernel may still be at work."""
        try:
            server.process.wait(0.2)
            return True
        except Exception:  # noqa: BLE001  subprocess.TimeoutExpired: it is alive
            return False

    def _look(self, traffic):
        server = DyingServer(self.data)
        assert server.serving, "".join(server.lines)
        with Client(server.target) as client:
            check_contents(client, self.contents, traffic, self.deleted)
            go_on(client, self.contents)
            told = describe(client)
        server.end()
        keep_log(self.data, self.kept)
        assert undisturbed(self.kept, data_of(self.data).name, self.place) == told


def test_after_any_kill_the_graph_is_that_of_a_server_that_was_never_disturbed(tmp_path):
    names = points()
    died, survived = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    spread = dict.fromkeys(names, 150) | dict.fromkeys(RARE, 5)
    rounds = None
    for number in range(ROUNDS):
        if number % ROUNDS_EACH == 0:
            shutil.rmtree(tmp_path / str(number - ROUNDS_EACH), ignore_errors=True)
            rounds = Rounds(tmp_path / str(number), number // ROUNDS_EACH + 1)
        point = min(names, key=lambda name: died[name] + survived[name])
        if rounds.kill_once(point, spread[point]):
            died[point] += 1
        else:
            survived[point] += 1
            spread[point] = max(1, spread[point] // 2)
    print(f"\n{ROUNDS} rounds; in the last directory {rounds.contents.seq} chunks,"
          f" {len(rounds.deleted)} deletes, {rounds.searches} searches, {rounds.snapshots}"
          f" snapshots; killed at {died}, not passed often enough: {survived}")
    assert min(len(rounds.deleted), rounds.searches, rounds.snapshots) > 5, "all were at work"
    never = [name for name in names if died[name] == 0]
    assert not never, f"no round was ended at {never}"

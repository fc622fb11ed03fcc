"""Six hours of a service's writes in a minute: what it holds at their end is what it held early on.

As many points are inserted, updated, deleted and left to expire as 20 writes a second make in six
hours (60 in the long mode), as fast as they go, with searches and reads between them and clients
that come and go. The live set does not grow; so neither may memory, disk and descriptors.
"""
import dataclasses
import os
import pathlib
import statistics
import threading

import numpy as np
from conftest import validate
from omendb_client import Client

LONG = os.environ.get("OMEN_TEST_LONG") == "1"
WRITES = 6 * 3600 * (60 if LONG else 20)
DIM = 16
LIVE = 12_000  # ids that are there, about
UPDATES, NEW = 2_000, 1_000  # of one round; as many deletes as new ones
ROUNDS = WRITES // (UPDATES + 2 * NEW)
WARM_UP = 40  # rounds until every thread has met what it meets: buffers and heaps are at their size
PARTS = 6  # what is held in the middle of the second is what the last is held against
GROWTH_MAX = 1.1


@dataclasses.dataclass
class Held:
    resident: int
    disk: int
    descriptors: int
    threads: int


def held(server, directory):
    proc = pathlib.Path(f"/proc/{server.process.pid}")
    files = [path.stat() for path in (directory / "data").rglob("*") if path.is_file()]
    return Held(server.resident_bytes(), sum(stat.st_blocks * 512 for stat in files),
                len(list((proc / "fd").iterdir())), len(list((proc / "task").iterdir())))


class Writer:
    """Rounds of writes; `live` are the ids that are there."""

    def __init__(self, client):
        self.client = client
        self.random = np.random.default_rng(61)
        self.live = np.arange(LIVE)
        self.next = LIVE
        client.insert("churn", self.live, self.vectors(LIVE))

    def vectors(self, count):
        return self.random.standard_normal((count, DIM), dtype=np.float32)

    def round(self):
        self.random.shuffle(self.live)
        gone, changed = self.live[:NEW], self.live[NEW:NEW + UPDATES]
        fresh = np.arange(self.next, self.next + NEW)
        self.next += NEW
        self.live = np.concatenate([self.live[NEW:], fresh])
        with self.client.insert_stream("churn", mode="upsert") as stream:  # a session of its own
            stream.add(changed, self.vectors(UPDATES))
            stream.delete(gone)
            stream.add(fresh, self.vectors(NEW))
        some = self.vectors(1)
        self.client.upsert("churn", [f"passing-{self.next}"], some, ttl=1)  # a key that expires
        assert self.client.get("churn", fresh[:10]).found.all()
        assert not self.client.get("churn", gone[:10]).found.any()


def search_on(target, over, failures):
    """A client after the other, until `over`: each asks a few times and goes."""
    random = np.random.default_rng(62)
    while not over.is_set():
        with Client(target) as client:
            for _ in range(5):
                found = client.search("churn", random.standard_normal((8, DIM), dtype=np.float32))
                if not (found.counts == 10).all():
                    failures.append(found.counts)


def test_six_hours_of_churn_hold_no_more_than_the_first_sixth(start_server, tmp_path):
    # A calibration holds on to what it reads until it is done, and slots wait for it meanwhile.
    server = start_server("--calibrate-seconds", "0", "--checkpoint-seconds", "1")
    over, failures = threading.Event(), []
    samples = []
    with Client(server.target) as client:
        client.create_collection("churn", dim=DIM, metric="l2", checkpoint_bytes=1 << 20)
        writer = Writer(client)
        searcher = threading.Thread(target=search_on, args=(server.target, over, failures))
        searcher.start()
        for _ in range(WARM_UP):
            writer.round()
        for _ in range(ROUNDS):
            writer.round()
            samples.append(held(server, tmp_path / "server0"))
        over.set()
        searcher.join()
        validate(client, "churn")
        there = client.get("churn", writer.live, vectors=False).found
    print(f"\n{ROUNDS * (UPDATES + 2 * NEW)} writes in {ROUNDS} rounds:")
    assert there.all() and failures == []
    size = ROUNDS // PARTS
    for field in dataclasses.fields(Held):
        # A checkpoint that is being written takes disk and descriptors for a moment: medians.
        parts = [statistics.median(getattr(sample, field.name) for sample in samples[i:i + size])
                 for i in range(0, PARTS * size, size)]
        print(f"  {field.name}: {parts}")
        assert parts[-1] <= parts[1] * GROWTH_MAX, f"{field.name} grows: {parts}"

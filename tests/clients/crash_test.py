"""SIGKILL during ingest, again and again: what was acknowledged answers after every restart."""
import numpy as np
from omendb_client import Client

KILLS = 20
ROWS = 10_000
PIECE = 50  # rows of one chunk
PIECES = ROWS // PIECE // KILLS  # between two kills


def answering(client, rows, count):
    """How many of the first `count` rows are found by their own vector: through the graph, and by
    an exact scan where that fails or twins came first."""
    if count == 0:
        return 0
    wanted = np.arange(count, dtype=np.uint64)
    found = client.search("words", rows[:count], k=10, ef=128)
    there = (found.ids == wanted[:, np.newaxis]).any(axis=1)
    for row in np.flatnonzero(~there):
        there[row] = row in client.search("words", rows[row], k=100, exact=True).ids
    return int(there.sum())


def test_every_acknowledged_row_answers_after_each_of_twenty_kills(server, words):
    rows = words[:ROWS]
    random = np.random.default_rng(11)
    kills = []
    with Client(server.target) as client:
        client.create_collection("words", dim=384, metric="cosine")
        with client.insert_stream("words") as stream:
            for first in range(0, ROWS // PIECE, PIECES):
                moment = first + random.integers(1, PIECES)
                for piece in range(first, first + PIECES):
                    begin = piece * PIECE
                    stream.add(np.arange(begin, begin + PIECE), rows[begin:begin + PIECE])
                    if piece == first:
                        stream.flush()
                    if piece == moment:
                        acknowledged = stream.progress.durable
                        server.kill()  # the last chunks are on their way
                        server.start()
                        kills.append((acknowledged, answering(client, rows, acknowledged)))
            stream.flush()
            assert stream.errors == [], "no row went in twice"
        assert len(kills) == KILLS and kills[-1][0] > ROWS * 0.9
        assert all(there == acknowledged for acknowledged, there in kills), kills
        assert client.get_collection("words").points == ROWS
        assert answering(client, rows, ROWS) == ROWS

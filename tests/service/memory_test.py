"""The server's memory is bounded by its settings, whatever clients offer."""
import pathlib
import re
import threading
import time

import grpc
import numpy as np
import pytest
from calls import TIMEOUT_S, Api, chunk_message, columns, open_message, refusal_of
from http_calls import Http, metrics
from omendb.v1 import vector_pb2 as v

MIB = 2**20
STREAMS = 16
OFFERED_BYTES = 512 * MIB  # of each stream
DIM = 4096
ROWS = 29  # of a chunk, its limit
CHUNK_BYTES = 480 << 10
BUDGET_MIB = 4  # less than a chunk of each stream: it is used up however slow clients are
SLOW = {"links": 16, "candidates": 256, "probes": 64}


def resident_bytes(server):
    status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024


class Offers:
    """Streams that offer as much as they can, each on a connection of its own."""

    def __init__(self, server, names):
        self.offered = 0
        self.searchable = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._apis = [Api(server.target) for _ in range(STREAMS)]
        self._threads = [
            threading.Thread(target=self._offer, args=(api, names[number % len(names)], number))
            for number, api in enumerate(self._apis)]
        for thread in self._threads:
            thread.start()

    def _messages(self, name, number):
        rng = np.random.default_rng(number)
        rows = rng.standard_normal((ROWS, DIM), dtype=np.float32)
        yield open_message(name, mode=v.WRITE_MODE_UPSERT).SerializeToString()
        for seq in range(1, OFFERED_BYTES // (ROWS * DIM * 4) + 1):
            if self._stop.is_set():
                return
            rows = np.roll(rows, 1, axis=1)  # new points, cheaply made
            first = (number << 32) + seq * ROWS
            message = chunk_message(seq, columns=columns(
                DIM, range(first, first + ROWS), rows.tobytes())).SerializeToString()
            with self._lock:
                self.offered += len(message)
            yield message

    def _offer(self, api, name, number):
        call = api._insert(self._messages(name, number), timeout=TIMEOUT_S * 5)
        last = 0
        try:
            for response in call:
                with self._lock:
                    self.searchable += response.ack.searchable_seq - last
                last = response.ack.searchable_seq
        except grpc.RpcError:
            pass

    def close(self):
        self._stop.set()
        for api in self._apis:
            api.close()
        for thread in self._threads:
            thread.join()


@pytest.mark.parametrize("collections", [1, 4])
def test_sixteen_streams_of_512_mib_cost_no_more_than_128_mib(start_server, collections):
    """The engine is slowed by costly collections, one thread and the plain kernels. What bounds the
    memory is the server's own budget: the engine's is 32 MiB for each stream. Points that were
    admitted are in the log and in their collection, whose memory has a limit of its own."""
    server = start_server("--ingest-threads", "1", "--simd", "ref",
                          "--ingest-memory-mib", str(BUDGET_MIB))
    most = held = 0
    with Api(server.target) as api, Http(server.http_port) as http:
        names = [api.create(dim=DIM, **SLOW) for _ in range(collections)]
        before = resident_bytes(server) - metrics(http)["omendb_memory_used_bytes"]
        offers = Offers(server, names)
        end = time.monotonic() + 6
        while time.monotonic() < end:
            now = metrics(http)
            most = max(most, resident_bytes(server) - now["omendb_memory_used_bytes"] - before)
            held = max(held, now["omendb_ingest_bytes"])
        taken = offers.offered
        assert api.search(names[0], [1.0] * DIM, k=1).results[0].hits
        server.kill()  # a good end would take as long as building what is on its way
        offers.close()
    print(f"grew by {most / MIB:.0f} MiB beside the points, with {held / MIB:.0f} MiB of "
          f"{taken / MIB:.0f} MiB that were sent still on their way, of "
          f"{STREAMS * OFFERED_BYTES >> 20} MiB")
    assert BUDGET_MIB * MIB < held <= BUDGET_MIB * MIB + STREAMS * CHUNK_BYTES
    assert most <= 128 * MIB
    assert taken < 512 * MIB and offers.searchable > 0


def test_small_messages_that_cost_much_are_refused_beyond_the_budget(start_server):
    """A request of 2 KiB that makes 16 MiB: 1,024 queries without a vector in 4,096 dimensions."""
    server = start_server("--request-memory-mib", "32")
    with Api(server.target) as api:
        name = api.create(dim=4096)
        rows = {num: [float(num)] * 4096 for num in range(1, 20)}
        api.fill(name, rows)
        request = v.SearchRequest(collection=name, queries=[v.Query()] * 1024)
        before = resident_bytes(server)
        futures = [api.vectors.Search.future(request, timeout=TIMEOUT_S) for _ in range(200)]
        codes = {future.code() for future in futures}
        assert codes <= {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert resident_bytes(server) - before < 100 * MIB
        query = v.Query(vector=v.Vector(f32_le=bytes(8)))
        request = v.SearchRequest(collection=api.create(), options=v.SearchOptions(k=1000),
                                  queries=[query] * 1000)
        refusal = refusal_of(lambda: api.vectors.Search(request, timeout=TIMEOUT_S))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED,
                                                  "MEMORY_BUDGET")
        assert "request_memory_mib" in refusal.sentence and str(32 << 20) in refusal.sentence
        assert api.ids(name, *rows[7], k=1) == [7]

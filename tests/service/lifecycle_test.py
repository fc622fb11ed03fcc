"""Start, loading, draining, stopping."""
import os
import pathlib
import random
import socket
import threading
import uuid

import grpc
import numpy as np
from calls import TIMEOUT_S, Api, chunk_message, columns, open_message, point, refusal_of
from flow_test import SMALL_WINDOW, stuff_with_errors
from grpc_health.v1 import health_pb2, health_pb2_grpc
from omendb.v1 import collection_pb2 as c
from running_server import RunningServer, run

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def watch(api, service=""):
    return health_pb2_grpc.HealthStub(api.channel).Watch(
        health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_S, wait_for_ready=True)


def test_the_start_log_names_version_port_and_kernels(start_server):
    server = start_server("--simd", "ref")
    line = server.wait_line(r" INFO serving ")
    assert "version=" in line and f"port={server.port}" in line and "kernels=ref" in line
    server.wait_line(rf" INFO listening .*host=127.0.0.1 port={server.port} ")


def test_threads_say_in_top_what_they_do(server):
    tasks = pathlib.Path(f"/proc/{server.process.pid}/task").iterdir()
    names = {(task / "comm").read_text().strip() for task in tasks}
    assert {"omen-log", "omen-apply", "omen-search"} <= names, names


def test_threads_run_on_the_cpus_that_are_set_for_their_kind(start_server):
    """One that builds or writes on ingest_cpus, every other on search_cpus."""
    cpus = sorted(os.sched_getaffinity(0))
    server = start_server("--ingest-cpus", str(cpus[0]), "--search-cpus", str(cpus[-1]),
                          "--ingest-threads", "2", "--calibrate-seconds", "60")
    with Api(server.target) as api:
        name = api.create()
        api.fill(name, {i: (i, 1) for i in range(100)})
        assert api.ids(name, 5, 1, k=1) == [5]
    builders = {"omen-log", "omen-apply", "omen-build", "omen-checkpoint", "omen-scrub",
                "omen-calibrate"}
    seen = set()
    for task in pathlib.Path(f"/proc/{server.process.pid}/task").iterdir():
        thread = (task / "comm").read_text().strip()
        if int(task.name) == server.process.pid:
            continue
        seen.add(thread)
        wanted = cpus[0] if thread in builders else cpus[-1]
        assert os.sched_getaffinity(int(task.name)) == {wanted}, thread
    assert builders | {"omen-search", "omen-poll", "omen-work"} <= seen, seen


def test_sigterm_ends_an_idle_server_with_zero(server):
    with Api(server.target) as api:
        api.create()
    assert server.stop() == 0
    assert server.lines[-1].endswith(" INFO stopped")


def test_what_was_inserted_is_there_after_a_restart(start_server):
    first = start_server(directory="kept")
    with Api(first.target) as api:
        name = api.create()
        api.fill(name, {1: (1, 1), 2: (2, 2)})
    assert first.stop() == 0
    second = start_server(directory="kept")
    with Api(second.target) as api:
        assert sorted(api.ids(name, 0, 0)) == [1, 2]


def test_a_torn_tail_is_cut_off_with_a_warning_that_names_the_file(start_server):
    first = start_server("--checkpoint-seconds", "off", directory="torn")
    with Api(first.target) as api:
        name = api.create()
        api.fill(name, {1: (1, 1), 2: (2, 2)})
    assert first.stop() == 0
    path, = first.data_dir.glob("*/log-*.omen")
    with open(path, "ab") as log:
        log.write(b"half of a record")
    second = start_server(directory="torn")
    line = second.wait_line(r" WARNING ")
    # With the mark of the last sync, 24 bytes, behind which nothing may stand.
    assert f"{path.parent.name}/{path.name}: {24 + 16} bytes" in line
    with Api(second.target) as api:
        assert sorted(api.ids(name, 0, 0)) == [1, 2]


def test_a_damaged_log_refuses_the_start_and_names_file_and_offset(start_server):
    first = start_server("--checkpoint-seconds", "off", directory="damaged")
    with Api(first.target) as api:
        api.fill(api.create(), {1: (1, 1), 2: (2, 2)})
    assert first.stop() == 0
    path, = first.data_dir.glob("*/log-*.omen")
    content = bytearray(path.read_bytes())
    content[60] ^= 0xFF  # within the first record behind the file's own
    path.write_bytes(content)
    result = run("--data-dir", str(first.data_dir), "--grpc-port", "0", "--http-port", "off")
    assert result.returncode == 1
    line = next(line for line in result.stderr.splitlines() if " ERROR " in line)
    assert f"{path.parent.name}: {path.name} is damaged at offset 24" in line


def test_sigterm_flushes_an_open_stream_and_tells_it_where_to_resume(start_server):
    server = start_server(directory="drained")
    with Api(server.target) as api:
        name = api.create()
        stream = api.insert(open_message(name, b"drained-session!"))
        stream.read_opened()
        stream.send(chunk_message(1, [point(1, 1, 1)]), chunk_message(2, [point(2, 2, 2)]))
        stream.read_until(lambda ack: ack.received_seq == 2)
        server.terminate()
        acks = []
        refusal = refusal_of(lambda: [acks.append(response.ack) for response in stream.call])
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
        assert "chunk 3" in refusal.sentence
        assert acks[-1].searchable_seq == 2
        assert server.wait() == 0
    again = start_server(directory="drained")
    with Api(again.target) as api:
        assert api.insert(open_message(name, b"drained-session!")).read_opened().next_seq == 3
        assert sorted(api.ids(name, 0, 0)) == [1, 2]


def test_a_half_closed_stream_ends_with_ok_while_draining(start_server):
    server = start_server("--ingest-threads", "1")
    rows = np.random.default_rng(1).standard_normal((3000, 512), dtype=np.float32)
    with Api(server.target) as api:
        stream = api.insert(open_message(api.create(dim=512)))
        stream.read_opened()
        for seq, start in enumerate(range(0, 3000, 200), start=1):
            stream.send(chunk_message(seq, columns=columns(
                512, range(start, start + 200), rows[start:start + 200].tobytes())))
        stream.half_close()
        stream.read_until(lambda ack: ack.received_seq == 15)
        # An answer on the same connection: the server has read the half-close, which went before.
        api.collections.ListCollections(c.ListCollectionsRequest(), timeout=TIMEOUT_S)
        server.terminate()
        responses = list(stream.call)
        assert stream.call.code() == grpc.StatusCode.OK
        assert not responses or responses[-1].ack.searchable_seq == 15
        assert server.wait() == 0


def test_while_draining_health_says_so_and_new_streams_are_refused(start_server):
    """A client that reads nothing keeps the drain going until its seconds are over."""
    server = start_server("--drain-seconds", "3")
    with Api(server.target, SMALL_WINDOW) as silent, Api(server.target) as api:
        name = api.create()
        stuck = stuff_with_errors(silent, name)
        told = watch(api)
        assert next(told).status == SERVING
        server.terminate()
        assert next(told).status == NOT_SERVING
        refusal = api.insert(open_message(name)).refusal()
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
        assert refusal_of(lambda: list(told)).code == grpc.StatusCode.UNAVAILABLE
        assert server.wait() == 0
        assert stuck.refusal().code == grpc.StatusCode.UNAVAILABLE


def test_while_loading_calls_are_refused_and_health_watches_hear_the_change(start_server):
    """The replay of many points takes long enough to be met in the middle."""
    first = start_server("--checkpoint-seconds", "off", directory="loading")
    rng = np.random.default_rng(2)
    with Api(first.target) as api:
        name = api.create(dim=256)
        stream = api.insert(open_message(name))
        stream.read_opened()
        for seq in range(1, 81):
            data = rng.standard_normal((400, 256), dtype=np.float32).tobytes()
            stream.send(chunk_message(seq, columns=columns(
                256, range(seq * 400, seq * 400 + 400), data)))
        stream.finish()
    assert first.stop() == 0
    second = start_server("--ingest-threads", "1", directory="loading", wait_for="listening")
    with Api(second.target) as api:
        told = watch(api, "omendb.v1.VectorService")
        assert next(told).status == NOT_SERVING
        refusal = refusal_of(lambda: api.search(name, [0.0] * 256))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "LOADING")
        assert "% are done" in refusal.sentence
        assert api.insert(open_message(name)).refusal().reason == "LOADING"
        assert refusal_of(lambda: api.create()).reason == "LOADING"
        assert next(told).status == SERVING
        assert len(api.ids(name, *[0.0] * 256, k=10)) == 10
        told.cancel()


def test_sigterm_while_loading_leaves_at_once(start_server):
    first = start_server(directory="impatient")
    with Api(first.target) as api:
        name = api.create()
        api.fill(name, {1: (1, 1)})
    assert first.stop() == 0
    second = RunningServer(first.data_dir, wait_for="listening")
    assert second.stop() == 0
    third = start_server(directory="impatient")
    with Api(third.target) as api:
        assert api.ids(name, 1, 1) == [1]


def test_a_second_server_on_the_same_directory_ends_with_a_sentence(server):
    result = run("--data-dir", str(server.data_dir), "--grpc-port", "0", "--http-port", "off")
    assert result.returncode == 1
    assert " ERROR " in result.stderr and str(server.data_dir) in result.stderr
    with Api(server.target) as api:
        api.create()


def test_a_port_in_use_ends_the_start_with_a_sentence(server, tmp_path):
    result = run("--data-dir", str(tmp_path / "other"), "--grpc-port", str(server.port),
                 "--http-port", "off")
    assert result.returncode == 1
    assert f"127.0.0.1:{server.port}" in result.stderr


def test_a_host_that_is_not_this_machine_ends_the_start(tmp_path):
    result = run("--data-dir", str(tmp_path / "data"), "--grpc-host", "192.0.2.1")
    assert result.returncode == 1 and "192.0.2.1" in result.stderr


def test_a_data_directory_that_cannot_be_made_ends_the_start(tmp_path):
    (tmp_path / "file").write_text("")
    result = run("--data-dir", str(tmp_path / "file" / "data"), "--grpc-port", "0",
                 "--http-port", "off")
    assert result.returncode == 1 and " ERROR " in result.stderr


def test_sigterm_in_the_middle_of_traffic_ends_with_zero_and_loses_nothing(start_server):
    """Inserts, searches and watches from many threads; SIGTERM after a few searches."""
    rng = random.Random(31)
    for _ in range(5):
        server = start_server(directory="busy")
        ended = traffic(server, searches=rng.randint(1, 60))
        again = start_server(directory="busy")
        with Api(again.target) as api:
            for name, acknowledged in ended:
                points = api.collections.GetCollection(
                    c.GetCollectionRequest(name=name), timeout=TIMEOUT_S).collection.points
                assert points >= acknowledged
        assert again.stop() == 0


def traffic(server, searches):
    """Ends the server by SIGTERM after so many searches; (collection, points that were durable)."""
    enough = threading.Semaphore(0)
    ended = []

    def insert(api, name):
        durable = 0
        stream = api.insert(open_message(name))
        try:
            stream.read_opened()
            for seq in range(1, 100_000):
                stream.send(chunk_message(seq, [point(seq, seq, 1)]))
                answer = stream.read()
                if answer.HasField("drain"):
                    answer = [*stream.call][-1]
                durable = answer.ack.durable_seq
        except grpc.RpcError:
            ended.append((name, durable))

    def search(api, name):
        try:
            while True:
                api.search(name, (1, 1), k=3)
                enough.release()
        except grpc.RpcError:
            pass

    with Api(server.target) as api:
        names = [api.create(name=f"busy-{uuid.uuid4().hex[:8]}") for _ in range(4)]
        threads = [threading.Thread(target=work, args=(api, name))
                   for name in names for work in (insert, search)]
        told = watch(api)
        assert next(told).status == SERVING
        for thread in threads:
            thread.start()
        for _ in range(searches):
            assert enough.acquire(timeout=TIMEOUT_S)
        server.terminate()
        assert server.wait() == 0
        for thread in threads:
            thread.join()
    assert len(ended) == len(names)
    return ended


def test_a_connection_that_says_nothing_does_not_hold_up_the_end(start_server):
    server = start_server("--drain-seconds", "2")
    with socket.create_connection(("127.0.0.1", server.port)):
        assert server.stop() == 0

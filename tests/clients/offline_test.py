"""omendb-server verify and omendb-server recover, on what real servers have written."""
import os
import re
import shutil
import struct
import subprocess

import numpy as np
import pytest
from conftest import REPOSITORY, Server, validate
from omendb_client import Client

DIM = 16
CHUNKS, PIECE = 60, 10
GOLDEN = REPOSITORY / "tests" / "golden"
HEADER = 24  # of a record (engine/log.h)


def command(*arguments):
    """(exit status, lines of stdout and stderr)."""
    done = subprocess.run([os.environ["OMENDB_SERVER_BINARY"], *map(str, arguments)],
                          capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, (done.stdout + done.stderr).splitlines()


def damages(lines):
    return [line for line in lines if line.startswith("DAMAGED ")]


def vectors(seq):
    return np.random.default_rng([9, seq]).standard_normal((PIECE, DIM), dtype=np.float32)


def ids(seq):
    return np.arange((seq - 1) * PIECE, seq * PIECE)


@pytest.fixture
def written(tmp_path):
    """The data directory of a server that was killed after 60 chunks of one session."""
    server = Server(tmp_path / "one")
    with Client(server.target) as client:
        client.create_collection("words", dim=DIM, metric="l2")
        with client.insert_stream("words", mode="upsert") as stream:
            for seq in range(1, CHUNKS + 1):
                stream.add(ids(seq), vectors(seq))
                stream.flush()
    server.kill()
    return tmp_path / "one" / "data"


def log_file(directory):
    return next(path for path in sorted(directory.glob("*/log-*.omen")))


def records(path):
    """[(offset, position, type, payload bytes)] of a log file."""
    data = path.read_bytes()
    found, offset = [], HEADER
    while offset + HEADER <= len(data):
        length, _, position, kind = struct.unpack_from("<IIQB", data, offset)
        if kind == 0:
            break
        found.append((offset, position, kind, length))
        offset += HEADER + (length + 7) // 8 * 8
    return found


def flip(path, offset, bit=3):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1 << bit]))


def chunks_of(path):
    return [(offset, position) for offset, position, kind, _ in records(path) if kind == 2]


def found_chunks(client):
    got = client.get("words", np.arange(CHUNKS * PIECE))
    there = got.found.reshape(CHUNKS, PIECE)
    assert (there.all(axis=1) | ~there.any(axis=1)).all(), "a chunk is whole or not there"
    for seq in range(1, CHUNKS + 1):
        if there[seq - 1, 0]:
            assert (got.vectors[ids(seq)] == vectors(seq)).all()
    return [seq for seq in range(1, CHUNKS + 1) if there[seq - 1, 0]]


# ---- verify -------------------------------------------------------------------------------------


def test_a_sound_directory_is_ok_and_is_not_changed(written):
    before = {path: path.read_bytes() for path in written.rglob("*") if path.is_file()}
    status, lines = command("verify", "--data-dir", written)
    assert status == 0 and damages(lines) == [] and lines[-1].endswith(": ok"), lines
    assert {path: path.read_bytes() for path in written.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", [f"algorithm-{version}" for version in range(1, 5)])
def test_the_golden_files_of_every_version_are_ok(name):
    status, lines = command("verify", "--data-dir", GOLDEN / name)
    assert status == 0 and lines[-1].endswith(": ok"), lines


def test_each_of_several_damages_is_named_with_file_offset_and_what_is_lost(written):
    path = log_file(written)
    chunks = chunks_of(path)
    hit = [chunks[10], chunks[11], chunks[40]]
    for offset, _ in hit:
        flip(path, offset + HEADER + 100)
    status, lines = command("verify", "--data-dir", written)
    assert status == 1
    told = damages(lines)
    assert len(told) == len(hit), lines
    for line, (offset, position) in zip(told, hit, strict=True):
        assert f"{path.parent.name}: {path.name} at offset {offset}:" in line
        assert f"record {position} is lost" in line


def test_a_sector_of_zeros_costs_the_records_in_it_and_no_others(written):
    path = log_file(written)
    hit = [position for offset, position, _, length in records(path)
           if offset < 12288 and offset + HEADER + length > 8192]
    with open(path, "r+b") as file:
        file.seek(8192)
        file.write(bytes(4096))
    status, lines = command("verify", "--data-dir", written)
    assert status == 1 and len(damages(lines)) == 1
    assert f"records {hit[0]} to {hit[-1]} are lost" in damages(lines)[0], (hit, lines)


def test_a_flipped_bit_anywhere_in_the_log_is_seen(written):
    path = log_file(written)
    last_offset, _, _, last_length = records(path)[-1]
    end = last_offset + HEADER + (last_length + 7) // 8 * 8
    whole = path.read_bytes()
    random = np.random.default_rng(5)
    for offset in sorted(random.choice(end, 60, replace=False)):
        flip(path, int(offset), int(random.integers(8)))
        status, lines = command("verify", "--data-dir", written)
        assert status == 1 and len(damages(lines)) == 1, (offset, lines)
        path.write_bytes(whole)


def test_an_unfinished_write_at_the_end_is_no_damage(written):
    path = log_file(written)
    offset, _, _, length = records(path)[-1]
    with open(path, "r+b") as file:  # the next record, of which power loss left a part
        file.seek(offset + HEADER + (length + 7) // 8 * 8)
        file.write(b"\x40\0\0\0torn" + bytes(40))
        file.truncate()
    status, lines = command("verify", "--data-dir", written)
    assert status == 0 and any("unfinished write" in line for line in lines), lines


def test_a_lost_file_and_a_lost_beginning_are_named(written):
    path = log_file(written)
    path.rename(path.with_name("log-00000000000000000009.omen"))
    status, lines = command("verify", "--data-dir", written)
    assert status == 1 and any("records 1 to 8 are in no file" in line for line in lines), lines
    path.with_name("log-00000000000000000009.omen").unlink()
    status, lines = command("verify", "--data-dir", written)
    assert status == 1 and any("no file of the log" in line for line in lines), lines


def test_a_newer_format_is_refused_with_a_sentence(written, tmp_path):
    path = log_file(written)
    data = bytearray(path.read_bytes())
    data[17] = 99  # the format version of the file's own record
    data[4:8] = crc32c(bytes(data[8:HEADER])).to_bytes(4, "little")
    path.write_bytes(data)
    for arguments in (["verify"], ["recover", "--to", tmp_path / "to"]):
        status, lines = command(arguments[0], "--data-dir", written, *arguments[1:])
        assert status == 1 and "format version is 99" in lines[-1] and "newer" in lines[-1], lines


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def test_a_directory_that_a_server_has_is_left_alone(server, tmp_path):
    data = tmp_path / "server0" / "data"
    for arguments in (["verify"], ["recover", "--to", tmp_path / "to"]):
        status, lines = command(arguments[0], "--data-dir", data, *arguments[1:])
        assert status == 1 and "in use by another process" in lines[-1], lines


@pytest.mark.parametrize("arguments", [
    ["verify"], ["verify", "--to", "x", "--data-dir", "y"], ["recover", "--data-dir", "x"],
    ["recover", "--to", "x"], ["verify", "--data-dir"]])
def test_a_wrong_call_ends_with_the_usage(arguments):
    status, lines = command(*arguments)
    assert status == 2 and any("usage: omendb-server verify" in line for line in lines)


# ---- recover ------------------------------------------------------------------------------------


def test_what_is_whole_is_recovered_from_a_damaged_log_and_the_rest_is_listed(written, tmp_path):
    path = log_file(written)
    chunks = chunks_of(path)
    for offset, _ in (chunks[10], chunks[11], chunks[40]):
        flip(path, offset + HEADER + 100)
    status, lines = command("recover", "--data-dir", written, "--to", tmp_path / "two" / "data")
    assert status == 1 and "create" in lines[-1], "the folder above it is not there"
    (tmp_path / "two").mkdir()
    status, lines = command("recover", "--data-dir", written, "--to", tmp_path / "two" / "data")
    assert status == 1
    assert len(damages(lines)) == 3 and any("3 are lost" in line for line in lines), lines
    server = Server(tmp_path / "two")
    with Client(server.target) as client:
        assert found_chunks(client) == [seq for seq in range(1, CHUNKS + 1)
                                        if seq not in (11, 12, 41)]
        validate(client, "words")
        with client.insert_stream("words", mode="upsert") as stream:  # and it takes writes
            stream.add(ids(11), vectors(11))
        assert 11 in found_chunks(client)
    assert server.stop() == 0
    assert command("verify", "--data-dir", tmp_path / "two" / "data")[0] == 0


def test_an_undamaged_directory_is_recovered_whole_with_the_same_graph(written, tmp_path):
    (tmp_path / "copy").mkdir()
    shutil.copytree(written, tmp_path / "copy" / "data")
    (tmp_path / "two").mkdir()
    status, lines = command("recover", "--data-dir", written, "--to", tmp_path / "two" / "data")
    assert status == 0, lines
    told = []
    for place in ("copy", "two"):
        server = Server(tmp_path / place)
        with Client(server.target) as client:
            told.append(client.get_collection("words", with_graph_hash=True).graph_hash)
            assert found_chunks(client) == list(range(1, CHUNKS + 1))
        assert server.stop() == 0
    assert told[0] == told[1]


def test_a_collection_whose_first_record_is_lost_is_listed_and_the_others_are_kept(tmp_path):
    server = Server(tmp_path / "one")
    with Client(server.target) as client:
        for name in ("gone", "kept"):
            client.create_collection(name, dim=DIM, metric="l2")
            client.insert(name, ids(1), vectors(1))
        lost = client.get_collection("gone").incarnation.hex()
    server.kill()
    data = tmp_path / "one" / "data"
    path = next((data / lost).glob("log-*.omen"))
    flip(path, records(path)[0][0] + HEADER + 2)
    (tmp_path / "two").mkdir()
    status, lines = command("recover", "--data-dir", data, "--to", tmp_path / "two" / "data")
    assert status == 1 and any(re.search(f"{lost} cannot be recovered", line) for line in lines)
    server = Server(tmp_path / "two")
    with Client(server.target) as client:
        assert [told.name for told in client.list_collections()] == ["kept"]
        assert client.get("kept", ids(1)).found.all()
    assert server.stop() == 0


def test_recover_writes_into_no_directory_that_has_something_in_it(written, tmp_path):
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "note").write_text("mine")
    status, lines = command("recover", "--data-dir", written, "--to", tmp_path / "two")
    assert status == 1 and "is not empty" in lines[-1]
    assert [path.name for path in (tmp_path / "two").iterdir()] == ["note"]


# ---- checkpoints, originals, snapshots ----------------------------------------------------------


@pytest.fixture
def stopped(tmp_path, request):
    """The data directory of a server that was asked to stop twice: two checkpoints, the log behind
    them empty, and one snapshot."""
    for life in range(2):
        server = Server(tmp_path / "one")
        with Client(server.target) as client:
            if life == 0:
                client.create_collection("words", dim=DIM, metric="l2",
                                         originals=getattr(request, "param", "f32"))
            with client.insert_stream("words", mode="upsert") as stream:
                for seq in range(1 + life * CHUNKS // 2, 1 + (life + 1) * CHUNKS // 2):
                    stream.add(ids(seq), vectors(seq))
            if life == 1:
                client.create_snapshot("words", "copy")
        assert server.stop() == 0
    return tmp_path / "one" / "data"


def checkpoints(directory):
    """Newest first."""
    return sorted(directory.glob("*/checkpoint-*.omen"), reverse=True)


def recovered(tmp_path, data, damaged=True):
    """(lines, what a server finds in the recovered directory)."""
    (tmp_path / "two").mkdir()
    status, lines = command("recover", "--data-dir", data, "--to", tmp_path / "two" / "data")
    assert status == (1 if damaged else 0), lines
    server = Server(tmp_path / "two")
    try:
        with Client(server.target) as client:
            validate(client, "words")
            found = found_chunks(client)
            client.upsert("words", ids(1), vectors(1))  # and it takes writes
            snapshots = [told.name for told in client.list_snapshots()]
    finally:
        assert server.stop() == 0
    return lines, found, snapshots


@pytest.mark.parametrize("stopped", ["f16"], indirect=True)
def test_originals_in_f16_are_checked_too(stopped):
    assert command("verify", "--data-dir", stopped)[0] == 0
    flip(next(stopped.glob("*/originals.f16")), 6400)  # a row of 16 halves has 64 bytes
    lines = command("verify", "--data-dir", stopped)[1]
    assert len(damages(lines)) == 1 and "originals.f16 at offset 6400" in damages(lines)[0], lines


def test_a_directory_with_checkpoints_and_snapshots_is_ok(stopped):
    status, lines = command("verify", "--data-dir", stopped)
    assert status == 0 and damages(lines) == [], lines
    assert len(checkpoints(stopped)) == 2
    assert "1 collections, 2 checkpoints, 1 snapshots" in lines[-1]


def test_a_flipped_bit_in_checkpoint_originals_or_snapshot_is_named_with_its_file(stopped):
    """In originals: of a vector that lives; what is between and behind vectors is nobody's."""
    random = np.random.default_rng(6)
    originals = next(stopped.glob("*/originals.f32"))
    rows = CHUNKS * PIECE * DIM * 4  # DIM is 16: rows without room between them
    places = [(path, path.stat().st_size) for path in checkpoints(stopped)]
    snapshot = stopped / "snapshots" / "copy.snapshot"
    places += [(snapshot, snapshot.stat().st_size), (originals, rows)]
    for path, size in places:
        whole = path.read_bytes()
        for offset in random.choice(size, 25, replace=False):
            flip(path, int(offset), int(random.integers(8)))
            status, lines = command("verify", "--data-dir", stopped)
            assert status == 1 and damages(lines), (path.name, offset, lines)
            assert all(path.name in line for line in damages(lines)), (path.name, offset, lines)
            assert "offset" in damages(lines)[0]
            path.write_bytes(whole)


def test_every_damaged_section_of_a_checkpoint_is_named(stopped):
    path = checkpoints(stopped)[0]
    data, offset, sections = path.read_bytes(), 0, []
    while offset < len(data):  # a header of 40 bytes, the length at 24 (engine/sections.h)
        length = struct.unpack_from("<Q", data, offset + 24)[0]
        sections.append((offset, length))
        offset += 40 + (length + 7) // 8 * 8
    hit = [sections[0], sections[3], sections[-2]]
    for offset, length in hit:
        flip(path, offset + 40 + length // 2)
    flip(path, sections[5][0] + 9)  # and a header
    told = damages(command("verify", "--data-dir", stopped)[1])
    wanted = sorted([offset + 40 for offset, _ in hit] + [sections[5][0]])
    assert [int(re.search(r"offset (\d+)", line)[1]) for line in told] == wanted, told


def test_a_damaged_checkpoint_costs_nothing_while_the_one_before_is_whole(stopped, tmp_path):
    flip(checkpoints(stopped)[0], 3000)
    lines, found, snapshots = recovered(tmp_path, stopped)
    assert found == list(range(1, CHUNKS + 1)) and snapshots == ["copy"]
    assert any("begins with the checkpoint" in line for line in lines)
    assert any("0 are lost" in line for line in lines), lines


def test_a_sound_directory_with_checkpoints_is_recovered_whole(stopped, tmp_path):
    lines, found, snapshots = recovered(tmp_path, stopped, damaged=False)
    assert found == list(range(1, CHUNKS + 1)) and snapshots == ["copy"]
    assert command("verify", "--data-dir", tmp_path / "two" / "data")[0] == 0


def test_a_damaged_log_before_a_whole_checkpoint_costs_nothing(stopped, tmp_path):
    path = log_file(stopped)
    flip(path, chunks_of(path)[3][0] + HEADER + 90)
    lines, found, _ = recovered(tmp_path, stopped)
    assert found == list(range(1, CHUNKS + 1)), lines
    assert len(damages(lines)) == 1


def test_a_damaged_snapshot_is_not_recovered_and_is_listed(stopped, tmp_path):
    flip(stopped / "snapshots" / "copy.snapshot", 5000)
    lines, found, snapshots = recovered(tmp_path, stopped)
    assert found == list(range(1, CHUNKS + 1)) and snapshots == []
    assert any("copy.snapshot" in line for line in damages(lines))


def test_without_a_whole_checkpoint_or_beginning_a_collection_is_listed_as_lost(stopped, tmp_path):
    for path in checkpoints(stopped):
        flip(path, 100)
    for path in stopped.glob("*/log-*.omen"):
        if path.name.endswith("0001.omen"):
            flip(path, records(path)[0][0] + HEADER + 2)
    (tmp_path / "two").mkdir()
    status, lines = command("recover", "--data-dir", stopped, "--to", tmp_path / "two" / "data")
    assert status == 1 and any("cannot be recovered" in line for line in lines)
    assert not [path for path in (tmp_path / "two" / "data").iterdir() if len(path.name) == 32]

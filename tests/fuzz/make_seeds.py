#!/usr/bin/env python3
"""Writes the corpus that the fuzzers start from: real messages, and what is wrong in a known way.

    tests/fuzz/make_seeds.py        (rewrites the seeds in tests/fuzz/corpus; needs protoc)

Names say what an input is. What a fuzzer found worth keeping is called found-... there, and left
alone. The collections that the targets offer are in place.h: dimension 4, and "cosine" of 3 for
searches.
"""
import json
import math
import pathlib
import struct
import subprocess
import sys
import tempfile
import zlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
CORPUS = ROOT / "tests" / "fuzz" / "corpus"
DIM = 4
VARINT, FIXED64, BYTES, GROUP, FIXED32 = 0, 1, 2, 3, 5


def load_messages():
    """The modules that protoc makes of the API."""
    protos = [f"omendb/v1/{name}.proto" for name in ("vector", "collection", "snapshot")]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["protoc", f"-I{ROOT / 'proto'}", f"--python_out={folder}", *protos],
                       check=True)
        sys.path.insert(0, folder)
        from omendb.v1 import collection_pb2, snapshot_pb2, vector_pb2
    return vector_pb2, collection_pb2, snapshot_pb2


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out) + bytes([number])


def field(tag, kind, body=b""):
    """A field by hand, for what no honest encoder writes."""
    head = varint(tag << 3 | kind)
    return head + varint(len(body)) + body if kind == BYTES else head + body


def floats(*values):
    return struct.pack(f"<{len(values)}f", *values)


def rows(count, dim=DIM):
    """Different, and neither small nor zero."""
    return floats(*(math.sin(1 + i) for i in range(count * dim)))


def number(value):
    """A PointId by hand."""
    return field(1, VARINT, varint(value))


def key_ids(pb):
    """PointIds, good and bad."""
    return [pb.PointId(key=b"a key"), pb.PointId(key=b"k" * 64), pb.PointId(num=7),
            pb.PointId(key=b"7"), pb.PointId(key=b"k" * 65), pb.PointId(key=b""), pb.PointId()]


def insert_seeds(pb):
    def chunk(*points, seq=1, columns=None, deletes=()):
        return pb.InsertRequest(chunk=pb.Chunk(seq=seq, points=points, columns=columns,
                                               deletes=deletes))

    def point(number, vector):
        return pb.Point(id=pb.PointId(num=number), vector=vector)

    def bytes_vector(*values):
        return pb.Vector(f32_le=floats(*values))

    def columns(ids, data, dim=DIM, ttl_s=0):
        return pb.PointColumns(dim=dim, ids=ids, vectors_f32_le=data, ttl_s=ttl_s)

    def keyed(vector, ttl_s=0):
        return [pb.Point(id=id, vector=vector, ttl_s=ttl_s) for id in key_ids(pb)]

    ids = [pb.PointId(num=i) for i in range(4)]
    good = bytes_vector(1, 2, 3, 4)
    several = [point(i, bytes_vector(i, 1, -i, 0.5)) for i in range(6)]
    seeds = {
        "open": pb.InsertRequest(open=pb.Open(
            collection="l2", session_id=bytes(range(16)), mode=1, client_name="seed")),
        "open-upsert": pb.InsertRequest(open=pb.Open(collection="l2", mode=2)),
        "open-update": pb.InsertRequest(open=pb.Open(collection="cosine", mode=3)),
        "open-mode-4": pb.InsertRequest(open=pb.Open(collection="l2", mode=4)),
        "open-resumed": pb.InsertRequest(open=pb.Open(
            collection="l2", session_id=bytes(range(16)), mode=1, errors_seen_seq=7,
            incarnation=bytes(16))),
        "open-incarnation-short": pb.InsertRequest(open=pb.Open(
            collection="l2", mode=1, incarnation=b"short")),
        "open-unknown-collection": pb.InsertRequest(open=pb.Open(collection="none", mode=1)),
        "open-no-mode": pb.InsertRequest(open=pb.Open(collection="l2")),
        "open-zero-session": pb.InsertRequest(open=pb.Open(session_id=bytes(16), mode=1)),
        "open-long-names": pb.InsertRequest(open=pb.Open(
            collection="c" * 127, client_name="n" * 64, mode=1)),
        "open-longer-name": pb.InsertRequest(open=pb.Open(collection="c" * 128, mode=1)),
        "open-nul-in-name": pb.InsertRequest(open=pb.Open(collection="a\0b", mode=1)),
        "flush": pb.InsertRequest(flush=pb.Flush()),
        "chunk-points": chunk(*several),
        "chunk-floats": chunk(point(7, pb.Vector(floats=pb.FloatVector(values=[1, 2, 3, 4])))),
        "chunk-columns": chunk(columns=columns(range(9), rows(9))),
        "chunk-points-and-columns": chunk(*several[:2], columns=columns([100, 2**64 - 1], rows(2))),
        "chunk-empty": chunk(),
        "chunk-seq-0": chunk(*several[:1], seq=0),
        "chunk-duplicates": chunk(*[point(5, good)] * 3),
        "chunk-same-vector": chunk(*[point(i, good) for i in range(4)]),
        "chunk-key": chunk(pb.Point(id=pb.PointId(key=b"a key"), vector=good)),
        "chunk-keys": chunk(*keyed(good)),
        "chunk-keys-ttl": chunk(*keyed(good, ttl_s=3600)),
        "chunk-ttl-mixed": chunk(*keyed(good)[:4], *keyed(good, ttl_s=90)[:2], *several,
                                 pb.Point(id=ids[1], vector=good, ttl_s=77)),
        "chunk-ttl-second": chunk(*[pb.Point(id=id, vector=good, ttl_s=1) for id in ids]),
        "chunk-ttl-largest": chunk(pb.Point(id=ids[0], vector=good, ttl_s=2**32 - 1)),
        "columns-ttl": chunk(columns=columns(range(3), rows(3), ttl_s=60)),
        "deletes": chunk(deletes=ids),
        "deletes-keys": chunk(deletes=key_ids(pb)),
        "points-then-deletes": chunk(*several, deletes=ids),
        "all-three": chunk(*several, columns=columns(range(4, 7), rows(3)),
                           deletes=[*ids, *key_ids(pb)]),
        "chunk-upsert-twice": chunk(point(1, good), point(1, bytes_vector(4, 3, 2, 1)),
                                    point(1, good), deletes=ids),
        "chunk-no-id": chunk(pb.Point(vector=good), pb.Point()),
        "chunk-no-vector": chunk(pb.Point(id=pb.PointId(num=3))),
        "chunk-dim-9": chunk(point(1, bytes_vector(*range(9)))),
        "chunk-nan": chunk(point(1, bytes_vector(1, math.nan, 3, 4)),
                           point(2, bytes_vector(1, 2, math.inf, 4)), several[0]),
        "chunk-zero": chunk(point(1, bytes_vector(0, 0, 0, 0))),
        "chunk-extremes": chunk(point(1, bytes_vector(1e15, -1e15, 1e-15, 0)),
                                point(2, bytes_vector(3e38, 1, 1, 1)),
                                point(3, bytes_vector(1e-16, 0, 0, 0)),
                                point(4, bytes_vector(1e-45, -0.0, 0, 0))),
        "columns-dim-huge": chunk(columns=columns([1], rows(1), dim=2**32 - 1)),
        "columns-short": chunk(columns=columns(range(4), rows(3))),
        "columns-no-ids": chunk(columns=columns([], b"")),
        "columns-bad-values": chunk(columns=columns(range(3), floats(
            *(math.nan,) * 4, *(0,) * 4, 1, 2, 3, 4))),
        "columns-many": chunk(columns=columns(range(500), rows(500))),
    }
    seeds = {name: message.SerializeToString(deterministic=True)
             for name, message in seeds.items()}

    def raw_chunk(*parts):
        return field(2, BYTES, field(1, VARINT, b"\1") + b"".join(parts))

    def raw_point(*vector_fields, number=1):
        return field(2, BYTES, field(1, BYTES, field(1, VARINT, varint(number)))
                     + b"".join(field(2, BYTES, vector) for vector in vector_fields))

    unpacked = b"".join(field(1, FIXED32, floats(value)) for value in (1, 2, 3, 4))
    two_runs = field(1, BYTES, floats(1, 2)) + field(1, BYTES, floats(3, 4))
    whole = seeds["chunk-points"]
    seeds |= {
        "empty": b"",
        "chunk-floats-unpacked": raw_chunk(raw_point(field(2, BYTES, unpacked))),
        "chunk-floats-two-runs": raw_chunk(raw_point(field(2, BYTES, two_runs))),
        "chunk-floats-mixed-runs": raw_chunk(raw_point(field(
            2, BYTES, field(1, BYTES, floats(1, 2, 3)) + field(1, FIXED32, floats(4))))),
        "chunk-floats-merged": raw_chunk(raw_point(field(2, BYTES, field(1, BYTES, floats(1, 2))),
                                                   field(2, BYTES, field(1, BYTES, floats(3, 4))))),
        "chunk-vector-of-both-kinds": raw_chunk(raw_point(
            field(1, BYTES, floats(1, 2, 3, 4)) + field(2, BYTES, field(1, BYTES, floats(9))))),
        "chunk-vector-twice": raw_chunk(raw_point(
            field(1, BYTES, floats(1, 2)) + field(1, BYTES, floats(1, 2, 3, 4)))),
        "chunk-part-of-a-float": raw_chunk(raw_point(field(1, BYTES, floats(1, 2, 3) + b"\1\2"))),
        "chunk-part-behind": raw_chunk(raw_point(field(1, BYTES, floats(1, 2, 3, 4) + b"\1"))),
        "chunk-part-in-a-run": raw_chunk(raw_point(
            field(2, BYTES, field(1, BYTES, floats(1, 2, 3) + b"\1\2\3")))),
        "chunk-id-of-both-kinds": raw_chunk(field(2, BYTES, field(1, BYTES, (
            field(1, VARINT, b"\5") + field(2, BYTES, b"k"))))),
        "chunk-key-then-number": raw_chunk(field(2, BYTES, field(1, BYTES, (
            field(2, BYTES, b"k") + field(1, VARINT, b"\5"))) + field(2, BYTES, field(
                1, BYTES, rows(1))))),
        "chunk-id-twice": raw_chunk(field(2, BYTES, field(1, BYTES, number(1)) + field(
            1, BYTES, field(2, BYTES, b"key")) + field(2, BYTES, field(1, BYTES, rows(1))))),
        "chunk-key-huge": raw_chunk(field(2, BYTES, field(1, BYTES, b"\x12\xff\xff\xff\x7f"))),
        "chunk-key-cut": raw_chunk(field(2, BYTES, field(1, BYTES, b"\x12\x09key"))),
        "deletes-first": raw_chunk(field(4, BYTES, number(1)), field(3, BYTES, field(
            1, VARINT, b"\4") + field(2, BYTES, b"\1") + field(3, BYTES, rows(1))),
            raw_point(field(1, BYTES, rows(1)), number=1)),
        "deletes-broken": raw_chunk(field(4, BYTES, b"\x08")),
        "deletes-many": raw_chunk(field(4, BYTES, b"\x08\1") * 4000),
        "columns-ids-unpacked": raw_chunk(field(3, BYTES, field(1, VARINT, b"\4")
                                          + field(2, VARINT, b"\1") + field(2, VARINT, b"\2")
                                          + field(3, BYTES, rows(2)))),
        "columns-ids-last": raw_chunk(field(3, BYTES, field(3, BYTES, rows(1))
                                      + field(3, BYTES, rows(1)) + field(1, VARINT, b"\4")
                                      + field(2, BYTES, b"\1\2"))),
        "columns-twice": raw_chunk(*[field(3, BYTES, field(1, VARINT, b"\4")
                                           + field(2, BYTES, bytes([i])) + field(3, BYTES, rows(1)))
                                     for i in (1, 2)]),
        "columns-broken-id": raw_chunk(field(3, BYTES, field(2, BYTES, b"\xff\xff"))),
        "two-bodies": seeds["flush"] + seeds["open"],
        "two-chunks": whole + whole,
        "unknown-fields": field(99, BYTES, b"new") + field(77, VARINT, b"\1")
                          + field(78, FIXED64, bytes(8)) + field(79, FIXED32, bytes(4)) + whole,
        "unknown-only": field(15, VARINT, b"\1"),
        "truncated": whole[:-5],
        "wrong-wire-type": field(2, VARINT, b"\1"),
        "wrong-wire-types-inside": raw_chunk(field(2, FIXED64, bytes(8))),
        "group": field(2, GROUP),
        "tag-0": field(0, VARINT, b"\1"),
        "varint-without-end": b"\xff" * 11,
        "length-huge": b"\x12\xff\xff\xff\xff\x0f",
        "inner-length-huge": raw_chunk(b"\x12\xff\xff\xff\xff\x0f"),
        "nested-deep": nested(200),
        "points-empty-many": raw_chunk(b"\x12\x00" * 3000),
    }
    return seeds


def write_seeds(pb):
    """Of Upsert, Delete and Get."""
    def point(id, *values, ttl_s=0):
        return pb.Point(id=id, vector=pb.Vector(f32_le=floats(*values)), ttl_s=ttl_s)

    numbers = [pb.PointId(num=i) for i in range(5)]
    points = [point(id, i, 1, -i, 0.5) for i, id in enumerate(numbers)]
    columns = pb.PointColumns(dim=DIM, ids=range(9), vectors_f32_le=rows(9), ttl_s=50)
    upsert, delete, get = pb.UpsertRequest, pb.DeleteRequest, pb.GetRequest
    seeds = {
        "upsert": upsert(collection="l2", points=points),
        "upsert-keys": upsert(collection="l2", mode=2, points=[
            point(id, 1, 2, 3, 4) for id in key_ids(pb)]),
        "upsert-ttl": upsert(collection="l2", points=[point(numbers[0], 1, 2, 3, 4, ttl_s=1)]),
        "upsert-columns": upsert(collection="l2", columns=columns, wait_for=1),
        "upsert-both": upsert(collection="l2", points=points, columns=columns, wait_for=2),
        "upsert-insert-only": upsert(collection="l2", mode=1, points=points * 2),
        "upsert-update-only": upsert(collection="l2", mode=3, points=points[3:]),
        "upsert-mode-9": upsert(collection="l2", mode=9, points=points),
        "upsert-wait-9": upsert(collection="l2", wait_for=9, points=points),
        "upsert-nothing": upsert(collection="l2"),
        "upsert-no-name": upsert(points=points),
        "upsert-dim": upsert(collection="l2", points=[point(numbers[1], 1, 2)]),
        "upsert-bad-values": upsert(collection="l2", points=[
            point(numbers[0], math.nan, 0, 0, 0), point(numbers[1], 0, 0, 0, 0),
            point(numbers[2], 1e16, 0, 0, 0), point(numbers[3], 1e-20, 0, 0, 0)]),
        "upsert-many": upsert(collection="l2", columns=pb.PointColumns(
            dim=DIM, ids=range(600), vectors_f32_le=rows(600))),
        "delete": delete(collection="l2", ids=numbers),
        "delete-keys": delete(collection="l2", ids=key_ids(pb)[:4], wait_for=1),
        "delete-bad-ids": delete(collection="l2", ids=key_ids(pb)),
        "delete-nothing": delete(collection="l2"),
        "delete-wait-9": delete(collection="l2", ids=numbers, wait_for=9),
        "get": get(collection="l2", ids=numbers),
        "get-keys": get(collection="l2", ids=key_ids(pb)[:4]),
        "get-without-vectors": get(collection="l2", ids=numbers, without_vectors=True),
        "get-bad-id": get(collection="l2", ids=key_ids(pb)),
        "get-nothing": get(collection="l2"),
        "get-longer-name": get(collection="n" * 200, ids=numbers),
        "get-many": get(collection="l2", ids=[pb.PointId(num=i) for i in range(1024)]),
        "get-too-many": get(collection="l2", ids=[pb.PointId(num=i) for i in range(1025)]),
    }
    seeds = {name: message.SerializeToString(deterministic=True)
             for name, message in seeds.items()}
    name = field(1, BYTES, b"l2")
    return seeds | {
        "empty": b"",
        "name-last": seeds["upsert"][4:] + name,
        "name-twice": name + seeds["upsert"],
        "name-nul": field(1, BYTES, b"l2\0") + field(2, BYTES, number(1)),
        "unknown-fields": seeds["get"] + field(60, BYTES, b"new") + field(61, FIXED64, bytes(8)),
        "columns-first": name + field(4, BYTES, field(3, BYTES, rows(1)) + field(
            2, VARINT, b"\1") + field(1, VARINT, b"\4")) + field(3, BYTES, field(
                1, BYTES, number(1)) + field(2, BYTES, field(1, BYTES, rows(1)))),
        "columns-short": name + field(4, BYTES, field(2, VARINT, b"\1") + field(1, VARINT, b"\4")),
        "truncated": seeds["upsert"][:-3],
        "truncated-ids": seeds["get-keys"][:-2],
        "wrong-wire-type": field(1, VARINT, b"\1"),
        "wrong-wire-type-ids": name + field(2, FIXED32, bytes(4)),
        "wrong-wire-type-mode": name + field(2, FIXED64, bytes(8)),
        "wait-64-bits": seeds["upsert"] + field(5, VARINT, varint(2**40 + 1)),
        "length-huge": name + b"\x12\xff\xff\xff\xff\x0f",
        "id-empty-many": name + b"\x12\x00" * 2000,
    }


def nested(depth):
    body = b""
    for _ in range(depth):
        body = field(2, BYTES, body)
    return body


def search_seeds(pb):
    def query(*values):
        return pb.Query(vector=pb.Vector(f32_le=floats(*values)))

    def own(**options):
        return pb.Query(vector=pb.Vector(f32_le=floats(0.1, 0.2, 0.3, 0.4)),
                        options=pb.SearchOptions(**options))

    def request(*queries, collection="l2", columns=None, layout=0, min_read=None, **options):
        return pb.SearchRequest(collection=collection, queries=queries, columns=columns,
                                options=pb.SearchOptions(**options), layout=layout,
                                min_read=min_read)

    def token(position, incarnation=bytes(16)):
        return pb.ReadToken(incarnation=incarnation, log_position=position)

    def columns(data, dim=DIM):
        return pb.QueryColumns(dim=dim, vectors_f32_le=data)

    one = query(0.1, 0.2, 0.3, 0.4)
    seeds = {
        "one": request(one),
        "several": request(one, query(1, 1, 1, 1), query(-1, 0, 0, 0), k=5, ef=32),
        "columns": request(columns=columns(rows(7)), layout=2, k=3),
        "queries-and-columns": request(one, columns=columns(rows(2)), layout=1),
        "exact": request(one, exact=True, k=2500),
        "cosine": request(query(1, 2, 3), collection="cosine", k=50),
        "cosine-zero": request(query(0, 0, 0), collection="cosine"),
        "own-options": request(one, own(k=3), own(ef=200), own(exact=True), k=7),
        "own-options-bad": request(own(k=10001), own(ef=9000), own(k=2**32 - 1), one),
        "own-options-sum": request(*[own(k=10000)] * 110),
        "min-read": request(one, min_read=token(1)),
        "min-read-second": request(one, own(k=2), min_read=token(1), exact=True),
        "min-read-0": request(one, min_read=token(0)),
        "min-read-0-exact": request(one, min_read=token(0), exact=True),
        "min-read-later": request(one, min_read=token(2**63)),
        "min-read-later-too": request(one, one, min_read=token(2**40)),
        "min-read-short": request(one, min_read=token(1, b"short")),
        "some-bad": request(one, query(1, 2), query(math.nan, 0, 0, 0), query(0, 0, 0, 0), k=3),
        "columns-other-dim": request(one, columns=columns(rows(6, 2), dim=2)),
        "empty-collection": request(one, collection="empty"),
        "name-longer": request(one, collection="c" * 300),
        "name-nul": request(one, collection="l2\0"),
        "no-queries": request(),
        "k-largest": request(one, k=10000, ef=8192),
        "k-too-large": request(one, k=10001),
        "ef-too-large": request(one, ef=8193),
        "hits-too-many": request(columns=columns(rows(200)), k=10000),
        "no-vector": request(pb.Query()),
        "nan": request(query(1, math.nan, 0, 0)),
        "too-large-a-component": request(query(1e16, 0, 0, 0)),
        "columns-dim-0": request(columns=columns(rows(1), dim=0)),
        "columns-dim-3": request(columns=columns(rows(3, 3), dim=3)),
        "columns-dim-5000": request(columns=columns(rows(1), dim=5000)),
        "columns-odd": request(columns=columns(rows(5)[:-1])),
        "columns-empty": request(one, columns=columns(b"", dim=9)),
        "layout-9": pb.SearchRequest(collection="l2", queries=[one], layout=9),
    }
    seeds = {name: message.SerializeToString(deterministic=True)
             for name, message in seeds.items()}
    name = field(1, BYTES, b"l2")
    unpacked = b"".join(field(1, FIXED32, floats(value)) for value in (1, 2, 3, 4))
    seeds |= {
        "empty": b"",
        "vectors-before-name": field(3, BYTES, field(2, BYTES, rows(1)) + field(1, VARINT, b"\4"))
                               + name,
        "columns-in-two-runs": name + field(3, BYTES, field(1, VARINT, b"\4")
                                            + field(2, BYTES, rows(1)[:6])
                                            + field(2, BYTES, rows(1)[6:])),
        "columns-twice": name + field(3, BYTES, field(1, VARINT, b"\4")
                                      + field(2, BYTES, rows(1))) * 2,
        "floats-unpacked": name + field(2, BYTES, field(1, BYTES, field(2, BYTES, unpacked))),
        "part-of-a-float": name + field(2, BYTES, field(1, BYTES, field(
            1, BYTES, floats(1, 2, 3) + b"\1\2"))),
        "name-twice": name + field(1, BYTES, b"cosine") + field(
            2, BYTES, field(1, BYTES, field(1, BYTES, floats(1, 2, 3)))),
        "queries-too-many": name + field(2, BYTES) * 1025,
        "options-twice": name + seeds["one"] + field(4, BYTES, field(1, VARINT, b"\3")),
        "options-64-bits": seeds["one"] + field(4, BYTES, field(1, VARINT, varint(2**40))),
        "unknown-fields": field(60, BYTES, b"new") + seeds["one"] + field(61, FIXED64, bytes(8)),
        "truncated": seeds["several"][:-3],
        "wrong-wire-type": field(1, VARINT, b"\1"),
        "wrong-wire-type-options": name + field(4, BYTES, field(1, BYTES, b"k")),
        "length-huge": name + b"\x12\xff\xff\xff\xff\x0f",
        "varint-without-end": name + b"\x28" + b"\xff" * 11,
        "no-utf8": field(1, BYTES, b"\xff\xfe") + field(2, BYTES),
    }
    return seeds


def collection_seeds(pb):
    config = pb.CollectionConfig(dim=8, metric=2, links=8, candidates=32, probes=8, epoch_points=99,
                                 checkpoint_bytes=4096)
    seeds = {
        "create": pb.CreateCollectionRequest(name="new", config=config),
        "create-metric-0": pb.CreateCollectionRequest(
            name="new", config=pb.CollectionConfig(dim=8)),
        "create-long-name": pb.CreateCollectionRequest(name="n" * 500, config=config),
        "get-with-hash": pb.GetCollectionRequest(name="l2", with_graph_hash=True),
        "create-target": pb.CreateCollectionRequest(
            name="new", config=pb.CollectionConfig(dim=8, metric=1, target_recall=0.9)),
        "create-halves": pb.CreateCollectionRequest(
            name="new", config=pb.CollectionConfig(dim=8, metric=1, originals=2)),
        "create-originals-9": pb.CreateCollectionRequest(
            name="new", config=pb.CollectionConfig(dim=8, metric=1, originals=9)),
        "create-target-nan": pb.CreateCollectionRequest(
            name="new", config=pb.CollectionConfig(dim=8, metric=1, target_recall=math.nan)),
        "update": pb.UpdateCollectionRequest(name="l2", target_recall=0.99, calibrate=True),
        "update-nothing": pb.UpdateCollectionRequest(name="l2"),
        "update-target-1": pb.UpdateCollectionRequest(name="l2", target_recall=1),
        "delete": pb.DeleteCollectionRequest(name="l2"),
        "validate": pb.ValidateCollectionRequest(name="cosine"),
    }
    seeds = {name: message.SerializeToString(deterministic=True)
             for name, message in seeds.items()}
    return seeds | {
        "truncated": seeds["create"][:-2],
        "length-huge": b"\x0a\xff\xff\xff\xff\x0f",
        "metric-64-bits": field(1, BYTES, b"n") + field(
            2, BYTES, field(2, VARINT, b"\xff" * 9 + b"\1")),
        "name-no-utf8": field(1, BYTES, b"\xff\xc0\x80"),
        "name-nul": field(1, BYTES, b"a\0b"),
        "wrong-wire-type": field(1, VARINT, b"\1"),
    }


def snapshot_seeds(pb):
    def chunk(data, **more):
        return pb.RestoreSnapshotRequest(chunk=pb.SnapshotChunk(
            data=data, **{"crc32": zlib.crc32(data), **more}))

    seeds = {
        "snapshot-create": pb.CreateSnapshotRequest(collection="l2", name="nightly"),
        "snapshot-download": pb.DownloadSnapshotRequest(name="nightly"),
        "snapshot-download-from": pb.DownloadSnapshotRequest(name="nightly", offset=999,
                                                             id=bytes(range(16))),
        "snapshot-download-no-id": pb.DownloadSnapshotRequest(name="nightly", offset=999),
        "snapshot-download-short-id": pb.DownloadSnapshotRequest(name="nightly", id=b"short"),
        "snapshot-restore": pb.RestoreSnapshotRequest(
            begin=pb.RestoreBegin(collection="new", snapshot="nightly")),
        "snapshot-chunk": chunk(b"some bytes", offset=4096),
        "snapshot-chunk-empty": chunk(b""),
        "snapshot-chunk-damaged": chunk(b"some bytes", crc32=7),
    }
    return {name: message.SerializeToString(deterministic=True)
            for name, message in seeds.items()}


def json_seeds():
    def insert(*points, **more):
        return {"points": list(points), **more}

    good = {"id": 7, "vector": [1, 2, 3, 4]}
    create = {"dim": 8, "metric": "l2"}
    seeds = {
        "create": {"name": "new", "config": {**create, "links": 8, "candidates": 32, "probes": 4,
                                             "epoch_points": 100, "checkpoint_bytes": 4096}},
        "create-target": {"name": "new", "config": {**create, "target_recall": 0.9}},
        "create-halves": {"name": "new", "config": {**create, "originals": "f16"}},
        "create-originals-f8": {"name": "new", "config": {**create, "originals": "f8"}},
        "create-target-text": {"name": "new", "config": {**create, "target_recall": "0.9"}},
        "update": {"target_recall": 0.99, "calibrate": True},
        "update-target-huge": {"target_recall": 1e300},
        "create-metric-number": {"name": "new", "config": {"dim": 8, "metric": 3}},
        "create-metric-unknown": {"name": "new", "config": {"dim": 8, "metric": "l3"}},
        "create-no-config": {"name": "new"},
        "create-unknown-field": {"name": "new", "config": {"dims": 8}},
        "search": {"queries": [{"vector": [1, 2, 3, 4]}], "k": 3, "ef": 20},
        "search-exact": {"queries": [{"vector": [1, 0, 0, 0]}] * 3, "exact": True},
        "search-exact-number": {"queries": [], "exact": 1},
        "search-dim": {"queries": [{"vector": [1, 2, 3]}, {"vector": [1] * 5}]},
        "search-dim-large": {"queries": [{"vector": [1] * 30}]},
        "search-no-vector": {"queries": [{}]},
        "search-none": {"queries": []},
        "search-k-negative": {"queries": [{"vector": [1, 2, 3, 4]}], "k": -1},
        "search-k-huge": {"queries": [{"vector": [1, 2, 3, 4]}], "k": 1e30},
        "search-many": {"queries": [{}] * 1025},
        "insert": insert(good),
        "insert-several": insert(*({"id": i, "vector": [i, 1, 2, -i]} for i in range(8))),
        "insert-durable": insert(good, wait="durable"),
        "insert-wait-unknown": insert(good, wait="never"),
        "insert-id-text": insert({"id": "18446744073709551615", "vector": [1, 2, 3, 4]}),
        "insert-id-too-long": insert({"id": "18446744073709551616", "vector": [1, 2, 3, 4]}),
        "insert-id-negative": insert({"id": -1, "vector": [1, 2, 3, 4]}),
        "insert-id-2-53": insert({"id": 2**53, "vector": [1, 2, 3, 4]}, {"id": 2**53 + 2}),
        "insert-no-id": insert({"vector": [1, 2, 3, 4]}, {}),
        "insert-dim": insert({"id": 1, "vector": [1]}, {"id": 2, "vector": []}, good),
        "insert-dim-large": insert({"id": 1, "vector": [1] * 30}),
        "insert-huge-number": insert({"id": 1, "vector": [1e300, -1e300, 1e39, 1]}),
        "search-own-options": {"queries": [{"vector": [1, 2, 3, 4], "options": {
            "k": 3, "ef": 40, "exact": True}}, {"vector": [1, 2, 3, 4]}], "k": 5},
        "search-own-options-bad": {"queries": [{"vector": [1, 2, 3, 4], "options": {"k": "3"}}]},
        "search-own-options-list": {"queries": [{"vector": [1, 2, 3, 4], "options": []}]},
        "search-min-read": {"queries": [{"vector": [1, 2, 3, 4]}], "min_read": {
            "incarnation": "00" * 16, "log_position": 3}},
        "search-min-read-short": {"queries": [{}], "min_read": {"incarnation": "0011"}},
        "search-min-read-types": {"queries": [{}], "min_read": {"incarnation": 1}},
        "search-min-read-position": {"queries": [{}], "min_read": {"log_position": "x"}},
        "search-min-read-list": {"queries": [{}], "min_read": []},
        "insert-keys": insert({"id": "a key", "vector": [1, 2, 3, 4]},
                              {"id": {"key_base64": "AAEC/w=="}, "vector": [4, 3, 2, 1]},
                              {"id": "k" * 64, "vector": [1, 1, 1, 1]},
                              {"id": "k" * 65, "vector": [1, 1, 1, 1]},
                              {"id": "", "vector": [1, 1, 1, 1]}),
        "insert-ttl": insert({**good, "ttl_s": 60}, {"id": 8, "vector": [1, 1, 0, 0], "ttl_s": 1}),
        "insert-ttl-mixed": insert({**good, "ttl_s": 60}, {"id": "k", "vector": [1, 1, 0, 0]}),
        "insert-ttl-bad": insert({**good, "ttl_s": -1}),
        "insert-ttl-huge": insert({**good, "ttl_s": 2**32}),
        "insert-base64-bad": insert({"id": {"key_base64": "A"}, "vector": [1, 2, 3, 4]}),
        "insert-base64-odd": insert({"id": {"key_base64": "AB=C"}, "vector": [1, 2, 3, 4]}),
        "insert-base64-empty": insert({"id": {"key_base64": ""}, "vector": [1, 2, 3, 4]}),
        "insert-base64-long": insert({"id": {"key_base64": "QUJD" * 50}, "vector": [1, 2, 3, 4]}),
        "insert-base64-number": insert({"id": {"key_base64": 5}, "vector": [1, 2, 3, 4]}),
        "insert-id-object": insert({"id": {"key": "x"}, "vector": [1, 2, 3, 4]}),
        "insert-id-list": insert({"id": [1], "vector": [1, 2, 3, 4]}),
        "insert-id-fraction": insert({"id": 1.5, "vector": [1, 2, 3, 4]}),
        "upsert": insert(good, {"id": 7, "vector": [4, 3, 2, 1]}, mode="upsert"),
        "upsert-insert-only": insert(good, good, mode="insert_only", wait="searchable"),
        "upsert-update-only": insert(good, {"id": 99, "vector": [1, 2, 3, 4]}, mode="update_only"),
        "upsert-mode-bad": insert(good, mode="replace"),
        "upsert-mode-number": insert(good, mode=2),
        "upsert-many": insert(*({"id": i % 90, "vector": [i, 1, 2, -i]} for i in range(120)),
                              mode="upsert"),
        "ids": {"ids": [7, 8, "a key", {"key_base64": "AAEC/w=="}]},
        "ids-durable": {"ids": list(range(20)), "wait": "durable"},
        "ids-bad": {"ids": ["", "k" * 65, 7]},
        "ids-none": {"ids": []},
        "ids-null": {"ids": [None]},
        "ids-without-vectors": {"ids": [1, 2, 3], "without_vectors": True},
        "ids-without-number": {"ids": [1], "without_vectors": 1},
        "ids-1025": {"ids": [1] * 1025},
        "ids-object": {"ids": {}},
        "list": [],
    }
    seeds = {name: json.dumps(body).encode() for name, body in seeds.items()}
    return seeds | {
        "empty": b"",
        "field-twice": b'{"points": [], "points": []}',
        "nul-byte": b'{"name": "a\0b"}',
        "escapes": b'{"name": "\\u00e9\\ud83d\\ude00\\n\\"", "config": {}}',
        "surrogate-alone": b'{"name": "\\ud83d", "config": {}}',
        "no-utf8": b'{"\xff\xfe": 1}',
        "truncated": seeds["insert"][:-4],
    }


def config_seeds():
    return {
        "whole": b"data_dir: /var/lib/omendb\ngrpc_host: 127.0.0.1\ngrpc_port: 7420\n"
                 b"http_host: 127.0.0.1\nhttp_port: off\ningest_threads: 2\nsearch_threads: 2\n"
                 b"shards: 8\ndrain_seconds: 30\nmax_connection_age_seconds: 0\nsimd: avx2\n",
        "flow": b"{grpc_port: 1, data_dir: 'x y'}\n",
        "empty": b"",
        "list": b"- grpc_port\n",
        "deeper": b"grpc_port:\n  a: 1\n",
        "twice": b"grpc_port: 1\ngrpc_port: 2\n",
        "unknown": b"grpc_prt: 1\n",
        "not-a-number": b"grpc_port: seven\n",
        "too-large": b"grpc_port: 65536\nshards: 99999999999999999999\n",
        "two-documents": b"grpc_port: 1\n---\ngrpc_port: 2\n",
        "alias": b"grpc_port: &a 1\nhttp_port: *a\n",
        "text-long": b"data_dir: " + b"x" * 2000 + b"\n",
        "no-utf8": b"data_dir: \xff\xfe\n",
        "utf16": "grpc_port: 1\n".encode("utf-16"),
        "quote-open": b'data_dir: "abc\n',
    }


# ---- log files --------------------------------------------------------------------------------

def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def record(position, kind, payload=b"", algorithm=2, version=2, unsynced=0):
    """engine/log.h has the table."""
    tail = struct.pack("<QBBHI", position, kind, version, algorithm, unsynced)
    head = struct.pack("<II", len(payload), crc32c(tail + payload))
    return head + tail + payload + bytes(-len(payload) % 8)


def settings(dim=DIM, metric=1, epoch_points=8, name=b"log", algorithm=2, checkpoint=4096):
    """engine/settings.h."""
    fields = [dim, metric, 16, 64, 32, epoch_points, 4096, checkpoint]
    return (bytes(range(16)) + struct.pack(f"<{6 + algorithm}I", *fields[:6 + algorithm])
            + struct.pack("<I", len(name)) + name)


def padded(data):
    return data + bytes(-len(data) % 8)


def log_chunk(seq, ids, vectors, generation=2, dim=DIM, *, mode=1, deletes=(), refused=(),
              expires=None, counts=None, flags=None, session=b"S" * 16):
    """The payload of a CHUNK: engine/chunk.h has the table. Ids are numbers, keys, or None; refused
    items are (id, refusal, detail)."""
    items = [*ids, *deletes, *(item[0] for item in refused)]
    keyed = any(not isinstance(id, int) for id in items)
    n, m, r = counts or (len(ids), len(deletes), len(refused))
    if flags is None:
        flags = keyed + 2 * (expires is not None)
    out = session + struct.pack("<QQIIBBHHH", generation, seq, n, dim, mode, flags, m, r, 0)
    out += b"".join(struct.pack("<Q", id if isinstance(id, int) else 0) for id in items)
    out += padded(struct.pack(f"<{len(items)}H", *range(len(items))))
    if keyed:
        lengths = bytes(0 if isinstance(id, int) else 255 if id is None else len(id)
                        for id in items)
        out += padded(lengths + b"".join(id for id in items if isinstance(id, bytes)))
    if expires is not None:
        out += padded(struct.pack(f"<{len(expires)}I", *expires))
    out += b"".join(struct.pack("<II", *item[1:]) for item in refused)
    return out + vectors


def calibration(ef=48):
    """A later record's payload: engine/settings.h, struct omen_calibration."""
    fields = (ef, 200, 20, 100, 975000, 980000, 970000, 1, 256, 5000, 1700000000)
    return b"".join(struct.pack("<2I", 16 + i, value) for i, value in enumerate(fields))


OPEN, CHUNK, CLOSE, SETTINGS, EXPIRE, CHECKPOINT = range(1, 7)
OPENING = b"S" * 16 + bytes(8)
NONE = bytes(16)


def log(*records, own=True, **options):
    """A log of these (kind, payload), each its own group; `own`: with the file's first record."""
    out = record(1, 0, algorithm=0) if own else b""
    return out + b"".join(record(i + 1, kind, payload, **options)
                          for i, (kind, payload) in enumerate(records))


def churn_seeds():
    """What algorithm version 2 brought: points go."""
    first = [(SETTINGS, settings()), (OPEN, OPENING)]
    some = (CHUNK, log_chunk(1, range(12), rows(12)))
    late = 2**32 - 2
    keys = [b"a key", b"k" * 64, 7, b"7"]

    def churn(rounds, epoch_points=8):
        """Fills, replaces and deletes, so that slots are swept and used again."""
        out = [(SETTINGS, settings(epoch_points=epoch_points)), (OPEN, OPENING)]
        for i in range(rounds):
            vectors = floats(*(math.sin(i * 50 + j) for j in range(10 * DIM)))
            out.append((CHUNK, log_chunk(i + 1, range(10), vectors, mode=2,
                                         deletes=range(5, 8) if i % 2 else ())))
            out += [(CLOSE, b""), (CHECKPOINT, b"")]
        return out

    return {
        "upsert": log(*first, some, (CHUNK, log_chunk(2, range(4, 9), rows(6)[4 * DIM:], mode=2))),
        "upsert-in-one": log(*first, (CHUNK, log_chunk(1, [1, 1, 2, 1], rows(4), mode=2))),
        "update-only": log(*first, some, (CHUNK, log_chunk(2, [3, 99], rows(2), mode=3))),
        "deletes": log(*first, some, (CHUNK, log_chunk(2, [], b"", deletes=[1, 2, 3, 99]))),
        "delete-all": log(*first, some, (CHUNK, log_chunk(2, [], b"", deletes=range(12))),
                          (CLOSE, b""), (CHUNK, log_chunk(3, range(6), rows(6)))),
        "points-and-deletes": log(*first, (CHUNK, log_chunk(1, range(5), rows(5),
                                                            deletes=[1, 2, 77]))),
        "keys": log(*first, (CHUNK, log_chunk(1, keys, rows(4), deletes=[b"a key", b"none"]))),
        "keys-again": log(*first, (CHUNK, log_chunk(1, keys, rows(4))),
                          (CHUNK, log_chunk(2, keys, rows(8)[4 * DIM * 4:], mode=2))),
        "refused": log(*first, (CHUNK, log_chunk(1, [1], rows(1), refused=[
            (2, 1, 3), (None, 7, 0), (b"key", 2, 1)]))),
        "refused-many-errors": log(*first, (CHUNK, log_chunk(1, [], b"", refused=[
            (i, 1, 9) for i in range(300)]))),
        "refusal-unknown": log(*first, (CHUNK, log_chunk(1, [], b"", refused=[(1, 9999, 1)]))),
        "expires-past": log(*first, (CHUNK, log_chunk(1, range(5), rows(5),
                                                      expires=[0, 5, 5, 9, late]))),
        "expire": log(*first, (CHUNK, log_chunk(1, range(5), rows(5), expires=[0, 5, 5, 9, late])),
                      (EXPIRE, struct.pack("<Q", 6)), (EXPIRE, struct.pack("<Q", 4)),
                      (EXPIRE, struct.pack("<Q", 2**32 - 1))),
        "expire-keys": log(*first, (CHUNK, log_chunk(1, keys, rows(4), expires=[3, 4, 5, 6])),
                           (EXPIRE, struct.pack("<Q", 4)), (CHECKPOINT, b""), (CHECKPOINT, b"")),
        "expire-many": log(*first, (CHUNK, log_chunk(1, range(100), rows(100), expires=[
            (i * 37) % 101 + 1 for i in range(100)])), *[(EXPIRE, struct.pack("<Q", at))
                                                          for at in (10, 20, 60, 200)]),
        "expire-renewed": log(*first, (CHUNK, log_chunk(1, [1, 2], rows(2), expires=[5, 5])),
                              (CLOSE, b""),
                              (CHUNK, log_chunk(2, [1], rows(1), mode=2, expires=[90])),
                              (EXPIRE, struct.pack("<Q", 6))),
        "expire-sessions": log(*first, some, (EXPIRE, struct.pack("<Q", 10**6)),
                               (CHUNK, log_chunk(2, [50], rows(1)))),
        "expire-short": log(*first, (EXPIRE, b"1234")),
        "expire-huge": log(*first, (EXPIRE, b"\xff" * 8)),
        "checkpoint": log(*first, some, (CHECKPOINT, b"")),
        "checkpoint-first": log((SETTINGS, settings()), (CHECKPOINT, b""), (CHECKPOINT, b"")),
        "checkpoint-payload": log(*first, (CHECKPOINT, b"12345678")),
        "churn": log(*churn(6)),
        "churn-large-epochs": log(*churn(6, epoch_points=8192)),
        "churn-long": log(*churn(12, epoch_points=3)),
        "sessionless": log((SETTINGS, settings()), (CHUNK, log_chunk(
            1, range(4), rows(4), generation=0, mode=2, session=NONE)), (CHUNK, log_chunk(
                1, range(4), rows(4), generation=0, mode=2, session=NONE))),
        "settings-change": log(*first, some, (SETTINGS, struct.pack("<4I", 1, 2, 2, 8192))),
        "settings-target": log(*first, some, (SETTINGS, struct.pack("<2I", 4, 990000)), some),
        "settings-target-range": log(*first, (SETTINGS, struct.pack("<2I", 4, 999001))),
        "settings-calibration": log(*first, some, (SETTINGS, calibration()), (CLOSE, b""), some,
                                    (SETTINGS, calibration(ef=8192)), (CHECKPOINT, b"")),
        "settings-calibration-of-none": log(*first, (SETTINGS, calibration(ef=8193))),
        "settings-calibration-half": log(*first, (SETTINGS, calibration()[:40])),
        "settings-change-back": log(*first, (SETTINGS, struct.pack("<2I", 1, 1))),
        "settings-change-newer": log(*first, (SETTINGS, struct.pack("<2I", 1, 3))),
        "settings-change-unknown": log(*first, (SETTINGS, struct.pack("<2I", 9, 3))),
        "settings-change-odd": log(*first, (SETTINGS, b"1234")),
        "settings-change-range": log(*first, (SETTINGS, struct.pack("<2I", 2, 5))),
        "open-errors-seen": log((SETTINGS, settings()), (OPEN, b"S" * 16 + struct.pack("<Q", 9)),
                                (OPEN, b"S" * 16 + struct.pack("<Q", 1))),
        "open-taken": log(*first, some, (OPEN, OPENING), (CHUNK, log_chunk(2, [90], rows(1)))),
        "mode-9": log(*first, (CHUNK, log_chunk(1, [1], rows(1), mode=9))),
        "flags-9": log(*first, (CHUNK, log_chunk(1, [1], rows(1), flags=9))),
        "flag-keys-alone": log(*first, (CHUNK, log_chunk(1, [1], rows(1), flags=1))),
        "flag-expires-alone": log(*first, (CHUNK, log_chunk(1, [1], rows(1), flags=2))),
        "key-too-long": log(*first, (CHUNK, log_chunk(1, [b"k" * 65], rows(1)))),
        "key-none-of-point": log(*first, (CHUNK, log_chunk(1, [None, b"k"], rows(2)))),
        "counts-huge": log(*first, (CHUNK, log_chunk(1, [1], rows(1),
                                                     counts=(2**32 - 1, 65535, 65535)))),
        "counts-other": log(*first, (CHUNK, log_chunk(1, [1, 2], rows(2), counts=(1, 1, 0)))),
    }


def version_1_seeds():
    """Logs of format 1 and of algorithm version 1, which must be read for ever."""
    old = {"algorithm": 1, "version": 1}
    made = (SETTINGS, settings(algorithm=1))
    opened = (OPEN, b"S" * 16)
    own = record(1, 0, algorithm=0, version=1)
    chunk = (CHUNK, log_chunk(1, range(20), rows(20)))
    whole = own + log(made, opened, chunk, (CLOSE, b""), own=False, **old)
    return {
        "v1": whole,
        "v1-torn": whole[:-5],
        "v1-tail-open": own + log(made, opened, chunk, own=False, **old),
        "v1-settings": own + log(made, own=False, **old),
        "v1-goes-on": whole + record(5, SETTINGS, struct.pack("<2I", 1, 2), algorithm=1)
                      + record(6, OPEN, OPENING)
                      + record(7, CHUNK, log_chunk(2, range(4), rows(4), mode=2, generation=6)),
        "v1-upsert": own + log(made, opened, (CHUNK, log_chunk(1, [1], rows(1), mode=2)),
                               own=False, **old),
        "v1-keys": own + log(made, opened, (CHUNK, log_chunk(1, [b"k"], rows(1))), own=False,
                             **old),
        "v1-expire": own + log(made, (EXPIRE, bytes(8)), own=False, **old),
        "v1-checkpoint": own + log(made, (CHECKPOINT, b""), own=False, **old),
        "v1-settings-of-2": own + log((SETTINGS, settings()), own=False, **old),
        "v1-unsynced": own + log(made, own=False, **old)
                       + record(2, OPEN, b"S" * 16, algorithm=1, version=1, unsynced=1),
        "algorithm-1-in-2": log((SETTINGS, settings())) + record(2, OPEN, OPENING, algorithm=1),
    }


def mark_seeds(first, chunk):
    """Groups, and the marks that syncs leave: which flaws are torn tails."""
    mark = record(2, 0, algorithm=0)
    group = record(3, CHUNK, chunk) + record(4, CLOSE, unsynced=1) + record(5, CLOSE, unsynced=2)
    bad = bytearray(group)
    bad[100] ^= 1
    return {
        "mark": first + mark,
        "mark-then-record": first + mark + record(3, CLOSE),
        "mark-of-old": first + record(1, 0, algorithm=0),
        "mark-behind-flaw": first + bytes(24) + record(3, 0, algorithm=0),
        "mark-later": first + bytes(bad) + record(5, 0, algorithm=0),
        "group": first + group,
        "group-torn-inside": first + bytes(bad),
        "group-synced-inside": first + bytes(bad) + record(6, CLOSE),
        "group-torn-first": first + bytes(24) + group[24:],
        "unsynced-too-many": first + record(3, CLOSE, unsynced=3),
        "note": record(9, 0, algorithm=0),
        "note-of-1": record(1, 0, algorithm=0, version=1),
        "note-newer": record(9, 0, algorithm=0, version=3),
        "note-0": record(0, 0, algorithm=0),
        "note-of-a-record": record(9, OPEN, b"12345678"),
        "note-long": record(9, 0, algorithm=0) + bytes(8),
    }


def record_seeds():
    own = record(1, 0, algorithm=0)
    first = own + record(1, SETTINGS, settings())
    opened = first + record(2, OPEN, OPENING)
    chunks = opened + record(3, CHUNK, log_chunk(1, range(5), rows(5)))
    closed = chunks + record(4, CLOSE)
    longer = closed + record(5, CHUNK, log_chunk(2, range(5, 20), rows(15)))
    nan = floats(math.nan, 1, 2, 3)
    flipped = bytearray(longer)
    flipped[len(chunks) - 3] ^= 1
    return {
        "empty": b"",
        "own-record": own,
        "settings": first,
        "opened": opened,
        "chunk": chunks,
        "closed": closed,
        "longer": longer,
        "torn-payload": longer[:-9],
        "torn-header": longer[:len(closed) + 11],
        "torn-own-record": own[:20],
        "damaged": bytes(flipped),
        "zeros-behind": closed + bytes(64),
        "gap": first + record(3, OPEN, OPENING),
        "newer-format": first + record(2, OPEN, OPENING, version=3),
        "newer-algorithm": first + record(2, OPEN, OPENING, algorithm=65535),
        "algorithm-4-in-2": first + record(2, OPEN, OPENING, algorithm=4),
        "goes-on-to-4": first + record(2, SETTINGS, struct.pack("<2I", 1, 4))
                        + record(3, OPEN, OPENING, algorithm=4),
        "format-0": first + record(2, OPEN, OPENING, version=0),
        "type-unknown": first + record(2, 99),
        "own-record-long": record(1, 0, b"payload!"),
        "no-own-record": record(1, SETTINGS, settings()),
        "length-huge": first + struct.pack("<IIQBBHI", 2**32 - 1, 0, 2, 2, 2, 2, 0),
        "settings-late": own + record(1, OPEN, OPENING),
        "settings-short": own + record(1, SETTINGS, settings()[:40]),
        "settings-dim-huge": own + record(1, SETTINGS, settings(dim=2**31)),
        "settings-dim-4096": own + record(1, SETTINGS, settings(dim=4096)),
        "settings-metric-9": own + record(1, SETTINGS, settings(metric=9)),
        "settings-name-bad": own + record(1, SETTINGS, settings(name=b"a/b")),
        "settings-name-empty": own + record(1, SETTINGS, settings(name=b"")),
        "settings-checkpoint-1": own + record(1, SETTINGS, settings(checkpoint=1)),
        "settings-defaults": own + record(1, SETTINGS, settings(epoch_points=0, checkpoint=0)),
        "settings-target-first": own + record(1, SETTINGS, settings()
                                              + struct.pack("<2I", 4, 990000)),
        "settings-halves": own + record(1, SETTINGS, settings() + struct.pack("<2I", 5, 2))
                           + record(2, OPEN, OPENING)
                           + record(3, CHUNK, log_chunk(1, range(5), rows(5))),
        "settings-halves-that-no-half-holds": own
                           + record(1, SETTINGS, settings() + struct.pack("<2I", 5, 2))
                           + record(2, OPEN, OPENING)
                           + record(3, CHUNK, log_chunk(1, [1], floats(1e9, 1, 1, 1))),
        "settings-originals-9": own + record(1, SETTINGS, settings() + struct.pack("<2I", 5, 9)),
        "settings-first-newer": own + record(1, SETTINGS, settings() + struct.pack("<2I", 9, 1)),
        "open-short": first + record(2, OPEN, b"short"),
        "chunk-nan": opened + record(3, CHUNK, log_chunk(1, [1], nan)),
        "chunk-zero-under-cosine": own + record(1, SETTINGS, settings(metric=2))
                                   + record(2, OPEN, OPENING)
                                   + record(3, CHUNK, log_chunk(1, [1], bytes(16))),
        "chunk-ids-twice": opened + record(3, CHUNK, log_chunk(1, [1, 1, 2], rows(3))),
        "chunk-same-vectors": opened + record(3, CHUNK, log_chunk(1, range(3), rows(1) * 3)),
        "chunk-other-generation": opened + record(3, CHUNK, log_chunk(1, [1], rows(1),
                                                                      generation=9)),
        "chunk-seq-gap": opened + record(3, CHUNK, log_chunk(5, [1], rows(1))),
        "chunk-without-session": first + record(2, CHUNK, log_chunk(1, [1], rows(1))),
        "chunk-other-dim": opened + record(3, CHUNK, log_chunk(1, [1], rows(1), dim=5)),
        "chunk-cut": opened + record(3, CHUNK, log_chunk(1, range(5), rows(5))[:-4]),
        "chunk-header-only": opened + record(3, CHUNK, b"S" * 20),
        "chunk-empty": opened + record(3, CHUNK, log_chunk(1, [], b"")),
        "inner-product": own + record(1, SETTINGS, settings(metric=3)) + record(2, OPEN, OPENING)
                         + record(3, CHUNK, log_chunk(1, range(40), rows(40))),
        **mark_seeds(opened, log_chunk(1, range(5), rows(5))),
        **version_1_seeds(),
        **churn_seeds(),
    }


def main():
    vector, collection, snapshot = load_messages()
    targets = {"insert": insert_seeds(vector), "search": search_seeds(vector),
               "write": write_seeds(vector),
               "collection": collection_seeds(collection) | snapshot_seeds(snapshot),
               "json": json_seeds(),
               "config": config_seeds(), "record": record_seeds()}
    for target, seeds in targets.items():
        folder = CORPUS / target
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            if not path.name.startswith("found-"):
                path.unlink()
        for name, content in seeds.items():
            (folder / name).write_bytes(content)
        print(f"{target}: {len(seeds)} seeds, {sum(map(len, seeds.values()))} bytes")


if __name__ == "__main__":
    main()

"""Records into tests/golden/requests-v1 what is not there yet: see recorded.py. New calls are added
at the end of calls(); what is recorded stays as it is, since old clients send it for ever.

    OMENDB_SERVER_BINARY=build/release/service/omendb-server python tests/service/record_requests.py
"""
import pathlib
import sys
import tempfile
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import conftest  # noqa: E402,F401  (generates the stubs)
from calls import (Api, as_id, chunk_message, columns, f32, flush_message,  # noqa: E402
                   open_message, point)
from omendb.v1 import collection_pb2 as c  # noqa: E402
from omendb.v1 import snapshot_pb2 as s  # noqa: E402
from omendb.v1 import vector_pb2 as v  # noqa: E402
from recorded import FOLDER, ask, save  # noqa: E402
from running_server import RunningServer  # noqa: E402

NAME = "recorded"
SESSION = bytes(range(1, 17))
VECTOR = "/omendb.v1.VectorService/"
COLLECTION = "/omendb.v1.CollectionService/"
SNAPSHOT = "/omendb.v1.SnapshotService/"


def query(*values, **options):
    return v.Query(vector=v.Vector(f32_le=f32(*values)),
                   options=v.SearchOptions(**options) if options else None)


def floats(num, *values):
    return v.Point(id=as_id(num), vector=v.Vector(floats=v.FloatVector(values=values)))


def calls():
    """(path, messages), in order."""
    config = c.CollectionConfig(dim=2, metric=c.METRIC_L2, links=8, candidates=32, probes=4,
                                epoch_points=100, checkpoint_bytes=1 << 20)
    yield COLLECTION + "CreateCollection", [c.CreateCollectionRequest(name=NAME, config=config)]
    yield COLLECTION + "CreateCollection", [c.CreateCollectionRequest(name=NAME, config=config)]
    yield VECTOR + "Upsert", [v.UpsertRequest(
        collection=NAME, points=[point(1, 1, 1), floats(b"key", 2, 2), point(3, 3, 3, ttl_s=4000),
                                 point(4, 1, 2, 3), v.Point(vector=v.Vector(f32_le=f32(1, 1)))],
        columns=columns(2, [5, 300], f32(5, 5, 6, 6)), wait_for=v.WAIT_FOR_SEARCHABLE)]
    yield VECTOR + "Upsert", [v.UpsertRequest(collection=NAME, mode=v.WRITE_MODE_INSERT_ONLY,
                                              points=[point(1, 9, 9), point(7, 7, 7)])]
    yield VECTOR + "Upsert", [v.UpsertRequest(collection=NAME, mode=v.WRITE_MODE_UPDATE_ONLY,
                                              points=[point(7, 8, 8), point(b"nobody", 7, 7)])]
    yield VECTOR + "Upsert", [v.UpsertRequest(collection=NAME)]
    yield VECTOR + "Insert", [
        open_message(NAME, SESSION, mode=v.WRITE_MODE_UPSERT, client_name="recorder"),
        chunk_message(1, [point(10, 10, 1), point(11, 11, 1), point(b"bad", 1)],
                      columns(2, [20, 21], f32(20, 1, 21, 1))),
        flush_message(), chunk_message(2, [point(10, 10, 2)], deletes=[11, b"nobody", b""])]
    yield VECTOR + "Insert", [open_message(NAME, SESSION, mode=v.WRITE_MODE_INSERT_ONLY,
                                           errors_seen_seq=1),
                              chunk_message(3, [point(10, 10, 3), point(12, 12, 1, ttl_s=4000)])]
    yield VECTOR + "Insert", [open_message(NAME, bytes(reversed(SESSION)),
                                           incarnation=bytes(range(16)))]
    yield VECTOR + "Insert", [open_message(NAME), chunk_message(3, [point(1, 1, 1)])]
    yield VECTOR + "Delete", [v.DeleteRequest(collection=NAME, ids=[as_id(20), as_id(b"nobody"),
                                                                    v.PointId()],
                                              wait_for=v.WAIT_FOR_DURABLE)]
    yield VECTOR + "Search", [v.SearchRequest(
        collection=NAME, options=v.SearchOptions(k=3, ef=50),
        queries=[query(1, 1), query(1, 1, k=1, exact=True), query(1, 2, 3), query(1, 1, k=10001),
                 query(2, 2)], columns=v.QueryColumns(dim=2, vectors_f32_le=f32(5, 5, 21, 1)))]
    yield VECTOR + "Search", [v.SearchRequest(
        collection=NAME, queries=[query(2, 2)], layout=v.RESULT_LAYOUT_COLUMNS)]
    yield VECTOR + "Search", [v.SearchRequest(collection=NAME, queries=[query(2, 2)],
                                              min_read=v.ReadToken(incarnation=bytes(16)))]
    yield VECTOR + "Search", [v.SearchRequest(collection=NAME, queries=[query(2, 2)],
                                              min_read=v.ReadToken(incarnation=b"short"))]
    yield VECTOR + "Get", [v.GetRequest(collection=NAME, ids=[
        as_id(1), as_id(b"key"), as_id(3), as_id(7), as_id(10), as_id(11), as_id(20)])]
    yield VECTOR + "Get", [v.GetRequest(collection=NAME, without_vectors=True, ids=[as_id(12)])]
    yield VECTOR + "Get", [v.GetRequest(collection=NAME, ids=[v.PointId()])]
    yield COLLECTION + "GetCollection", [c.GetCollectionRequest(name=NAME, with_graph_hash=True)]
    yield COLLECTION + "ListCollections", [c.ListCollectionsRequest()]
    yield COLLECTION + "ValidateCollection", [c.ValidateCollectionRequest(name=NAME)]
    yield COLLECTION + "DeleteCollection", [c.DeleteCollectionRequest(name=NAME)]
    yield COLLECTION + "GetCollection", [c.GetCollectionRequest(name=NAME)]
    yield COLLECTION + "CreateCollection", [c.CreateCollectionRequest(
        name="target", config=c.CollectionConfig(dim=2, metric=c.METRIC_L2, target_recall=0.9))]
    yield COLLECTION + "UpdateCollection", [c.UpdateCollectionRequest(
        name="target", target_recall=0.995, calibrate=True)]
    yield COLLECTION + "UpdateCollection", [c.UpdateCollectionRequest(name="target")]
    yield from snapshot_calls(config)
    # A refusal: what a point takes may change with every version.
    yield COLLECTION + "EstimateMemory", [c.EstimateMemoryRequest(config=config, points=2**40)]


def snapshot_calls(config):
    yield COLLECTION + "CreateCollection", [c.CreateCollectionRequest(name=NAME, config=config)]
    yield VECTOR + "Upsert", [v.UpsertRequest(
        collection=NAME, points=[point(1, 1, 1), point(b"key", 2, 2), point(3, 3, 3)])]
    yield SNAPSHOT + "CreateSnapshot", [s.CreateSnapshotRequest(collection=NAME, name="daily")]
    yield SNAPSHOT + "CreateSnapshot", [s.CreateSnapshotRequest(collection=NAME, name="daily")]
    yield SNAPSHOT + "CreateSnapshot", [s.CreateSnapshotRequest(collection="nobody", name="other")]
    yield SNAPSHOT + "ListSnapshots", [s.ListSnapshotsRequest()]
    yield SNAPSHOT + "VerifySnapshot", [s.VerifySnapshotRequest(name="daily")]
    yield SNAPSHOT + "DownloadSnapshot", [s.DownloadSnapshotRequest(name="daily")]
    yield SNAPSHOT + "DownloadSnapshot", [s.DownloadSnapshotRequest(name="daily", offset=1)]
    yield SNAPSHOT + "RestoreSnapshot", [s.RestoreSnapshotRequest(
        begin=s.RestoreBegin(collection="again", snapshot="daily"))]
    yield SNAPSHOT + "RestoreSnapshot", [
        s.RestoreSnapshotRequest(begin=s.RestoreBegin(collection="bytes")),
        s.RestoreSnapshotRequest(chunk=s.SnapshotChunk(data=b"none", crc32=zlib.crc32(b"none")))]
    yield VECTOR + "Get", [v.GetRequest(collection="again", ids=[as_id(1), as_id(b"key")])]
    yield SNAPSHOT + "DeleteSnapshot", [s.DeleteSnapshotRequest(name="daily")]
    yield SNAPSHOT + "VerifySnapshot", [s.VerifySnapshotRequest(name="daily")]


def main():
    with tempfile.TemporaryDirectory() as folder, RunningServer(pathlib.Path(folder)) as server:
        with Api(server.target) as api:
            for number, (path, messages) in enumerate(calls(), start=1):
                name = f"{number:02}-{path.rsplit('/', 1)[1]}"
                raw = [message.SerializeToString() for message in messages]
                outcome = ask(api.channel, path, raw)  # also an old one: later ones build on it
                if not (FOLDER / f"{name}.bin").exists():
                    save(name, path, messages, outcome)


if __name__ == "__main__":
    main()

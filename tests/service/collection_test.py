"""CollectionService: create, get, list, delete."""
import grpc
import pytest
from calls import TIMEOUT_S, open_message, refusal_of
from omendb.v1 import collection_pb2 as c


def create(api, name, **config):
    return api.collections.CreateCollection(
        c.CreateCollectionRequest(name=name, config=c.CollectionConfig(**config)),
        timeout=TIMEOUT_S).collection


def get(api, name, **fields):
    return api.collections.GetCollection(c.GetCollectionRequest(name=name, **fields),
                                         timeout=TIMEOUT_S).collection


def delete(api, name):
    return api.collections.DeleteCollection(c.DeleteCollectionRequest(name=name),
                                            timeout=TIMEOUT_S)


def test_a_created_collection_shows_its_settings_and_their_defaults(api):
    made = create(api, "settings", dim=384, metric=c.METRIC_COSINE)
    assert (made.name, made.config.dim, made.config.metric) == ("settings", 384, c.METRIC_COSINE)
    assert (made.config.links, made.config.candidates, made.config.probes) == (16, 32, 28)
    assert made.config.epoch_points == 8192
    assert len(made.incarnation) == 16
    assert get(api, "settings").config == made.config


def test_a_collection_names_the_kernels_that_serve_it(api):
    name = api.create(dim=384)
    assert any("dot" in kernel for kernel in get(api, name).kernels)


def test_the_graph_hash_is_there_only_when_asked_for(api):
    name = api.create()
    api.fill(name, {1: (1, 0), 2: (0, 1)})
    assert get(api, name).graph_hash == ""
    first = get(api, name, with_graph_hash=True).graph_hash
    assert int(first, 16) >= 0 and len(first) == 16
    assert get(api, name, with_graph_hash=True).graph_hash == first


def test_points_are_counted_when_they_are_searchable(api):
    name = api.create()
    api.fill(name, {1: (1, 0), 2: (0, 1), 3: (1, 1)})
    info = get(api, name)
    assert info.points == 3
    assert info.searchable_position >= 1 and info.log_position >= info.searchable_position
    assert info.log_bytes > 0


def test_collections_are_listed_by_name(api):
    for name in ("list-b", "list-a", "list-c"):
        api.create(name=name)
    listed = [item.name for item in
              api.collections.ListCollections(c.ListCollectionsRequest(),
                                              timeout=TIMEOUT_S).collections]
    assert listed == sorted(listed)
    assert {"list-a", "list-b", "list-c"} <= set(listed)


def test_a_deleted_collection_is_gone_and_its_name_is_free(api):
    name = api.create()
    before = get(api, name).incarnation
    delete(api, name)
    refusal = refusal_of(lambda: get(api, name))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "COLLECTION_NOT_FOUND")
    api.create(name=name)
    assert get(api, name).incarnation != before


def test_deleting_ends_the_streams_into_it(api):
    name = api.create()
    stream = api.insert(open_message(name))
    stream.read_opened()
    delete(api, name)
    refusal = stream.refusal()
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "COLLECTION_NOT_FOUND")


def test_a_taken_name_is_refused(api):
    name = api.create()
    refusal = refusal_of(lambda: create(api, name, dim=3, metric=c.METRIC_L2))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ALREADY_EXISTS, "COLLECTION_EXISTS")
    assert name in refusal.sentence


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "ä", "a/b", ".."])
def test_a_bad_name_is_refused(api, name):
    refusal = refusal_of(lambda: create(api, name, dim=3, metric=c.METRIC_L2))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "BAD_NAME")
    assert refusal.domain == "omendb"
    assert "64" in refusal.sentence or "A-Z a-z 0-9" in refusal.sentence


@pytest.mark.parametrize("field, value", [
    ("dim", 0), ("dim", 4097), ("links", 3), ("links", 17), ("candidates", 15),
    ("candidates", 257), ("probes", 65), ("epoch_points", 8193)])
def test_a_setting_out_of_range_is_refused_with_its_name_value_and_limit(api, field, value):
    config = {"dim": 4, "metric": c.METRIC_L2, field: value}
    refusal = refusal_of(lambda: create(api, "never", **config))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "BAD_LIMIT")
    assert field in refusal.sentence and str(value) in refusal.sentence


@pytest.mark.parametrize("metric", [0, 9])
def test_a_metric_must_be_chosen(api, metric):
    refusal = refusal_of(lambda: create(api, "never", dim=3, metric=metric))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "BAD_METRIC")
    assert refusal.field == "config.metric"


def update(api, name, **fields):
    return api.collections.UpdateCollection(c.UpdateCollectionRequest(name=name, **fields),
                                            timeout=TIMEOUT_S).collection


def test_a_target_recall_is_shown_and_can_be_changed(api):
    name = api.create()
    assert get(api, name).config.target_recall == 0.97
    assert update(api, name, target_recall=0.995).config.target_recall == 0.995
    assert get(api, name).config.target_recall == 0.995
    made = create(api, f"{name}-own", dim=2, metric=c.METRIC_L2, target_recall=0.9)
    assert made.config.target_recall == 0.9
    assert made.calibration.ef == 0  # it is searched exactly until it is larger
    assert update(api, name, calibrate=True).calibration.ef == 0
    delete(api, made.name)  # a server has 256 at most, and the others' tests want theirs
    delete(api, name)


@pytest.mark.parametrize("target", [0.49, 0.9991, 1, 2, -1, float("nan"), float("inf")])
def test_a_target_recall_out_of_range_is_refused_with_its_value_and_limits(api, target):
    created = refusal_of(lambda: create(api, "never", dim=3, metric=c.METRIC_L2,
                                        target_recall=target))
    updated = refusal_of(lambda: update(api, "nobody", target_recall=target))
    for refusal, field in (created, "config.target_recall"), (updated, "target_recall"):
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "BAD_LIMIT")
        assert refusal.field == field
        assert refusal.sentence == f"{field} is {target:g}; it is 0.5 to 0.999"


def test_an_update_of_nothing_or_of_nobody_is_refused(api):
    nothing = refusal_of(lambda: update(api, "nobody"))
    assert (nothing.code, nothing.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "BAD_MESSAGE")
    nobody = refusal_of(lambda: update(api, "nobody", calibrate=True))
    assert (nobody.code, nobody.reason) == (grpc.StatusCode.NOT_FOUND, "COLLECTION_NOT_FOUND")


def test_a_request_without_settings_is_refused(api):
    refusal = refusal_of(lambda: api.collections.CreateCollection(
        c.CreateCollectionRequest(name="never"), timeout=TIMEOUT_S))
    assert (refusal.code, refusal.field) == (grpc.StatusCode.INVALID_ARGUMENT, "config")


def test_an_unknown_method_is_unimplemented(api):
    call = api.channel.unary_unary("/omendb.v1.CollectionService/RenameCollection")
    refusal = refusal_of(lambda: call(b"", timeout=TIMEOUT_S))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNIMPLEMENTED, "UNKNOWN_METHOD")
    assert "RenameCollection" in refusal.sentence

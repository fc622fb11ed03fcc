"""grpc.health.v1, asked with its own stubs."""
import grpc
import pytest
from calls import TIMEOUT_S, refusal_of
from grpc_health.v1 import health_pb2, health_pb2_grpc

SERVING = health_pb2.HealthCheckResponse.SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


@pytest.fixture
def health(api):
    return health_pb2_grpc.HealthStub(api.channel)


def request(service):
    return health_pb2.HealthCheckRequest(service=service)


@pytest.mark.parametrize("service", [
    "", "omendb.v1.VectorService", "omendb.v1.CollectionService", "omendb.v1.VectorService/read",
    "omendb.v1.VectorService/write", "omendb.v1.SnapshotService", "liveness"])
def test_known_names_are_serving(health, service):
    assert health.Check(request(service), timeout=TIMEOUT_S).status == SERVING


def test_an_unknown_name_is_not_found_by_check(health):
    refusal = refusal_of(lambda: health.Check(request("nobody"), timeout=TIMEOUT_S))
    assert refusal.code == grpc.StatusCode.NOT_FOUND
    assert refusal.domain == "omendb" and "nobody" in refusal.sentence


def test_an_unknown_name_is_told_by_watch(health):
    watch = health.Watch(request("nobody"), timeout=TIMEOUT_S)
    assert next(watch).status == SERVICE_UNKNOWN
    watch.cancel()


def test_many_watches_can_come_and_go(health):
    for _ in range(50):
        watches = [health.Watch(request(""), timeout=TIMEOUT_S) for _ in range(5)]
        assert next(watches[0]).status == SERVING
        for watch in watches:
            watch.cancel()
    assert health.Check(request(""), timeout=TIMEOUT_S).status == SERVING

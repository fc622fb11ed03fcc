"""Server reflection, asked with its own stubs."""
import pytest
from calls import TIMEOUT_S
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from omendb.v1 import collection_pb2, snapshot_pb2, vector_pb2

SERVICES = {"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection", "omendb.v1.CollectionService",
            "omendb.v1.SnapshotService", "omendb.v1.VectorService"}


def ask(api, version="v1alpha", **fields):
    """v1 and v1alpha differ in the path alone."""
    call = api.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString)
    request = reflection_pb2.ServerReflectionRequest(host="here", **fields)
    responses = list(call(iter([request]), timeout=TIMEOUT_S))
    assert len(responses) == 1 and responses[0].original_request == request
    return responses[0]


def files(response):
    return [descriptor_pb2.FileDescriptorProto.FromString(data)
            for data in response.file_descriptor_response.file_descriptor_proto]


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_every_service_is_listed(api, version):
    listed = ask(api, version, list_services="").list_services_response.service
    assert {service.name for service in listed} == SERVICES


@pytest.mark.parametrize("symbol", [
    "omendb.v1.VectorService", "omendb.v1.VectorService.Insert", "omendb.v1.Chunk",
    "omendb.v1.Chunk.points", "omendb.v1.PointId.kind", "omendb.v1.WriteMode",
    "omendb.v1.WRITE_MODE_UPSERT", ".omendb.v1.Ack"])
def test_any_symbol_leads_to_its_file(api, symbol):
    found = files(ask(api, file_containing_symbol=symbol))
    assert found[0].name == "omendb/v1/vector.proto"


@pytest.mark.parametrize("module, name", [
    (vector_pb2, "vector"), (collection_pb2, "collection"), (snapshot_pb2, "snapshot")])
def test_a_file_is_what_the_repository_says(api, module, name):
    found = files(ask(api, file_by_filename=f"omendb/v1/{name}.proto"))
    expected = descriptor_pb2.FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(expected)
    served = found[0]
    for proto in (served, expected):
        for message in proto.message_type:
            for field in message.field:
                field.ClearField("json_name")
    assert served == expected


def test_a_file_comes_with_everything_that_it_imports(api):
    """Enough to build the types in a pool that knows nothing."""
    found = files(ask(api, file_containing_symbol="google.rpc.Status"))
    assert [file.name for file in found] == ["google/rpc/status.proto",
                                             "google/protobuf/any.proto"]
    pool = descriptor_pool.DescriptorPool()
    for file in reversed(found):
        pool.Add(file)
    status = pool.FindMessageTypeByName("google.rpc.Status")
    assert status.fields_by_name["details"].message_type.full_name == "google.protobuf.Any"


@pytest.mark.parametrize("fields", [
    {"file_containing_symbol": "omendb.v1.Nothing"}, {"file_by_filename": "nothing.proto"},
    {"all_extension_numbers_of_type": "omendb.v1.Nothing"},
    {"file_containing_extension": reflection_pb2.ExtensionRequest(
        containing_type="omendb.v1.Chunk", extension_number=1)}])
def test_what_is_not_there_is_an_error_in_the_answer(api, fields):
    error = ask(api, **fields).error_response
    assert error.error_code == 5 and error.error_message


def test_no_type_has_extensions(api):
    answer = ask(api, all_extension_numbers_of_type="omendb.v1.Chunk")
    assert answer.all_extension_numbers_response.base_type_name == "omendb.v1.Chunk"
    assert not answer.all_extension_numbers_response.extension_number


def test_many_questions_on_one_stream_are_answered_in_order(api):
    stub = reflection_pb2_grpc.ServerReflectionStub(api.channel)
    symbols = ["omendb.v1.Chunk", "nothing", "omendb.v1.Collection"] * 20
    requests = (reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol)
                for symbol in symbols)
    answers = list(stub.ServerReflectionInfo(requests, timeout=TIMEOUT_S))
    assert [answer.original_request.file_containing_symbol for answer in answers] == symbols
    assert [answer.HasField("error_response") for answer in answers] == [
        symbol == "nothing" for symbol in symbols]

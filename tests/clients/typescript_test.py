"""The TypeScript program of clients/typescript: generated, built and run against a real server."""
import pytest
import stub_program

PROTO = str(stub_program.REPOSITORY / "proto")


@pytest.fixture(scope="module")
def program(tmp_path_factory, words):
    folder = tmp_path_factory.mktemp("typescript")
    built = stub_program.build("typescript", folder, [["npm", "ci"], ["./generate", PROTO],
                                                      ["npm", "run", "build"]])
    return stub_program.StubProgram(["node", str(built / "dist" / "main.js")], folder, words)


def test_the_typescript_program_finds_what_the_python_client_finds(program, shared_server,
                                                                   collection):
    stub_program.check_it_finds_what_the_python_client_finds(program, shared_server, collection)


@pytest.mark.parametrize("goes", ["kill", "stop"])
def test_a_server_that_goes_costs_the_typescript_program_nothing(program, server, collection, goes):
    stub_program.check_a_server_that_goes_costs_nothing(program, server, collection, goes)


def test_the_typescript_program_is_told_of_each_row_that_exists(program, shared_server,
                                                                collection):
    stub_program.check_rows_that_exist_are_refused_one_by_one(program, shared_server, collection)


def test_drains_and_cuts_cost_the_typescript_program_nothing(program, scripted, collection):
    stub_program.check_drains_and_cuts_cost_nothing(program, scripted, collection)


def test_the_typescript_program_writes_keys_in_any_mode(program, shared_server, collection):
    stub_program.check_keys_and_modes(program, shared_server, collection)


def test_the_typescript_program_writes_deletes_and_gets_single_points(program, shared_server,
                                                               collection):
    stub_program.check_single_points(program, shared_server, collection)

"""Flags, environment and file."""
import re

import os

import pytest
from running_server import run


def settings(*flags, env=None, **ignored):
    """--print-config as {key: (value, origin)}."""
    result = run("--print-config", *flags, env=env)
    assert result.returncode == 0, result.stderr
    found = {}
    for line in result.stdout.splitlines():
        match = re.fullmatch(r'(\w+): "?(.*?)"?  # (.*)', line)
        if match:
            found[match[1]] = (match[2], match[3])
    return found


@pytest.fixture
def config_file(tmp_path):
    def write(text):
        path = tmp_path / "omen.yaml"
        path.write_text(text)
        return str(path)
    return write


def test_defaults(tmp_path):
    found = settings()
    assert found["grpc_port"] == ("7420", "default")
    assert found["grpc_host"] == ("127.0.0.1", "default")
    assert found["drain_seconds"] == ("10", "default")
    assert found["http_port"] == ("7421", "default")
    assert found["http_host"] == ("127.0.0.1", "default")
    assert found["checkpoint_seconds"] == ("3", "default")
    assert found["memory_limit"] == ("80%", "default")
    assert found["disk_reserve_mib"] == ("256", "default")

ONE_CPU = str(min(os.sched_getaffinity(0)))


def test_a_flag_wins_over_the_environment_and_that_over_the_file(config_file):
    path = config_file("grpc_port: 1\nshards: 2\ndrain_seconds: 3\n")
    env = {"OMENDB_GRPC_PORT": "11", "OMENDB_SHARDS": "12"}
    found = settings("--config", path, "--grpc-port", "21", env=env)
    assert found["grpc_port"] == ("21", "--grpc-port")
    assert found["shards"] == ("12", "OMENDB_SHARDS")
    assert found["drain_seconds"] == ("3", f"{path}:3")


def test_every_flag_exists_in_the_environment_and_in_the_file(config_file):
    """Whatever --print-config prints can be given in all three ways, and printed again."""
    values = {"data_dir": "/x", "grpc_host": "::1", "grpc_port": "5", "ingest_threads": "2",
              "search_threads": "3", "ingest_cpus": ONE_CPU,
              "search_cpus": ONE_CPU, "shards": "4", "simd": "ref", "drain_seconds": "6",
              "calibrate_seconds": "0", "calibrate_percent": "11",
              "scrub_mib_per_second": "21",
              "max_connection_age_seconds": "7", "http_host": "::1", "http_port": "8",
              "max_connection_age_grace_seconds": "9", "max_connection_idle_seconds": "10",
              "keepalive_seconds": "11", "keepalive_timeout_seconds": "12",
              "client_ping_seconds_min": "13", "max_streams_per_connection": "14",
              "stream_max_age_seconds": "15", "heartbeat_seconds": "16",
              "search_seconds_max": "17", "ingest_memory_mib": "18", "request_memory_mib": "190",
              "memory_limit": "70%", "disk_reserve_mib": "21",
              "grpc_memory_mib": "200", "checkpoint_seconds": "off"}
    assert set(values) == set(settings())
    flags = [f"--{key.replace('_', '-')}={value}" for key, value in values.items()]
    env = {f"OMENDB_{key.upper()}": value for key, value in values.items()}
    path = config_file("".join(f"{key}: \"{value}\"\n" for key, value in values.items()))
    for found in (settings(*flags), settings(env=env), settings("--config", path),
                  settings(env={"OMENDB_CONFIG": path})):
        assert {key: value for key, (value, _) in found.items()} == values
    printed = run("--print-config", *flags).stdout
    assert settings("--config", config_file(printed))["grpc_host"][0] == "::1"


@pytest.mark.parametrize("value", ["-1", "65536", "abc", "", "1x", "99999999999999999999"])
def test_a_bad_number_names_setting_value_limit_and_origin(config_file, value):
    path = config_file(f'# a comment\ngrpc_port: "{value}"\n')
    for origin, result in (("--grpc-port", run("--grpc-port", value, "--data-dir", "/x")),
                           ("OMENDB_GRPC_PORT", run("--data-dir", "/x",
                                                    env={"OMENDB_GRPC_PORT": value})),
                           (f"{path}:2", run("--data-dir", "/x", "--config", path))):
        assert result.returncode == 2
        for part in ("grpc_port", value, "65535", origin):
            assert part in result.stderr


@pytest.mark.parametrize("value", ["x", "1-", "3-1", "0,", "0-1023", "1024", "0;1"])
@pytest.mark.parametrize("setting", ["ingest_cpus", "search_cpus"])
def test_cpus_that_cannot_be_had_are_refused_with_the_setting_and_the_list(setting, value):
    flag = "--" + setting.replace("_", "-")
    result = run("--data-dir", "/x", flag, value)
    assert result.returncode == 2
    for part in (setting, flag, f"'{value}'"):
        assert part in result.stderr


def test_the_http_port_can_be_off(config_file):
    for found in (settings("--http-port", "off"), settings(env={"OMENDB_HTTP_PORT": "off"}),
                  settings("--config", config_file("http_port: off\n"))):
        assert found["http_port"][0] == "off"
    result = run("--data-dir", "/x", "--http-port", "of")
    assert result.returncode == 2 and "65535 or off" in result.stderr
    assert run("--data-dir", "/x", "--grpc-port", "off").returncode == 2


def test_an_unknown_name_is_an_error_with_its_origin(config_file):
    result = run("--data-dir", "/x", "--grcp-port", "1")
    assert result.returncode == 2 and "--grcp-port" in result.stderr
    path = config_file("grpc_port: 1\ngrcp_port: 1\n")
    result = run("--data-dir", "/x", "--config", path)
    assert result.returncode == 2 and "grcp_port" in result.stderr
    assert f"{path}:2" in result.stderr


def test_an_unknown_tier_lists_the_known_ones():
    result = run("--data-dir", "/x", "--simd", "sse9")
    assert result.returncode == 2
    assert "sse9" in result.stderr and "avx2" in result.stderr


@pytest.mark.parametrize("text, line", [
    ("grpc_port: 1\ngrpc_port: 2\n", 2), ("grpc_port: [1]\n", 1), ("- a\n", 1),
    ("grpc_port: 1\n\tx: 2\n", 2), ("a: {b: c}\n", 1), ("just text\n", 1)])
def test_a_file_of_another_shape_is_an_error_with_its_line(config_file, text, line):
    path = config_file(text)
    result = run("--data-dir", "/x", "--config", path)
    assert result.returncode == 2 and f"{path}:{line}" in result.stderr


def test_an_empty_file_changes_nothing(config_file):
    assert settings("--config", config_file("# nothing\n")) == settings()


def test_a_missing_file_is_an_error():
    result = run("--data-dir", "/x", "--config", "/nowhere/omen.yaml")
    assert result.returncode == 2 and "/nowhere/omen.yaml" in result.stderr


def test_a_flag_without_its_value_is_an_error():
    result = run("--data-dir")
    assert result.returncode == 2 and "--data-dir" in result.stderr


def test_the_data_directory_must_be_said():
    result = run()
    assert result.returncode == 2
    assert "--data-dir" in result.stderr and "OMENDB_DATA_DIR" in result.stderr


def test_help_lists_every_setting_with_limits_and_default():
    result = run("--help")
    assert result.returncode == 0
    for key in settings():
        assert "--" + key.replace("_", "-") in result.stdout
    assert "0..65535" in result.stdout and "default 7420" in result.stdout


def test_version_is_one_line():
    result = run("--version")
    assert result.returncode == 0
    assert re.fullmatch(r"omendb-server \d+\.\d+\.\d+\n", result.stdout)

"""What deploy/ ships fits the server, itself, and Kubernetes' own schemas."""
import configparser
import os
import pathlib
import re
import shutil
import subprocess

import kubernetes_validate
import pytest
import yaml
from running_server import environment, run

DEPLOY = pathlib.Path(__file__).resolve().parents[2] / "deploy"
SCHEMAS = ["1.30", kubernetes_validate.latest_version()]
LONG_TIMEOUT_S = 1800


def manifests():
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            yield pytest.param(document, id=f"{document['kind']}-{document['metadata']['name']}")


def manifest(kind, name="omendb"):
    return next(parameter.values[0] for parameter in manifests()
                if parameter.id == f"{kind}-{name}")


def pod():
    return manifest("StatefulSet")["spec"]["template"]


def container():
    return pod()["spec"]["containers"][0]


def kubernetes_environment():
    """A resourceFieldRef stands for a number of CPUs."""
    return {item["name"]: item.get("value", "2") for item in container()["env"]}


def docker_environment():
    text = (DEPLOY / "Dockerfile").read_text()
    block = re.search(r"^ENV ((?:.*\\\n)*.*)", text, re.M).group(1)
    return dict(re.findall(r"(\w+)=(\S+)", block))


def unit():
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read(DEPLOY / "systemd" / "omendb-server.service")
    return parser["Service"]


def healthcheck(port, service=""):
    return subprocess.run([str(DEPLOY / "healthcheck"), service, "127.0.0.1", str(port)],
                          env=environment(), capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize("version", SCHEMAS)
@pytest.mark.parametrize("document", list(manifests()))
def test_a_manifest_is_what_kubernetes_accepts(document, version):
    kubernetes_validate.validate(document, version, strict=True)


def test_a_field_that_kubernetes_does_not_know_would_be_noticed():
    document = manifest("StatefulSet")
    document["spec"]["template"]["spec"]["enableServiceLink"] = False
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, SCHEMAS[0], strict=True)


@pytest.mark.parametrize("settings", [kubernetes_environment, docker_environment])
def test_the_server_takes_every_setting_that_is_shipped(settings):
    shipped = settings()
    assert shipped["OMENDB_GRPC_HOST"] == "0.0.0.0"
    result = run("--print-config", env=shipped)
    assert result.returncode == 0, result.stderr
    for name, value in shipped.items():
        assert re.search(rf'^{name[len("OMENDB_"):].lower()}: "?{re.escape(value)}"?  # {name}$',
                         result.stdout, re.M), f"{name} is no setting of the server"


def test_the_server_takes_the_flags_of_the_unit():
    program, *flags = unit()["ExecStart"].split()
    assert program == "/usr/bin/omendb-server"
    assert run("--print-config", *flags).returncode == 0


def test_a_port_that_service_links_would_inject_is_refused():
    """Why the pod says enableServiceLinks: false."""
    assert pod()["spec"]["enableServiceLinks"] is False
    refused = run("--print-config", env={"OMENDB_GRPC_PORT": "tcp://10.0.0.1:7420"})
    assert refused.returncode == 2 and "OMENDB_GRPC_PORT" in refused.stderr


def test_there_is_time_to_drain():
    drain = int(kubernetes_environment()["OMENDB_DRAIN_SECONDS"])
    pause = int(container()["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod()["spec"]["terminationGracePeriodSeconds"] >= pause + drain + 10
    drain = int(re.fullmatch(r"OMENDB_DRAIN_SECONDS=(\d+)", unit()["Environment"])[1])
    assert int(unit()["TimeoutStopSec"]) >= drain + 10


def test_everything_means_the_same_port_and_the_same_pods():
    port = int(kubernetes_environment()["OMENDB_GRPC_PORT"])
    assert port in [item["containerPort"] for item in container()["ports"]]
    names = {item["name"]: item["containerPort"] for item in container()["ports"]}
    for probe in ("startupProbe", "readinessProbe"):
        assert container()[probe]["grpc"]["port"] == port
    assert names[container()["livenessProbe"]["httpGet"]["port"]] == \
        int(kubernetes_environment()["OMENDB_HTTP_PORT"])
    labels = pod()["metadata"]["labels"].items()
    for name in ("omendb", "omendb-headless"):
        service = manifest("Service", name)["spec"]
        assert service["selector"].items() <= labels
        assert [names[item["targetPort"]] for item in service["ports"]
                if item["name"] == "grpc"] == [port]
    assert manifest("StatefulSet")["spec"]["serviceName"] == "omendb-headless"
    for kind, key in (("PodDisruptionBudget", "selector"), ("NetworkPolicy", "podSelector")):
        assert manifest(kind)["spec"][key]["matchLabels"].items() <= labels


def test_the_image_and_the_pod_agree_on_user_and_folder():
    uid = re.search(r"^uid=(\d+)", (DEPLOY / "build-image-steps").read_text(), re.M).group(1)
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    assert f"USER {uid}:{uid}" in dockerfile
    assert pod()["spec"]["securityContext"]["runAsUser"] == int(uid)
    folder = docker_environment()["OMENDB_DATA_DIR"]
    assert f"VOLUME {folder}" in dockerfile
    assert container()["volumeMounts"][0]["mountPath"] == folder
    version = run("--version").stdout.split()[1]
    assert container()["image"] == f"omendb-server:{version}"


@pytest.mark.parametrize("service", ["", "liveness"])
def test_the_healthcheck_is_satisfied_with_a_serving_server(shared_server, service):
    asked = healthcheck(shared_server.port, service)
    assert asked.returncode == 0, asked.stdout + asked.stderr


def test_the_healthcheck_fails_for_an_unknown_service(shared_server):
    assert healthcheck(shared_server.port, "nonsense").returncode == 1


def test_the_healthcheck_fails_where_nobody_listens(server):
    server.stop()
    assert healthcheck(server.port).returncode == 1


@pytest.mark.skipif(os.environ.get("OMEN_TEST_LONG") != "1", reason="long: ci/test --long runs it")
def test_the_steps_of_the_image_give_a_server_that_serves():
    if os.geteuid() != 0 or shutil.which("mmdebstrap") is None:
        pytest.skip("needs root and mmdebstrap, to do in a chroot what a container would")
    tried = subprocess.run([str(DEPLOY / "try-image-steps")], capture_output=True, text=True,
                           timeout=LONG_TIMEOUT_S)
    assert tried.returncode == 0, tried.stdout[-4000:] + tried.stderr[-4000:]

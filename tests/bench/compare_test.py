"""bench/compare and bench/profile from beginning to end, on a set too small for figures."""
import json
import os
import re
import subprocess
import sys

from conftest import REPOSITORY, build_folder

LINE = (r"recall=(\S+) build_vs_hnswlib=(\S+) build_vs_best=(\S+) qps95_vs_hnswlib=(\S+)"
        r" qps95_vs_best=(\S+) qps99_vs_hnswlib=(\S+) qps99_vs_best=(\S+) grpc_build=(\S+)"
        r" grpc_qps95=(\S+)")


def run(script, *flags, status=0, **changed):
    command = [sys.executable, str(REPOSITORY / "bench" / script), "--build", str(build_folder()),
               "--data", "/nowhere", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300,
                          env={**os.environ, **changed}, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def test_quick_comparison_ends_with_one_line_of_ratios(tmp_path):
    told = run("compare", "--quick", "--rows", "1500", "--peers", "hnswlib", "--rounds", "1",
               "--seconds", "0.05", "--no-history", "--out", str(tmp_path))
    found = re.fullmatch(LINE, told.splitlines()[-1])
    assert found, told
    recall, *ratios = map(float, found.groups())
    assert recall > 0.95 and all(ratio > 0 for ratio in ratios)
    outcome = json.loads((tmp_path / "compare.json").read_text())
    result = outcome["results"][0]
    assert result["data"]["count"] == 1500
    assert set(result["contestants"]) == {"omendb-server", "hnswlib", "omendb-server over gRPC"}
    for name, figures in result["contestants"].items():
        assert figures["failed"] is None, name
        assert figures["at"]["0.95"]["median"] > 0 and figures["load"]["disk_bytes"] > 0
    # The same rows and the same answers, whoever is asked: ours in both ways, with its recall.
    ours, grpc = (result["contestants"][name] for name in ("omendb-server",
                                                           "omendb-server over gRPC"))
    assert abs(ours["default_recall"] - grpc["default_recall"]) < 0.02
    assert ours["at"]["0.95"]["distances"] < 1500 + 200
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".md", ".svg"}


def test_an_unknown_peer_is_refused_before_anything_runs():
    told = run("compare", "--peers", "nobody", "--no-history", status=1)
    assert "rows/s" not in told


def test_profile_names_the_bottleneck_or_says_why_it_cannot(tmp_path):
    figures = tmp_path / "profile.json"
    command = [sys.executable, str(REPOSITORY / "bench" / "profile"), "--engine", "--rows", "3000",
               "--seconds", "0.3", "--build", str(build_folder()), "--data", "/nowhere", "--json",
               str(figures)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    told = json.loads(figures.read_text())
    if not told["perf"]:
        assert done.returncode == 3 and "perf is not usable here" in done.stdout
        return
    assert done.returncode == 0, done.stderr
    assert re.search(r"bottleneck of the build is \w+: \d+%", done.stdout)
    for mode, phase in (("build", "matrix"), ("search", "walk")):
        shares = {name: entry["share"] for name, entry in told[mode]["phases"].items()}
        assert abs(sum(shares.values()) - 1) < 1e-6
        assert shares[phase] > 0.2 and shares.get("other", 0) < 0.3


def test_profile_without_perf_tells_the_time_of_each_thread(tmp_path):
    told = run("profile", "--engine", "--rows", "1500", "--seconds", "0.2", status=3,
               PATH=str(tmp_path))
    assert "there is no perf" in told and "CPU seconds by thread" in told

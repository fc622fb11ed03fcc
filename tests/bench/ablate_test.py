"""bench/ablate: that every trick can be left out, and what is said of one."""
import json
import re
import subprocess
import sys

from comparison import ablation
from comparison.rounds import Samples
from conftest import REPOSITORY

ENGINE = REPOSITORY / "engine"


def samples(build_seconds, rates):
    points = {effort: {"rates": [rate], "recall": recall, "visited": visited}
              for (effort, recall, visited), rate in zip(
                  [(16, 0.9, 300.0), (32, 0.95, 400.0), (64, 0.99, 600.0)], rates, strict=True)}
    builds = [{"rows": 1000, "seconds": build_seconds, "decile_seconds": [], "memory_bytes": 1}]
    return Samples(builds=builds, points=points)


def test_every_trick_of_the_header_is_listed_and_used_by_the_engine():
    macros = set(re.findall(r"#define OMEN_TRICK_(\w+)\s+1", (ENGINE / "ablation.h").read_text()))
    assert macros == {trick.macro for trick in ablation.tricks() if trick.macro}
    source = "".join(path.read_text() for path in sorted(ENGINE.glob("*.[ch]"))
                     if path.name != "ablation.h")
    assert macros == set(re.findall(r"OMEN_TRICK_(\w+)", source))
    assert all(trick.about for trick in ablation.tricks())


def test_a_machine_with_amx_is_measured_without_it_too(monkeypatch):
    def tiers(features):
        monkeypatch.setattr(ablation.machine, "cpu_features", lambda: features)
        return [trick.simd for trick in ablation.tricks() if trick.simd]

    assert tiers(["avx2", "avx512_vnni", "amx_int8"]) == ["vnni", "avx512", "avx2"]
    assert tiers(["avx2", "avx512_vnni"]) == ["avx512", "avx2"]


def test_figures_are_ratios_to_the_full_build():
    told = ablation.outcome({"full": samples(1.0, [4000, 2000, 1000]),
                             "prefetch": samples(2.0, [3000, 1500, 500])},
                            [trick for trick in ablation.tricks() if trick.name == "prefetch"])
    (entry,) = told["without"]
    assert entry["build"] == 0.5 and abs(entry["qps95"] - 0.75) < 1e-9
    assert entry["distances"] == 1 and entry["failed"] is None
    assert "| prefetch | 0.50 | 0.75 | 1.00 |" in ablation.markdown(told, "about")


def test_a_trick_that_failed_is_told_and_the_others_have_their_figures():
    broken = Samples(failed="it crashed")
    told = ablation.outcome({"full": samples(1.0, [4000, 2000, 1000]), "rerank": broken},
                            [trick for trick in ablation.tricks() if trick.name == "rerank"])
    assert told["without"][0]["build"] is None
    assert "| rerank | – | – | – | it crashed |" in ablation.markdown(told, "about")


def test_a_run_from_beginning_to_end(tmp_path):
    """Without prefetching a build is another program with the same answers."""
    command = [sys.executable, str(REPOSITORY / "bench" / "ablate"), "--quick", "--rows", "1500",
               "--rounds", "1", "--seconds", "0.05", "--tricks", "prefetch,tier-avx2",
               "--data", "/nowhere", "--build", str(tmp_path / "build"), "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads((tmp_path / "ablate.json").read_text())
    assert told["data"]["count"] == 1500
    assert [entry["name"] for entry in told["without"]] == ["prefetch", "tier-avx2"]
    recalls = [{point["effort"]: point["recall"] for point in figures["points"]}
               for figures in (told["full"], *(entry["figures"] for entry in told["without"]))]
    assert max(recalls[0].values()) > 0.95
    for entry in told["without"]:
        assert entry["build"] > 0 and entry["qps95"] > 0 and 0.8 < entry["distances"] < 1.2
    assert (tmp_path / "ablate.md").read_text().count("\n| ") == 3
    full, without = (tmp_path / "build" / name / "bench" / "engine" / "omen_engine_bench"
                     for name in ("full", "prefetch"))
    assert full.read_bytes() != without.read_bytes()
    unknown = subprocess.run([*command[:2], "--tricks", "magic"], capture_output=True, text=True,
                             timeout=60, check=False)
    assert unknown.returncode == 1 and "magic" in unknown.stderr

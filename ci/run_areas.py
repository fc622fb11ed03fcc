#!/usr/bin/env python3
"""Builds and runs the tests of the areas, and counts single cases. ci/test calls it.

    ci/run_areas.py [--long] [AREA...]

An area is run in the release build and, if its tests carry the label, in the builds with sanitizers
and in the one for ARM, under qemu (CMakePresets.json); each run counts. A ctest counts as the cases
of its TAP output, or as one case if it prints none; pytest's cases come from its JUnit file. A
build that fails is a failed case, and so is an area that ran nothing: silence is no success. The
area fuzz also runs ci/run_fuzz.py, the area durability ci/durability_table.py.
"""
import argparse
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree

import durability_table

ROOT = pathlib.Path(__file__).resolve().parents[1]
BUILD = ROOT / "build"
LOGS = BUILD / "logs"
VENV = BUILD / "venv"
SERVER = pathlib.Path("service") / "omendb-server"  # in a build folder

AREAS = ["kernels", "engine", "durability", "service", "clients", "fuzz", "bench", "lint"]
PYTEST_AREAS = ["service", "clients", "bench"]
# Preset, its build folder, the label that chooses its tests, the areas that it can have.
FURTHER_BUILDS = [("dev", "asan", ["kernels", "engine", "durability", "service", "fuzz"]),
                  ("tsan", "tsan", ["engine", "durability"]),  # the kernels have no threads
                  ("arm64", "arm64", ["kernels", "engine"])]  # SIMD tiers and the graph's bits
# Of an area's pytest, what runs again on the sanitized server: tests of other programs and of texts
# would only repeat themselves, and a sanitizer's own memory is not what is bounded.
SANITIZED_PYTEST = {"service": "not grpcurl and not deploy and not limits_doc and not memory_test"}
SECONDS_MAX = 900  # of one ctest
FUZZ_SECONDS, FUZZ_SECONDS_LONG = 12, 120  # of each target
TAP = re.compile(r"^(ok|not ok) \d+\b[^#\n]*(#\s*skip\b)?", re.I | re.M)


class Counts:
    def __init__(self, passed=0, failed=0, skipped=0):
        self.passed, self.failed, self.skipped = passed, failed, skipped

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped

    def ran(self):
        return self.passed + self.failed + self.skipped

    def __str__(self):
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{self.passed} passed, {self.failed} failed{skipped}"


def count_ctest(status, output, will_fail=False):
    """The cases of one ctest: `status` is JUnit's "run", "fail", "notrun" or "disabled". A test
    that must fail is one case: the bad cases that it prints are what is wanted."""
    counts = Counts()
    for verdict, skip in [] if will_fail else TAP.findall(output):
        if skip:
            counts.skipped += 1
        elif verdict.lower() == "ok":
            counts.passed += 1
        else:
            counts.failed += 1
    if status == "fail" and counts.failed == 0:
        counts.failed += 1  # a crash after good cases, or a test without TAP
    elif status in ("notrun", "disabled"):
        counts.skipped += 1
    elif counts.ran() == 0:
        counts.passed += 1
    return counts


def read_will_fail(listing):
    """Names of the tests that must fail, from the JSON of ctest --show-only=json-v1."""
    return {test["name"] for test in json.loads(listing)["tests"]
            for item in test.get("properties", [])
            if item["name"] == "WILL_FAIL" and item["value"] is True}


def read_ctest(path, will_fail=frozenset()):
    """Counts of a ctest JUnit file, and the outputs of the tests that failed or were skipped."""
    total = Counts()
    told = []
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        output = case.findtext("system-out") or ""
        status = case.get("status", "fail")
        skipped = case.find("skipped") is not None
        # An executable that is not there is "not run" too, but nobody chose to skip it.
        if status == "notrun" and "SKIP_" not in (case.find("skipped").get("message") or ""):
            status, skipped = "fail", False
        counts = count_ctest(status, output, case.get("name") in will_fail)
        total.add(counts)
        if counts.failed or skipped:
            told.append(f"---- {case.get('name')}: {counts}\n{output}")
    return total, told


def read_pytest(path):
    suite = next(ElementTree.parse(path).getroot().iter("testsuite"))
    number = {key: int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")}
    failed = number["failures"] + number["errors"]
    return Counts(number["tests"] - failed - number["skipped"], failed, number["skipped"])


def run(command, log, env=None):
    """Runs it with its output in a file under build/logs; returns the exit status."""
    with open(LOGS / log, "w", encoding="utf-8", errors="replace") as out:
        return subprocess.run(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, check=False,
                              env={**os.environ, **(env or {})}).returncode


def show_log(log):
    print((LOGS / log).read_text(errors="replace"), flush=True)


class Runner:
    def __init__(self, areas, long):
        self.areas = areas
        self.long = long
        self.total = Counts()
        self.per_area = {area: 0 for area in areas}

    def record(self, area, what, counts, started):
        self.total.add(counts)
        if area in self.per_area:
            self.per_area[area] += counts.ran()
        print(f"{area + ' ' + what:<28} {counts}  ({time.monotonic() - started:.0f} s)", flush=True)

    def step(self, what, command, log):
        """A step that must succeed before tests can run; its failure is a failed case."""
        started = time.monotonic()
        if run(command, log) == 0:
            print(f"{what:<28} done  ({time.monotonic() - started:.0f} s)", flush=True)
            return True
        show_log(log)
        self.record(what, "failed, see above", Counts(failed=1), started)
        return False

    def build(self, preset, compile_it):
        if preset == "arm64" and not self.step("sysroot", ["ci/arm64_sysroot"], "sysroot.log"):
            return False
        configured = self.step(f"configure {preset}", ["cmake", "--preset", preset],
                               f"configure-{preset}.log")
        if not configured or not compile_it:
            return configured
        return self.step(f"build {preset}", ["cmake", "--build", "--preset", preset],
                         f"build-{preset}.log")

    def ctest_command(self, folder, junit):
        """ctest cuts long outputs unless told otherwise, and would cut cases with them."""
        command = ["ctest", "--test-dir", str(folder), "--output-junit", str(junit),
                   "--test-output-size-passed", "4000000", "--test-output-size-failed", "4000000",
                   "--timeout", str(SECONDS_MAX)]
        return command if self.long else command + ["-LE", "^long$"]

    def ctest(self, area, folder, label):
        name = f"{area}-{folder}"
        started = time.monotonic()
        junit = LOGS / f"{name}.xml"
        junit.unlink(missing_ok=True)
        command = self.ctest_command(BUILD / folder, junit) + ["-L", f"^{area}$"]
        command += ["-L", f"^{label}$"] if label else []
        status = run(command, f"{name}.log", {"CMOCKA_MESSAGE_OUTPUT": "TAP",
                                              "OMEN_TEST_LONG": "1" if self.long else "0"})
        listing = subprocess.run(["ctest", "--test-dir", str(BUILD / folder),
                                  "--show-only=json-v1"], capture_output=True, check=False).stdout
        counts, told = Counts(), []
        if junit.is_file():
            counts, told = read_ctest(junit, read_will_fail(listing))
        if status != 0 and counts.failed == 0:
            counts.failed = 1
            told.append((LOGS / f"{name}.log").read_text(errors="replace"))
        for text in told:
            print(text, flush=True)
        if counts.ran():
            self.record(area, folder, counts, started)

    def pytest(self, area, folder, chosen=None):
        """`chosen` is pytest's -k. A sanitizer's finding ends the server with a status that the
        tests do not expect."""
        if not any((ROOT / "tests" / area).glob("*_test.py")):
            return
        started = time.monotonic()
        name = f"{area}-{folder}-pytest"
        junit = LOGS / f"{name}.xml"
        junit.unlink(missing_ok=True)
        command = [str(VENV / "bin" / "python"), "-m", "pytest", f"tests/{area}", "-v",
                   f"--junitxml={junit}", "-p", "no:cacheprovider", "-ra"]
        command += ["-k", chosen] if chosen else []
        status = run(command, f"{name}.log",
                     {"OMENDB_SERVER_BINARY": str(BUILD / folder / SERVER),
                      "PYTHONDONTWRITEBYTECODE": "1", "OMEN_TEST_LONG": "1" if self.long else "0"})
        counts = read_pytest(junit) if junit.is_file() else Counts()
        if status != 0 and counts.failed == 0:
            counts.failed = 1
        if counts.failed:
            show_log(f"{name}.log")
        self.record(area, f"pytest {folder}", counts, started)

    def fuzz(self):
        """The fuzzers, and which lines of the decoders they reach. All of it is shown: figures that
        nobody sees are not looked at."""
        if not self.build("fuzz", True) or not self.build("coverage", True):
            return
        started = time.monotonic()
        seconds = FUZZ_SECONDS_LONG if self.long else FUZZ_SECONDS
        status = run([sys.executable, "ci/run_fuzz.py", "--seconds", str(seconds)], "fuzz.log")
        show_log("fuzz.log")
        output = (LOGS / "fuzz.log").read_text(errors="replace")
        self.record("fuzz", "fuzzers", count_ctest("run" if status == 0 else "fail", output),
                    started)

    def durability_table(self):
        """docs/durability.md, held against what has just been run. A cell of which a test is in an
        area that was not run is skipped."""
        started = time.monotonic()
        bad = durability_table.check_page(ROOT)
        proven, unknown, wrong = durability_table.check_results(ROOT, LOGS, self.areas)
        bad += wrong
        for text in bad:
            print(f"durability table: {text}", flush=True)
        self.record("durability", "table", Counts(proven, len(bad), unknown), started)

    def make_venv(self):
        """The tests' tools, and our client as a user would install it."""
        if not (VENV / "bin" / "pip").exists():
            shutil.rmtree(VENV, ignore_errors=True)
            if not self.step("venv", [sys.executable, "-m", "venv", str(VENV)], "venv.log"):
                return False
        wanted = ["-r", "ci/requirements.txt"]
        for path in sorted((ROOT / "tests").glob("*/requirements.txt")):
            wanted += ["-r", str(path.relative_to(ROOT))]
        if set(self.areas) & set(PYTEST_AREAS) and (ROOT / "clients/python").is_dir():
            wanted += ["./clients/python"]
        command = [str(VENV / "bin" / "pip"), "install", "--disable-pip-version-check", *wanted]
        return self.step("pip install", command, "pip.log")

    def run_all(self):
        compile_it = bool(set(self.areas) - {"lint"})
        ready = self.make_venv()
        if self.build("release", compile_it):
            for area in self.areas:
                self.ctest(area, "release", None)
                if ready and area in PYTEST_AREAS:
                    self.pytest(area, "release")
        for preset, label, possible in FURTHER_BUILDS:
            areas = [area for area in self.areas if area in possible]
            if preset == "arm64" and platform.machine() == "aarch64":
                continue  # the release build is that already
            if areas and self.build(preset, True):
                for area in areas:
                    self.ctest(area, label, label)
                    if ready and label == "asan" and area in SANITIZED_PYTEST:
                        self.pytest(area, label, SANITIZED_PYTEST[area])
        if "fuzz" in self.areas:
            self.fuzz()
        if "durability" in self.areas:
            self.durability_table()
        for area, ran in self.per_area.items():
            if ran == 0:
                self.record(area, "ran nothing", Counts(failed=1), time.monotonic())
        print(self.total)
        return 1 if self.total.failed else 0


def main():
    parser = argparse.ArgumentParser(prog="ci/test", description="Build, test, lint.")
    parser.add_argument("--long", action="store_true", help="run the tests labelled long too")
    parser.add_argument("areas", nargs="*", metavar="AREA", help=" ".join(AREAS))
    options = parser.parse_args()
    unknown = [area for area in options.areas if area not in AREAS]
    if unknown:
        parser.error(f"unknown area {unknown[0]}; there are {', '.join(AREAS)}")
    LOGS.mkdir(parents=True, exist_ok=True)
    return Runner(options.areas or AREAS, options.long).run_all()


if __name__ == "__main__":
    sys.exit(main())

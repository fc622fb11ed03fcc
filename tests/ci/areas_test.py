#!/usr/bin/env python3
"""ci/run_areas.py and ci/run_fuzz.py count what ran, and take neither a crash nor silence for
success."""
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

CI = pathlib.Path(__file__).resolve().parents[2] / "ci"
sys.path.insert(0, str(CI))
import run_areas  # noqa: E402
import run_fuzz  # noqa: E402

PROJECT = """cmake_minimum_required(VERSION 3.25)
project(sample NONE)
enable_testing()
add_test(NAME good COMMAND cat ${CMAKE_SOURCE_DIR}/good.tap)
add_test(NAME plain COMMAND true)
add_test(NAME bad COMMAND sh -c "cat ${CMAKE_SOURCE_DIR}/bad.tap; exit 1")
add_test(NAME skips COMMAND sh -c "echo no tool; exit 77")
set_tests_properties(skips PROPERTIES SKIP_RETURN_CODE 77)
add_test(NAME planted COMMAND sh -c "cat ${CMAKE_SOURCE_DIR}/bad.tap; exit 1")
set_tests_properties(planted PROPERTIES WILL_FAIL TRUE)
add_test(NAME missed COMMAND sh -c "cat ${CMAKE_SOURCE_DIR}/good.tap")
set_tests_properties(missed PROPERTIES WILL_FAIL TRUE)
add_test(NAME absent COMMAND ${CMAKE_BINARY_DIR}/was_not_built)
"""
# More than ctest keeps of an output if nobody asks for all of it.
MANY = "".join(f"ok {i} - case_{i}\n" for i in range(1, 2001))


def counted(status, output):
    counts = run_areas.count_ctest(status, output)
    return counts.passed, counts.failed, counts.skipped


class Counting(unittest.TestCase):
    def test_each_tap_line_is_a_case(self):
        self.assertEqual(counted("run", "1..3\nok 1 - a\nok 2 - b # SKIP no AVX\nok 3 - c\n"),
                         (2, 0, 1))
        self.assertEqual(counted("fail", "1..2\nok 1 - a\nnot ok 2 - b\n# why\n"), (1, 1, 0))

    def test_test_without_tap_is_one_case(self):
        self.assertEqual(counted("run", "all is well\n"), (1, 0, 0))
        self.assertEqual(counted("fail", "it is not\n"), (0, 1, 0))

    def test_crash_after_good_cases_is_a_failure(self):
        self.assertEqual(counted("fail", "1..3\nok 1 - a\n"), (1, 1, 0))

    def test_talk_about_ok_is_no_case(self):
        self.assertEqual(counted("run", "# ok 1 - no\nokay 2\nthis is ok 3\n"), (1, 0, 0))

    def test_closing_line_names_skips_only_if_there_are_any(self):
        self.assertEqual(str(run_areas.Counts(3, 1, 0)), "3 passed, 1 failed")
        self.assertEqual(str(run_areas.Counts(3, 0, 2)), "3 passed, 0 failed, 2 skipped")


class Running(unittest.TestCase):
    def test_real_ctest_is_read_to_the_last_case(self):
        root = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, root)
        (root / "CMakeLists.txt").write_text(PROJECT)
        (root / "good.tap").write_text("1..2000\n" + MANY)
        (root / "bad.tap").write_text("1..2\nok 1 - a\nnot ok 2 - b\n# 3 != 4\n")
        configure = ["cmake", "-G", "Ninja", "-S", str(root), "-B", str(root / "build")]
        subprocess.run(configure, check=True, capture_output=True)
        runner = run_areas.Runner(["kernels"], False)
        junit = root / "junit.xml"
        done = subprocess.run(runner.ctest_command(root / "build", junit), capture_output=True,
                              check=False)
        self.assertNotEqual(done.returncode, 0)
        listing = subprocess.run(["ctest", "--test-dir", str(root / "build"),
                                  "--show-only=json-v1"], capture_output=True, check=True).stdout
        must_fail = run_areas.read_will_fail(listing)
        self.assertEqual(must_fail, {"planted", "missed"})
        counts, told = run_areas.read_ctest(junit, must_fail)
        # good: 2000, plain: 1, bad: 1 and 1 failed, planted: 1; missed and absent failed.
        self.assertEqual((counts.passed, counts.failed, counts.skipped), (2003, 3, 1))
        text = "".join(told)
        self.assertIn("# 3 != 4", text)
        self.assertIn("no tool", text)
        self.assertIn("absent", text)

    def test_pytest_file_is_read(self):
        with tempfile.NamedTemporaryFile("w", suffix=".xml") as file:
            file.write('<testsuites><testsuite errors="1" failures="2" skipped="3" tests="10"/>'
                       "</testsuites>")
            file.flush()
            counts = run_areas.read_pytest(file.name)
        self.assertEqual((counts.passed, counts.failed, counts.skipped), (4, 3, 3))


STATS = "#2 DONE\nstat::number_of_executed_units: 321\nstat::average_exec_per_sec:     9\n"


class Fuzzing(unittest.TestCase):
    def setUp(self):
        self.root = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.root)
        for name in ("FUZZ", "FOUND", "FINDINGS", "LOGS", "CORPUS", "CRASHES", "ROOT"):
            self.addCleanup(setattr, run_fuzz, name, getattr(run_fuzz, name))
            setattr(run_fuzz, name, self.root)

    def run_fake(self, script):
        """Runs a script of the shell as the fuzzer of the target `fake`."""
        fuzzer = self.root / "tests" / "fuzz" / "fake_fuzz"
        fuzzer.parent.mkdir(parents=True, exist_ok=True)
        fuzzer.write_text(f"#!/bin/sh\n{script}\n")
        fuzzer.chmod(0o755)
        return run_fuzz.run_target("fake", 7, 1)

    def test_run_without_a_finding_passes_and_tells_how_much_ran(self):
        self.assertEqual(self.run_fake(f"cat <<'END'\n{STATS}END"),
                         (True, "fake: 321 inputs in 7 s"))

    def test_finding_fails_and_names_its_reproducer(self):
        passed, text = self.run_fake(
            f"cat <<'END'\n{STATS}artifact_prefix='x'; Test unit written to /some/fake-crash-1\n"
            "END\nexit 77")
        self.assertFalse(passed)
        self.assertIn("fake_fuzz /some/fake-crash-1\n", text)

    def test_fuzzer_that_ran_nothing_fails(self):
        self.assertFalse(self.run_fake("exit 0")[0])
        self.assertFalse(self.run_fake("echo stat::number_of_executed_units: 0")[0])

    def test_line_counts_once_however_often_it_was_made(self):
        lines = [{"line_number": 1, "count": 0}, {"line_number": 1, "count": 3},
                 {"line_number": 2, "count": 0}]
        text = json.dumps({"files": [{"file": "/x/service/wire.c", "lines": lines}]})
        self.assertEqual(run_fuzz.read_gcov(text), {"/x/service/wire.c": [2, 1]})

    def test_decoder_that_was_not_measured_reached_nothing(self):
        rows = run_fuzz.coverage_rows({"service/wire.c": [10, 9]})
        percent = {row[0]: row[3] for row in rows}
        self.assertEqual(percent["service/wire.c"], 90)
        self.assertEqual({percent[name] for name in run_fuzz.DECODERS
                          if name != "service/wire.c"}, {0})
        self.assertLess(percent["all decoders"], run_fuzz.LINES_MIN)

    def test_every_decoder_of_the_service_is_measured(self):
        service = CI.parent / "service"
        there = {f"service/{path.name}" for path in service.glob("decode_*.c")}
        self.assertLessEqual(there, set(run_fuzz.DECODERS))


if __name__ == "__main__":
    unittest.main()

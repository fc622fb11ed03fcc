#!/usr/bin/env python3
"""ci/durability_table.py believes no promise whose test is not there, was not run or failed."""
import pathlib
import shutil
import sys
import tempfile
import unittest

CI = pathlib.Path(__file__).resolve().parents[2] / "ci"
sys.path.insert(0, str(CI))
import durability_table as table  # noqa: E402

DECLARED = """
[[level]]
key = "durable"
means = "it is in the log"
[[event]]
key = "power"
title = "The power fails"
[cell.durable.power]
short = "kept"
says = "All of it."
tests = ["durability/cut_test.c::no_cut_loses_it", "clients/kill_test.py::test_a_kill"]
"""
CTEST = ('<testsuite><testcase name="durability_cut"><system-out>1..1\n'
         "{verdict} 1 - no_cut_loses_it\n</system-out></testcase></testsuite>")
PYTEST = ('<testsuites><testsuite>'
          '<testcase classname="tests.clients.kill_test" name="test_a_kill[1]"/>'
          '<testcase classname="tests.clients.kill_test" name="test_a_kill[2]">{bad}</testcase>'
          "</testsuite></testsuites>")


class Table(unittest.TestCase):
    def setUp(self):
        self.root = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.root)
        for folder in ("docs", "tests/durability", "tests/clients", "logs"):
            (self.root / folder).mkdir(parents=True)
        (self.root / table.SOURCE).write_text(DECLARED)
        (self.root / "tests/durability/cut_test.c").write_text(
            "static void no_cut_loses_it(void **s);\n cmocka_unit_test(no_cut_loses_it),\n")
        (self.root / "tests/clients/kill_test.py").write_text("def test_a_kill(n):\n    pass\n")
        (self.root / table.PAGE).write_text(table.render(self.root))
        self.logs = self.root / "logs"
        self.write_results("ok", "")

    def write_results(self, verdict, bad):
        (self.logs / "durability-release.xml").write_text(CTEST.format(verdict=verdict))
        (self.logs / "clients-release-pytest.xml").write_text(PYTEST.format(bad=bad))

    def results(self, *areas):
        return table.check_results(self.root, self.logs, areas or ("durability", "clients"))

    def test_a_promise_whose_tests_ran_and_passed_is_proven(self):
        self.assertEqual(table.check_page(self.root), [])
        self.assertEqual(self.results(), (1, 0, []))

    def test_a_promise_of_which_a_part_was_not_asked_for_is_unknown(self):
        self.assertEqual(self.results("durability"), (0, 1, []))

    def test_a_test_that_failed_was_skipped_or_did_not_run_proves_nothing(self):
        for verdict, bad in (("not ok", ""), ("ok", "<failure/>"), ("ok", "<skipped/>")):
            self.write_results(verdict, bad)
            proven, unknown, told = self.results()
            self.assertEqual((proven, unknown, len(told)), (0, 0, 1), told)
        self.write_results("ok", "")
        (self.logs / "durability-release.xml").unlink()
        self.assertIn("did not run", self.results()[2][0])
        (self.logs / "durability-release.xml").write_text("<testsuite/>")
        self.assertIn("did not run", self.results()[2][0])

    def test_a_test_that_does_not_exist_is_named(self):
        path = self.root / "tests/durability/cut_test.c"
        path.write_text("static void no_cut_loses_it(void **s);\n")  # and nobody runs it
        self.assertIn("no_cut_loses_it", table.check_page(self.root)[0])
        path.unlink()
        self.assertIn("no_cut_loses_it", table.check_page(self.root)[0])

    def test_a_page_that_was_edited_is_refused(self):
        page = self.root / table.PAGE
        page.write_text(page.read_text().replace("All of it.", "Much of it."))
        self.assertIn("is not what", table.check_page(self.root)[0])

    def test_a_cell_that_is_missing_or_too_much_is_refused(self):
        (self.root / table.SOURCE).write_text(
            DECLARED.replace("[cell.durable.power]", "[cell.durable.fire]"))
        self.assertNotEqual(table.check_page(self.root), [])
        (self.root / table.SOURCE).write_text(
            DECLARED + '[cell.durable.fire]\nshort = "x"\nsays = "x"\ntests = []\n')
        self.assertIn("durable.fire", table.check_page(self.root)[0])

    def test_a_promise_without_a_test_says_so(self):
        start = DECLARED.index("tests = [")
        (self.root / table.SOURCE).write_text(DECLARED[:start] + "tests = []\n")
        self.assertIn("kept (no test yet)", table.render(self.root))
        self.assertEqual(self.results(), (0, 1, []))


if __name__ == "__main__":
    unittest.main()

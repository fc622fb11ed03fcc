#!/usr/bin/env python3
"""Makes docs/durability.md of docs/durability.toml, and holds the page to the tests that it names.

    ci/durability_table.py            writes the page
    ci/durability_table.py --check    fails if it is not what would be written, or names no test

ci/run_areas.py asks more: in the areas that it has run, every named test must have run and passed
(JUnit's files under build/logs). What a page says of durability is worth no more than that.
"""
import argparse
import pathlib
import re
import sys
import tomllib
import xml.etree.ElementTree as ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[1]
SOURCE = "docs/durability.toml"
PAGE = "docs/durability.md"
TAP_LINE = re.compile(r"^(ok|not ok) \d+ - (\S+)[^#\n]*(#\s*skip\b)?", re.I | re.M)

HEAD = """<!-- Made of durability.toml by ci/durability_table.py: edit that, not this. -->
# What survives

An acknowledgement has three levels, and each promises something else when things go wrong. This
page is made of a list that names tests for its promises; `ci/test` fails when a test that is named
here is not there, was not run, or failed.

"""


class Cell:
    """What one level promises under one event."""

    def __init__(self, level, event, text):
        self.level, self.event = level, event
        self.short, self.says, self.tests = text["short"], text["says"], text["tests"]
        self.name = f"{level['key']} x {event['key']}"


def read(root):
    """(levels, events, cells by level and event). Fails on a cell that is not there."""
    declared = tomllib.loads((root / SOURCE).read_text())
    levels, events = declared["level"], declared["event"]
    cells = {}
    for level in levels:
        for event in events:
            text = declared["cell"][level["key"]].pop(event["key"])
            cells[level["key"], event["key"]] = Cell(level, event, text)
    left = [f"{level}.{event}" for level, row in declared["cell"].items() for event in row]
    if left:
        raise KeyError(f"{SOURCE}: there is no level or event for {', '.join(left)}")
    return levels, events, cells


def render(root):
    levels, events, cells = read(root)
    lines = [HEAD + "| | " + " | ".join(event["title"] for event in events) + " |",
             "|---|" + "---|" * len(events)]
    for level in levels:
        row = [cells[level["key"], event["key"]] for event in events]
        verdicts = [cell.short if cell.tests else f"{cell.short} (no test yet)" for cell in row]
        lines.append(f"| **{level['key']}**: {level['means']} | " + " | ".join(verdicts) + " |")
    for event in events:
        lines += ["", f"## {event['title']}", "", "| | what survives | proven by, under `tests/` |",
                  "|---|---|---|"]
        for level in levels:
            cell = cells[level["key"], event["key"]]
            proofs = "<br>".join(f"`{test.replace('::', '` `')}`" for test in cell.tests)
            lines.append(f"| **{level['key']}** | {cell.says} | {proofs or 'no test yet'} |")
    return "\n".join(lines) + "\n"


def exists(root, test):
    """Is there such a case in such a file? C: listed in the group of cmocka; Python: a function."""
    name, _, case = test.partition("::")
    path = root / "tests" / name
    if not case or not path.is_file():
        return False
    pattern = (rf"\b\w*cmocka_unit_test\w*\(\s*{case}\b|\bIN_PLACE\(\s*{case}\b"
               if path.suffix == ".c" else rf"^def {case}\(")
    return re.search(pattern, path.read_text(), re.M) is not None


def outcomes_of_ctest(path, name):
    """The verdicts of each case that the ctest `name` printed: case -> list of "ok" and others."""
    found = {}
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        if case.get("name") != name:
            continue
        for verdict, what, skip in TAP_LINE.findall(case.findtext("system-out") or ""):
            found.setdefault(what, []).append("skipped" if skip else verdict.lower())
    return found


def outcomes_of_pytest(path, module):
    found = {}
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        if case.get("classname", "").split(".")[-1] != module:
            continue
        bad = next((child.tag for child in case if child.tag in ("failure", "error", "skipped")),
                   "ok")
        found.setdefault(case.get("name", "").partition("[")[0], []).append(bad)
    return found


def outcome(logs, test):
    """"ok" if all that was run of the test in the release build passed; else what happened."""
    name, _, case = test.partition("::")
    area, _, file = name.partition("/")
    stem = file.partition(".")[0]
    python = file.endswith(".py")
    path = logs / (f"{area}-release-pytest.xml" if python else f"{area}-release.xml")
    if not path.is_file():
        return "did not run"
    found = (outcomes_of_pytest(path, stem) if python else
             outcomes_of_ctest(path, f"{area}_{stem.removesuffix('_test')}"))
    verdicts = found.get(case, [])
    if not verdicts:
        return "did not run"
    return next((verdict for verdict in verdicts if verdict != "ok"), "ok")


def check_page(root):
    """Complaints about the page and its list alone."""
    try:
        wanted = render(root)
        _, _, cells = read(root)
    except (KeyError, tomllib.TOMLDecodeError) as error:
        return [f"{SOURCE}: {error}"]
    page = root / PAGE
    bad = []
    if not page.is_file() or page.read_text() != wanted:
        bad.append(f"{PAGE} is not what {SOURCE} makes: run ci/durability_table.py")
    for cell in cells.values():
        bad += [f"{SOURCE}: {cell.name} names {test}, which does not exist"
                for test in cell.tests if not exists(root, test)]
    return bad


def check_results(root, logs, areas):
    """(cells whose every test ran and passed, cells with a test of an area that was not run,
    complaints)."""
    proven, unknown, bad = 0, 0, []
    for cell in read(root)[2].values():
        ran = [test for test in cell.tests if test.partition("/")[0] in areas]
        wrong = [(test, outcome(logs, test)) for test in ran]
        wrong = [(test, what) for test, what in wrong if what != "ok"]
        bad += [f"{cell.name}: {test}: {what}" for test, what in wrong]
        if not wrong and ran and len(ran) == len(cell.tests):
            proven += 1
        elif not wrong:
            unknown += 1
    return proven, unknown, bad


def main():
    parser = argparse.ArgumentParser(prog="ci/durability_table.py")
    parser.add_argument("--check", action="store_true")
    if not parser.parse_args().check:
        (ROOT / PAGE).write_text(render(ROOT))
        return 0
    bad = check_page(ROOT)
    print("\n".join(bad) if bad else f"{PAGE}: ok")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Keeps ARCHITECTURE.md honest: it names only files that exist, and every source of the server.

    ci/check_architecture.py [ROOT]
"""
import pathlib
import re
import sys

PAGE = "ARCHITECTURE.md"
TOP = "kernels|engine|service|proto|clients|tests|bench|ci|docs|deploy"
# A path with a suffix; the suffix may not run on, and what ends a sentence is not part of it.
FILE = re.compile(rf"(?<![\w./-])((?:{TOP})(?:/[\w.-]+)*/[\w.-]*\w\.\w+)(?![\w/])")
MUST_BE_NAMED = ["kernels", "engine", "service"]


def check(root):
    page = root / PAGE
    if not page.is_file():
        return [f"{PAGE} is missing"]
    named = set(FILE.findall(page.read_text()))
    bad = [f"{PAGE}: {name} does not exist" for name in sorted(named) if not (root / name).exists()]
    for folder in MUST_BE_NAMED:
        for path in sorted((root / folder).rglob("*.c")):
            name = path.relative_to(root).as_posix()
            if name not in named:
                bad.append(f"{PAGE}: {name} is not named")
    return bad


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[1])
    bad = check(root.resolve())
    for line in bad:
        print(line)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

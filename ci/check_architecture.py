#!/usr/bin/env python3
"""Keeps ARCHITECTURE.md honest: it names only files that exist, and every source of the server.

    ci/check_architecture.py [ROOT]
"""
import re
import sys

import lint

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


if __name__ == "__main__":
    sys.exit(lint.main(check))

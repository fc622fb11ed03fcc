"""One line per run in bench/history/<machine>.jsonl, so that progress can be seen over time.

Only runs of the same kind on the same kind of machine can be compared, so each kind of machine has
a file, and each line names its kind of run.
"""
from __future__ import annotations

import json
import pathlib

from comparison.machine import slug


def entry(when: str, commit: str, changed: bool, machine: dict, run: dict) -> dict:
    """`run`: what kind of run it was, and its figures."""
    return {"time": when, "commit": commit, "changed": changed, "machine": machine, **run}


def append(folder: pathlib.Path, line: dict) -> pathlib.Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{slug(line['machine'])}.jsonl"
    with open(path, "a", encoding="utf-8") as out:
        out.write(json.dumps(line, sort_keys=True) + "\n")
    return path


def read(path: pathlib.Path) -> list[dict]:
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]

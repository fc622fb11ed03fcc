#!/usr/bin/env python3
"""Refuses what our style refuses and a machine can see.

    ci/check_style.py [ROOT]

Lines of at most 100 columns without tabs or trailing blanks; functions of at most 70 lines and 6
parameters, apart from those that ci/style_exceptions.txt names with a reason; no calls that write
past a buffer or swallow errors; in engine/ no allocator but memory.c's; no function of prefetches
that GCC may drop; no file names that say nothing; and each file begins with a comment that says
what it is.
"""
import re
import sys

import lint

COLUMNS_MAX = 100
FUNCTION_LINES_MAX = 70
PARAMETERS_MAX = 6
FOLDERS = ["kernels", "engine", "service", "proto/omendb", "tests", "bench", "ci", "clients"]
SKIPPED_PARTS = {"build", "dist", "_proto", "__pycache__", "node_modules", ".venv"}
SUFFIXES = {".c", ".h", ".def", ".S", ".py", ".proto", ".sh"}
EMPTY_NAMES = {"util", "utils", "common", "misc", "helper", "helpers"}
EXCEPTIONS = "ci/style_exceptions.txt"
BANNED = {
    "strcpy": "snprintf or memcpy", "strcat": "snprintf", "stpcpy": "snprintf",
    "sprintf": "snprintf", "vsprintf": "vsnprintf", "gets": "fgets", "strtok": "strtok_r",
    "atoi": "strtol and its errors", "atol": "strtol and its errors",
    "atoll": "strtoll and its errors", "atof": "strtod and its errors", "alloca": "omen_alloc",
    "rand": "a seeded generator",
}
ALLOCATORS = ["malloc", "calloc", "realloc", "free", "aligned_alloc", "posix_memalign", "strdup",
              "strndup", "asprintf", "vasprintf"]
COMMENT_OR_TEXT = re.compile(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.S)


def files(root):
    found = []
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            parts = set(path.relative_to(root).parts)
            if not path.is_file() or parts & SKIPPED_PARTS:
                continue
            if path.suffix in SUFFIXES or (not path.suffix and path.read_bytes()[:2] == b"#!"):
                found.append(path)
    return found


def code_only(text):
    """The text with comments and literals blanked out, line for line."""
    return COMMENT_OR_TEXT.sub(lambda hit: re.sub(r"[^\n]", " ", hit.group()), text)


def check_lines(where, text):
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > COLUMNS_MAX:
            yield f"{where}:{number}: {len(line)} columns, the limit is {COLUMNS_MAX}"
        if line != line.rstrip():
            yield f"{where}:{number}: blanks at the end of the line"
        if "\t" in line:
            yield f"{where}:{number}: a tab"
    if text and not text.endswith("\n"):
        yield f"{where}: no newline at the end"


def check_beginning(where, path, text):
    if path.suffix in (".c", ".h", ".def", ".S"):
        if not text.startswith(f"/* {path.name} - "):
            yield f'{where}:1: begin with "/* {path.name} - " and what the file is'
    elif path.suffix == ".proto":
        if not text.startswith("//"):
            yield f"{where}:1: begin with a comment that says what the file is"
    elif text.strip():
        body = re.sub(r"\A#![^\n]*\n", "", text)
        if not body.startswith(('"""', "#")):
            yield f"{where}:1: begin with a comment that says what the file is"


def check_prefetches(where, text):
    """GCC sees no effect in a prefetch: a function of nothing else, called and not inlined, is
    gone. Its name has `prefetch` in it, and its definition says that it is inlined always."""
    for hit in re.finditer(r"^(?:static|void)[^;{}=]*?\b(\w*prefetch\w*)\s*\([^;{}]*\)\s*\{",
                           code_only(text), re.M):
        if "always_inline" not in hit.group():
            number = text.count("\n", 0, hit.start()) + 1
            yield f"{where}:{number}: {hit.group(1)} may be dropped; use OMEN_FETCHES or INLINE"


def functions(text):
    """(name, first line, lines, parameters) of each: '{' and '}' in column 0 enclose a body."""
    lines = code_only(text).split("\n")
    opened = None
    for number, line in enumerate(lines, 1):
        if line.rstrip() == "{":
            opened = number
        elif line.startswith("}") and opened is not None:
            head = " ".join(lines[max(0, opened - 9):opened - 1])
            head = re.split(r"[;}]|#\s*\w+", head)[-1]
            named = re.search(r"(\w+)\s*\(", head)
            if named:
                parameters = count_parameters(head[named.end():])
                yield named.group(1), opened, number - opened + 1, parameters
            opened = None


def count_parameters(text):
    """Of what follows an opening parenthesis: the commas before its partner, and one."""
    depth, commas = 1, 0
    for character in text:
        depth += {"(": 1, ")": -1}.get(character, 0)
        commas += character == "," and depth == 1
        if depth == 0:
            break
    return commas + 1


def read_exceptions(root):
    """Lines "file function: reason"; blank lines and comments do not count."""
    listed = {}
    path = root / EXCEPTIONS
    for line in path.read_text().splitlines() if path.is_file() else []:
        entry = line.split("#")[0].strip()
        if entry:
            key, _, reason = entry.partition(":")
            listed[tuple(key.split())] = reason.strip()
    return listed


def check_functions(where, text, exceptions, used):
    for name, number, count, parameters in functions(text):
        key = (str(where), name)
        # A kernel is a function of plain arguments, as many as its operation has.
        parameters_max = 99 if where.parts[0] == "kernels" else PARAMETERS_MAX
        for value, limit, what in ((count, FUNCTION_LINES_MAX, "lines"),
                                   (parameters, parameters_max, "parameters")):
            if value > limit and exceptions.get(key):
                used.add(key)
            elif value > limit:
                yield f"{where}:{number}: {name} has {value} {what}, the limit is {limit}"


def check_calls(where, text):
    code = code_only(text)
    in_engine = where.parts[0] == "engine" and where.name != "memory.c"
    for number, line in enumerate(code.split("\n"), 1):
        for call in re.findall(r"(?<![\w.>])(\w+)\s*\(", line):
            if call in BANNED:
                yield f"{where}:{number}: {call} is banned; use {BANNED[call]}"
            if in_engine and call in ALLOCATORS:
                yield f"{where}:{number}: {call} in engine/; use engine/memory.h"


def check(root):
    bad = []
    used = set()
    exceptions = read_exceptions(root)
    for path in files(root):
        where = path.relative_to(root)
        text = path.read_text(errors="replace")
        bad += check_lines(where, text)
        bad += check_beginning(where, path, text)
        if set(re.split(r"[_.-]", path.stem.lower())) & EMPTY_NAMES:
            bad.append(f"{where}: name the file for what is in it")
        if path.suffix in (".c", ".h"):
            bad += check_functions(where, text, exceptions, used)
            bad += check_calls(where, text)
            bad += check_prefetches(where, text)
    for key in exceptions.keys() - used:
        bad.append(f"{EXCEPTIONS}: {' '.join(key)} needs no exception, or gives no reason")
    return bad


if __name__ == "__main__":
    sys.exit(lint.main(check))

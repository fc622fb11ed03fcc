#!/usr/bin/env python3
"""Runs the fuzzers and says which lines of the decoders they reach. ci/test fuzz calls it.

    ci/run_fuzz.py [--seconds N] [--seed N] [TARGET...]

Needs the presets `fuzz` and `coverage` to be built. Each target runs for --seconds, starting from
tests/fuzz/corpus and from what earlier runs found (build/fuzz/found). An input that breaks a
promise goes to build/fuzz/findings, and its path is printed. Then the replayers run over the same
inputs, and a table says what share of each decoder's lines they reached: less than the limit is a
failure. Prints TAP: each target and each decoder is a case.
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
FUZZ = ROOT / "build" / "fuzz"
COVERAGE = ROOT / "build" / "coverage"
FOUND = FUZZ / "found"
FINDINGS = FUZZ / "findings"
LOGS = ROOT / "build" / "logs"
CORPUS = ROOT / "tests" / "fuzz" / "corpus"
CRASHES = ROOT / "tests" / "crashes"

SECONDS = 12
LINES_MIN = 80  # percent
INPUT_BYTES_MAX = 16384
# Of one input. Small ones take a millisecond; on a busy machine a sync may take its time.
INPUT_SECONDS_MAX = 25
# Everything that turns foreign bytes into the engine's structs, and what replays them.
DECODERS = ["service/base64.c", "service/config_file.c", "service/decode_collection.c",
            "service/decode_fields.c", "service/decode_get.c", "service/decode_insert.c",
            "service/decode_json.c", "service/decode_json_points.c", "service/decode_json_search.c",
            "service/decode_points.c", "service/decode_protobuf.c", "service/decode_search.c",
            "service/decode_snapshot.c", "service/decode_write.c",
            "service/json_tree.c", "service/wire.c", "engine/chunk.c", "engine/chunk_record.c",
            "engine/expiry.c", "engine/log_trim.c", "engine/log_walk.c", "engine/record.c",
            "engine/settings.c", "engine/storage.c"]


def targets():
    return sorted(path.name for path in CORPUS.iterdir() if path.is_dir())


def fuzz_command(target, seconds, seed):
    # Threads of the engine allocate while an input runs: leaks are looked for once, at the end.
    return [str(FUZZ / "tests" / "fuzz" / f"{target}_fuzz"), f"-max_total_time={seconds}",
            f"-seed={seed}", f"-max_len={INPUT_BYTES_MAX}", f"-timeout={INPUT_SECONDS_MAX}",
            "-detect_leaks=0", "-print_final_stats=1", f"-artifact_prefix={FINDINGS}/{target}-",
            str(FOUND / target), str(CORPUS / target),
            *[str(path) for path in [CRASHES / target] if path.is_dir()]]


def count_inputs(text):
    """How many inputs ran, from libFuzzer's final statistics; 0 if it printed none."""
    found = re.search(r"^stat::number_of_executed_units:\s+(\d+)", text, re.M)
    return int(found.group(1)) if found else 0


def find_reproducers(text):
    return re.findall(r"Test unit written to (\S+)", text)


def run_target(target, seconds, seed):
    """(passed, what to print)."""
    (FOUND / target).mkdir(parents=True, exist_ok=True)
    FINDINGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"fuzz-{target}.log"
    # In memory, because the log syncs often; and removed after a crash too.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with open(log, "w", encoding="utf-8", errors="replace") as out, \
            tempfile.TemporaryDirectory(prefix="omen-fuzz-", dir=memory) as folder:
        status = subprocess.run(fuzz_command(target, seconds, seed), stdout=out, cwd=ROOT,
                                stderr=subprocess.STDOUT, check=False,
                                env={**os.environ, "TMPDIR": folder}).returncode
    text = log.read_text(errors="replace")
    inputs = count_inputs(text)
    if status == 0 and inputs > 0:
        return True, f"{target}: {inputs} inputs in {seconds} s"
    told = [f"{target}: status {status} after {inputs} inputs, log {log.relative_to(ROOT)}"]
    told += [f"# reproduce: {FUZZ.relative_to(ROOT)}/tests/fuzz/{target}_fuzz {path}"
             for path in find_reproducers(text)]
    told += ["# " + line for line in text.splitlines()[-60:]]
    return False, "\n".join(told)


# ---- coverage ---------------------------------------------------------------------------------

def run_replayers(names):
    """Over the corpus, what broke us once, and what the fuzzers found. Returns what went wrong."""
    for data in COVERAGE.rglob("*.gcda"):
        data.unlink()
    bad = []
    for target in names:
        command = [str(COVERAGE / "tests" / "fuzz" / f"{target}_replay"), str(CORPUS / target),
                   str(CRASHES / target), str(FOUND / target)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace",
                              check=False)
        if done.returncode != 0:
            bad.append(f"{target}_replay: status {done.returncode}\n{done.stderr[-2000:]}")
    return bad


def read_gcov(text):
    """{source: [lines, lines that ran]} of gcov's JSON; a line counts once, however often it is
    inlined or instantiated."""
    counted = {}
    for file in json.loads(text)["files"]:
        ran = {}
        for line in file["lines"]:
            number = line["line_number"]
            ran[number] = ran.get(number, False) or line["count"] > 0
        counted[file["file"]] = [len(ran), sum(ran.values())]
    return counted


def measure():
    counted = {}
    for source in DECODERS:
        folder, name = source.split("/")
        data = next(COVERAGE.glob(f"{folder}/CMakeFiles/*/{name}.gcda"), None)
        if data is None:
            continue
        text = subprocess.run(["gcov", "--json-format", "--stdout", str(data)], cwd=COVERAGE,
                              capture_output=True, check=True).stdout
        for file, numbers in read_gcov(text).items():
            if file.endswith(source):
                counted[source] = numbers
    return counted


def coverage_rows(counted):
    """(source, lines, ran, percent) of every decoder, and of all together; what was not measured
    has no line that ran."""
    rows = [(source, *counted.get(source, [1, 0])) for source in DECODERS]
    rows.append(("all decoders", sum(row[1] for row in rows), sum(row[2] for row in rows)))
    return [(*row, 100 * row[2] / row[1]) for row in rows]


# ---- the whole --------------------------------------------------------------------------------

class Tap:
    def __init__(self):
        self.count, self.failed = 0, 0

    def case(self, passed, text):
        self.count += 1
        self.failed += not passed
        head, *rest = text.split("\n")
        print(f"{'ok' if passed else 'not ok'} {self.count} - {head}", flush=True)
        for line in rest:
            print(line, flush=True)


def main():
    parser = argparse.ArgumentParser(prog="ci/run_fuzz.py", description="Fuzz and measure.")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="of each target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=" ".join(targets()))
    options = parser.parse_args()
    names = options.targets or targets()
    LOGS.mkdir(parents=True, exist_ok=True)
    tap = Tap()
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for passed, text in pool.map(
                lambda name: run_target(name, options.seconds, options.seed), names):
            tap.case(passed, text)
    if options.targets:
        return 1 if tap.failed else 0  # the decoders' lines are all targets' together
    for text in run_replayers(names):
        tap.case(False, text)
    print(f"# {'lines reached':<30} {'lines':>6} {'ran':>6}", flush=True)
    for source, lines, ran, percent in coverage_rows(measure()):
        tap.case(percent >= LINES_MIN, f"{source:<30} {lines:>6} {ran:>6} {percent:5.1f} %")
    return 1 if tap.failed else 0


if __name__ == "__main__":
    sys.exit(main())

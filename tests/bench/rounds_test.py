"""Whatever happens to one contestant, the others are measured."""
import sys
import textwrap

import pytest
from comparison import rounds
from comparison.contestants import spec
from comparison.environment import NotInstalled, variables
from comparison.machine import choose_cpus
from comparison.process import Failed, Process

PLAN = rounds.Plan(search_rounds=2, build_rounds=1, our_build_rounds=3, seconds=0)


class Quiet:
    def share(self):
        return 0.0


class Fake:
    """A contestant whose recall is effort / 100, and that fails where it is told to."""

    journal: list = []

    def __init__(self, wanted, fails_in=""):
        self.spec, self.fails_in, self.disturbance = wanted, fails_in, Quiet()

    def _do(self, what):
        Fake.journal.append((self.spec.name, what))
        if what == self.fails_in:
            raise Failed(f"'{what}': it is broken")

    def start(self):
        self._do("start")

    def build(self):
        self._do("build")
        return {"rows": 100, "seconds": 1.0, "decile_seconds": [], "memory_bytes": 1}

    def measure_recall(self, effort):
        self._do("recall")
        return {"recall": effort / 100, "visited": effort}

    def search(self, effort, seconds):
        self._do("search")
        return {"queries": 100, "seconds": effort}

    def search_one_by_one(self, effort):
        self._do("one")
        return {"queries": 1, "seconds": 1, "p50_ms": 1, "p99_ms": 2}

    def load(self):
        self._do("load")
        return {"seconds": 1, "disk_bytes": 1}

    def stop(self):
        Fake.journal.append((self.spec.name, "stop"))


class Data:
    count, dim = 100, 4


EFFORTS = (80, 90, 95, 99, 100)
OURS = spec("ours", "engine", EFFORTS)
GOOD = spec("good", "good", EFFORTS)
BAD = spec("bad", "bad", EFFORTS)
SPARE = spec("spare", "spare", EFFORTS, instead_of="bad")


def play(specs, fails_in=""):
    Fake.journal = []
    return rounds.measure(specs, lambda s: Fake(s, fails_in if s.name == "bad" else ""), PLAN,
                          Data, None)


@pytest.mark.parametrize("where", ["start", "build", "recall", "search", "one", "load"])
def test_one_that_fails_leaves_and_the_others_go_on(where):
    told = play([OURS, BAD, GOOD], where)
    assert "broken" in told["bad"].failed
    assert not told["good"].failed and not told["ours"].failed
    assert len(told["good"].points[95]["rates"]) == PLAN.search_rounds
    assert Fake.journal[-1][1] == "stop" and ("bad", "stop") in Fake.journal


def test_one_that_cannot_be_installed_is_reported(monkeypatch):
    def make(wanted):
        if wanted.name == "bad":
            raise NotInstalled("no such wheel")
        return Fake(wanted)

    told = rounds.measure([OURS, BAD], make, PLAN, Data, None)
    assert told["bad"].failed == "no such wheel" and told["ours"].loads


def test_a_substitute_plays_only_for_one_that_failed():
    assert play([OURS, BAD, SPARE], "build")["spare"].loads
    assert "spare" not in play([OURS, BAD, SPARE])


def test_ours_is_built_before_between_and_after_the_peers():
    assert rounds.in_turn(["ours", "a", "b"], {"ours": 3, "a": 1, "b": 1}) == [
        "ours", "ours", "a", "b", "ours"]
    names = rounds.in_turn(["ours", "a", "b", "c"], {"ours": 2, "a": 2, "b": 2, "c": 2})
    assert names == ["ours", "a", "b", "c"] * 2


def test_searches_go_round_robin():
    play([OURS, GOOD])
    searching = [name for name, what in Fake.journal if what == "search"]
    half = len(searching) // 2
    assert set(searching[:half]) == set(searching[half:]) == {"ours", "good"}


def child(code, tmp_path, *lines, limit=20):
    process = Process([sys.executable, "-c", textwrap.dedent(code)], tmp_path / "child",
                      choose_cpus(1)[0], variables(1))
    try:
        process.start(20)
        return [process.ask(line, limit) for line in lines]
    finally:
        process.stop()


READY = "import sys, time\nprint('{\"ready\": true}', flush=True)\n"


def test_silence_ends_at_the_time_limit(tmp_path):
    with pytest.raises(Failed, match="'build' took more than 0.5 s"):
        child(READY + "time.sleep(60)", tmp_path, "build", limit=0.5)


def test_a_crash_is_told_with_its_last_words(tmp_path):
    with pytest.raises(Failed, match="ended with status 3: no AVX here"):
        child(READY + "sys.stderr.write('no AVX here\\n'); sys.exit(3)", tmp_path, "build")


def test_a_refusal_is_told(tmp_path):
    with pytest.raises(Failed, match="'build': out of room"):
        child(READY + "sys.stdin.readline()\nprint('{\"error\": \"out of room\"}', flush=True)\n"
              "sys.stdin.readline()", tmp_path, "build")


def test_answers_come_one_for_each_line(tmp_path):
    told = child(READY + "for line in sys.stdin:\n"
                 "    print('{\"got\": %d}' % len(line.split()[0]), flush=True)\n"
                 "    if line == 'quit\\n': break", tmp_path, "a", "bb")
    assert told == [{"got": 1}, {"got": 2}]

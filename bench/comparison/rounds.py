"""The rounds of a comparison on one data set: builds, then searches, everybody in turn.

Each contestant's process stays alive after its last build, so that the search rounds go round
robin: a slow spell of the machine meets all of them. Where not all fit into memory at once they
take part in groups, and ours in every group.
"""
from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

from comparison import curve
from comparison.contestants import Contestant, Spec
from comparison.data import Prepared
from comparison.environment import NotInstalled, version_of
from comparison.machine import memory_bytes
from comparison.process import Failed

TARGETS = (0.90, 0.95, 0.99)
ENOUGH_RECALL = 0.993  # a curve need not go further
FLAT = 0.001  # nor where two more steps gave no more than this
# Of a contestant: its index, with some room for what a build takes besides; rows are shared.
BYTES_PER_ROW_BYTE = 2.5
MEMORY_SHARE = 0.6


@dataclasses.dataclass(frozen=True)
class Plan:
    search_rounds: int
    build_rounds: int  # of peers
    our_build_rounds: int  # cheap, so they can be before, between and after the peers'
    seconds: float  # of searching for each point and round


@dataclasses.dataclass
class Samples:
    """All that was measured of one contestant, in the order of measuring."""

    settings: dict = dataclasses.field(default_factory=dict)
    failed: str = ""  # where it stopped taking part, and why
    builds: list[dict] = dataclasses.field(default_factory=list)
    points: dict[float, dict] = dataclasses.field(default_factory=dict)  # by effort
    default_recall: float | None = None  # ours, at the settings nobody chose
    latencies: list[dict] = dataclasses.field(default_factory=list)
    loads: list[dict] = dataclasses.field(default_factory=list)
    foreign: list[float] = dataclasses.field(default_factory=list)  # share of CPU, each process


def in_turn(names: list[str], rounds: dict[str, int]) -> list[str]:
    """Each name so many times, spread evenly: one with three rounds begins, is in the middle, and
    ends, around those with one."""
    turns = [((number + 0.5) / rounds[name], position, name)
             for position, name in enumerate(names) for number in range(rounds[name])]
    return [name for _, _, name in sorted(turns)]


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


class Table:
    """The contestants of one group at the table."""

    def __init__(self, makers: dict[str, Callable[[], Contestant]], plan: Plan,
                 samples: dict[str, Samples]) -> None:
        self.makers, self.plan, self.samples = makers, plan, samples
        self.alive: dict[str, Contestant] = {}

    def attempt(self, name: str, action: Callable[[], None]) -> None:
        """Whatever fails is written down and leaves the table; the others go on."""
        try:
            action()
        except (Failed, NotInstalled, SystemExit, OSError) as error:
            self.samples[name].failed = str(error)
            say(f"{name}: {error}")
            self.dismiss(name)

    def dismiss(self, name: str) -> None:
        contestant = self.alive.pop(name, None)
        if contestant is not None:
            self.samples[name].foreign.append(contestant.disturbance.share())
            contestant.stop()

    def build_all(self, rounds: dict[str, int]) -> None:
        for name in in_turn(list(self.makers), rounds):
            if not self.samples[name].failed:
                self.dismiss(name)  # an earlier round's index
                self.attempt(name, lambda name=name: self._build(name))

    def _build(self, name: str) -> None:
        contestant = self.makers[name]()
        self.alive[name] = contestant
        contestant.start()
        told = contestant.build()
        self.samples[name].builds.append(told)
        say(f"{name}: {told['rows'] / told['seconds']:,.0f} rows/s")

    def calibrate_all(self) -> None:
        for name in list(self.alive):
            self.attempt(name, lambda name=name: self._calibrate(name))

    def _calibrate(self, name: str) -> None:
        contestant, samples = self.alive[name], self.samples[name]
        recalls: list[float] = []
        for effort in contestant.spec.efforts:
            told = contestant.measure_recall(effort)
            point = samples.points.setdefault(effort, {"rates": []})
            point["recall"], point["visited"] = told["recall"], told.get("visited")
            recalls.append(told["recall"])
            flat = len(recalls) > 2 and recalls[-1] - recalls[-3] < FLAT
            if told["recall"] >= ENOUGH_RECALL or flat:
                break
        if contestant.spec.module in ("engine", "server"):
            samples.default_recall = contestant.measure_recall(0)["recall"]
        say(f"{name}: recall " + ", ".join(f"{point['recall']:.3f} at {effort:g}"
                                           for effort, point in samples.points.items()))

    def search_all(self) -> None:
        for number in range(self.plan.search_rounds):
            say(f"search round {number + 1} of {self.plan.search_rounds}")
            for name in list(self.alive):
                self.attempt(name, lambda name=name: self._search(name))

    def _search(self, name: str) -> None:
        points = self.samples[name].points
        wanted = curve.needed({effort: point["recall"] for effort, point in points.items()},
                              TARGETS)
        for effort in wanted:
            told = self.alive[name].search(effort, self.plan.seconds)
            points[effort]["rates"].append(told["queries"] / told["seconds"])

    def finish_all(self) -> None:
        """Latencies at the first effort that has a recall of 0.95, and loading, one at a time."""
        for name in list(self.alive):
            self.attempt(name, lambda name=name: self._finish(name))
            self.dismiss(name)

    def _finish(self, name: str) -> None:
        samples = self.samples[name]
        reached = [effort for effort, point in sorted(samples.points.items())
                   if point["recall"] >= 0.95]
        effort = reached[0] if reached else max(samples.points)
        told = self.alive[name].search_one_by_one(effort)
        samples.latencies.append({"effort": effort, "recall": samples.points[effort]["recall"],
                                  "p50_ms": told["p50_ms"], "p99_ms": told["p99_ms"],
                                  "rate": told["queries"] / told["seconds"]})
        samples.loads.append(self.alive[name].load())

    def clear(self) -> None:
        for name in list(self.alive):
            self.dismiss(name)


def groups(specs: list[Spec], data: Prepared) -> list[list[Spec]]:
    """Those that may be in memory at the same time; ours in each group."""
    each = data.count * data.dim * 4 * BYTES_PER_ROW_BYTE
    room = max(int(memory_bytes() * MEMORY_SHARE / each) - 2, 1)  # ours twice: over gRPC, too
    ours = [spec for spec in specs if spec.ours]
    others = [spec for spec in specs if not spec.ours]
    return [ours + others[at:at + room] for at in range(0, max(len(others), 1), room)]


def measure(specs: list[Spec], make: Callable[[Spec], Contestant], plan: Plan, data: Prepared,
            server: Callable[[], Contestant] | None) -> dict[str, Samples]:
    """`server` makes ours over gRPC, which takes part in the first group."""
    samples: dict[str, Samples] = {}
    for number, group in enumerate(groups(specs, data)):
        makers: dict[str, Callable[[], Contestant]] = {}
        rounds: dict[str, int] = {}
        for spec in group:
            makers[spec.name] = lambda spec=spec: make(spec)
            ours = plan.our_build_rounds if number == 0 else 1
            rounds[spec.name] = ours if spec.ours else plan.build_rounds
            about = {"version": version_of(spec.module), **dict(spec.settings)}
            samples.setdefault(spec.name, Samples(about))
        if server is not None and number == 0:
            name = "omendb-server over gRPC"
            makers[name], rounds[name] = server, plan.our_build_rounds
            samples.setdefault(name, Samples())
        table = Table(makers, plan, samples)
        try:
            _play(table, group, rounds)
        finally:
            table.clear()
    return samples


def _play(table: Table, group: list[Spec], rounds: dict[str, int]) -> None:
    substitutes = {spec.name: spec.instead_of for spec in group if spec.instead_of}
    first = {name: 0 if name in substitutes else count for name, count in rounds.items()}
    table.build_all(first)
    needed = {name: count if table.samples[who].failed else 0
              for name, count in rounds.items() if (who := substitutes.get(name)) is not None}
    table.build_all({**dict.fromkeys(rounds, 0), **needed})
    for name, count in needed.items():
        if count == 0:
            del table.samples[name]
    table.calibrate_all()
    table.search_all()
    table.finish_all()

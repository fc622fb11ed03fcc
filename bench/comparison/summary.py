"""From samples to figures: medians with min and max, readings of the curves, the last line."""
from __future__ import annotations

import statistics

from comparison import curve
from comparison.rounds import TARGETS, Samples

OVER_GRPC = "omendb-server over gRPC"


def spread(values: list[float]) -> dict | None:
    if not values:
        return None
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def decile_rates(build: dict) -> list[float]:
    """Rows/s of each tenth. Watermarks that move in steps give 0 to a tenth that ended with the
    one before it, and the step's whole rate belongs to all of its tenths: they get its mean."""
    each = build["rows"] / len(build["decile_seconds"]) if build["decile_seconds"] else 0
    rates: list[float] = []
    before, waiting = 0.0, 0
    for at, second in enumerate(build["decile_seconds"]):
        waiting += 1
        last = at + 1 == len(build["decile_seconds"])
        if not last and build["decile_seconds"][at + 1] <= second:
            continue
        rates += [waiting * each / (second - before) if second > before else 0.0] * waiting
        before, waiting = second, 0
    return rates


def read_curve(samples: Samples, target: float) -> dict | None:
    """QPS at a recall: from the medians of each point, with those of the slowest and the fastest
    rounds beside it; and the distances for it, in the same way."""
    measured = [point for point in samples.points.values() if point["rates"]]
    told = {}
    for key, pick in (("median", statistics.median), ("min", min), ("max", max)):
        reading = curve.rate_at([curve.Point(point["recall"], pick(point["rates"]))
                                 for point in measured], target)
        if reading is None:
            return None
        told[key] = reading.rate
        told["at_least"] = reading.at_least
    if all(point["visited"] for point in measured):
        # Distances grow where rates fall: their reciprocal has the shape that a curve wants.
        reading = curve.rate_at([curve.Point(point["recall"], 1 / point["visited"])
                                 for point in measured], target)
        told["distances"] = 1 / reading.rate
    return told


def summarise(samples: Samples) -> dict:
    builds = samples.builds
    tenths = [decile_rates(build) for build in builds if build["decile_seconds"]]
    points = [{"effort": effort, "recall": point["recall"], "visited": point["visited"],
               "rate": spread(point["rates"])}
              for effort, point in sorted(samples.points.items())]
    return {
        "settings": samples.settings,
        "failed": samples.failed or None,
        "build": spread([build["rows"] / build["seconds"] for build in builds]),
        "build_durable": spread([build["rows"] / build["durable_seconds"] for build in builds
                                 if build.get("durable_seconds")]),
        "deciles": [statistics.median(rates) for rates in zip(*tenths, strict=True)],
        "memory_bytes": spread([build["memory_bytes"] for build in builds]),
        "points": points,
        "at": {str(target): read_curve(samples, target) for target in TARGETS},
        "default_recall": samples.default_recall,
        "latency": samples.latencies[-1] if samples.latencies else None,
        "load": samples.loads[-1] if samples.loads else None,
        "foreign_share": max(samples.foreign, default=0.0),
    }


def rate_of(contestant: dict | None, what: str) -> float | None:
    """The median of "build" or of a recall's reading; None where it was not measured."""
    if not contestant:
        return None
    reading = contestant["build"] if what == "build" else contestant["at"][what]
    return reading["median"] if reading else None


def key_figures(contestants: dict[str, dict], ours: str, hnswlib: str) -> dict[str, float | None]:
    """What the last line says and the history keeps. Ratios are ours to theirs."""
    peers = {name: figures for name, figures in contestants.items()
             if name not in (ours, OVER_GRPC)}
    told: dict[str, float | None] = {}
    mine = contestants.get(ours)
    told["recall"] = mine["default_recall"] if mine else None
    for label, what in (("build", "build"), ("qps95", "0.95"), ("qps99", "0.99")):
        our_rate = rate_of(mine, what)
        theirs = [rate for figures in peers.values() if (rate := rate_of(figures, what))]
        known = rate_of(peers.get(hnswlib), what)
        told[f"{label}_vs_hnswlib"] = our_rate / known if our_rate and known else None
        told[f"{label}_vs_best"] = our_rate / max(theirs) if our_rate and theirs else None
    told["grpc_build"] = rate_of(contestants.get(OVER_GRPC), "build")
    told["grpc_qps95"] = rate_of(contestants.get(OVER_GRPC), "0.95")
    return told


def last_line(figures: dict[str, float | None]) -> str:
    def shown(name: str, value: float | None) -> str:
        if value is None:
            return "none"
        if name == "recall":
            return f"{value:.4f}"
        return f"{value:.0f}" if name.startswith("grpc") else f"{value:.2f}"

    return " ".join(f"{name}={shown(name, value)}" for name, value in figures.items())

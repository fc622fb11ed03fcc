"""Recall and rate: a curve of measured points, and what it says at a recall that was not measured.

Between two neighbouring points the logarithm of the rate goes in a straight line with the
logarithm of 1 - recall: work grows as a power of what is still missed, so a straight line in
recall itself would be too kind between 0.95 and 0.99.
"""
from __future__ import annotations

import dataclasses
import math

# One missed hit in 100,000 answers: keeps the logarithm of a perfect recall finite.
LEAST_MISSED = 1e-5


@dataclasses.dataclass(frozen=True)
class Point:
    recall: float
    rate: float


@dataclasses.dataclass(frozen=True)
class Reading:
    rate: float
    at_least: bool = False  # even the fastest measured point has a higher recall


def missed(recall: float) -> float:
    return math.log(max(1 - recall, LEAST_MISSED))


def frontier(points: list[Point]) -> list[Point]:
    """By rising recall and falling rate: without points that another one beats in both."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda p: (-p.recall, -p.rate)):
        if not kept or point.rate > kept[-1].rate:
            kept.append(point)
    return kept[::-1]


def rate_at(points: list[Point], recall: float) -> Reading | None:
    """None: no point reaches the recall."""
    line = frontier(points)
    above = next((i for i, point in enumerate(line) if point.recall >= recall), None)
    if above is None:
        return None
    if above == 0:
        return Reading(line[0].rate, at_least=line[0].recall > recall)
    low, high = line[above - 1], line[above]
    width = missed(low.recall) - missed(high.recall)
    share = (missed(low.recall) - missed(recall)) / width if width > 0 else 1.0
    rate = math.exp((1 - share) * math.log(low.rate) + share * math.log(high.rate))
    return Reading(rate)


def needed(points: dict[float, float], targets: tuple[float, ...]) -> list[float]:
    """Of measured {effort: recall}, the efforts that surround the targets, in rising order."""
    efforts = sorted(points)
    kept = set()
    for target in targets:
        above = next((i for i, effort in enumerate(efforts) if points[effort] >= target), None)
        if above is None:
            kept.add(efforts[-1])
        else:
            kept.update(efforts[max(above - 1, 0):above + 1])
    return sorted(kept)

"""What a curve says between its measured points, and what it refuses to say."""
import math

import pytest
from comparison.curve import Point, needed, rate_at


def test_a_measured_recall_reads_as_it_was_measured():
    points = [Point(0.90, 9000), Point(0.95, 4000), Point(0.99, 1000)]
    assert rate_at(points, 0.95).rate == pytest.approx(4000)
    assert not rate_at(points, 0.95).at_least


def test_between_points_the_rate_follows_a_power_of_what_is_missed():
    # rate = 100,000 * missed ** 1.5, an exact power law, is read without error.
    points = [Point(1 - missed, 1e5 * missed**1.5) for missed in (0.2, 0.08, 0.02, 0.005)]
    for missed in (0.1, 0.05, 0.01):
        assert rate_at(points, 1 - missed).rate == pytest.approx(1e5 * missed**1.5, rel=1e-9)


def test_the_reading_lies_between_its_neighbours():
    rate = rate_at([Point(0.94, 5000), Point(0.97, 3000)], 0.95).rate
    assert 3000 < rate < 5000


def test_a_recall_that_nobody_reached_has_no_rate():
    assert rate_at([Point(0.90, 9000), Point(0.94, 100)], 0.95) is None
    assert rate_at([], 0.95) is None


def test_below_the_first_point_the_rate_is_a_lower_bound():
    reading = rate_at([Point(0.97, 3000), Point(0.99, 1000)], 0.95)
    assert (reading.rate, reading.at_least) == (3000, True)


def test_points_that_another_beats_in_both_do_not_bend_the_curve():
    good = [Point(0.90, 9000), Point(0.96, 4000)]
    assert rate_at([*good, Point(0.93, 1000)], 0.95) == rate_at(good, 0.95)


def test_a_perfect_recall_is_no_infinity():
    rate = rate_at([Point(0.98, 3000), Point(1.0, 1000)], 0.99).rate
    assert math.isfinite(rate) and 1000 < rate < 3000


def test_only_efforts_around_the_targets_are_searched_again():
    points = {10: 0.80, 16: 0.88, 32: 0.94, 64: 0.97, 128: 0.985, 256: 0.995, 512: 0.999}
    assert needed(points, (0.90, 0.95, 0.99)) == [16, 32, 64, 128, 256]
    assert needed({10: 0.5, 16: 0.6}, (0.90,)) == [16]

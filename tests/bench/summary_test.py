"""From samples to the figures that are quoted."""
import pytest
from comparison.rounds import Samples
from comparison.summary import decile_rates, key_figures, last_line, summarise


def samples(build_seconds, points, module_recall=None):
    made = Samples()
    made.builds = [{"rows": 1000, "seconds": s, "memory_bytes": 10, "index_bytes": None,
                    "decile_seconds": []} for s in build_seconds]
    made.points = {effort: {"recall": recall, "visited": None, "rates": rates}
                   for effort, (recall, rates) in points.items()}
    made.default_recall = module_recall
    return summarise(made)


def two():
    ours = samples([0.1, 0.2, 0.3], {10: (0.90, [900.0, 1000.0, 1100.0]), 20: (0.95, [500.0]),
                                     40: (0.99, [200.0])}, 0.987)
    peer = samples([1.0], {10: (0.90, [400.0]), 20: (0.95, [250.0])})
    return {"ours": ours, "hnswlib": peer}


def test_medians_come_with_min_and_max():
    build = two()["ours"]["build"]
    assert build == {"median": 5000.0, "min": pytest.approx(1000 / 0.3), "max": 10000.0}
    assert two()["ours"]["at"]["0.9"] == {"median": 1000.0, "min": 900.0, "max": 1100.0,
                                          "at_least": False}


def test_ratios_are_ours_to_theirs():
    figures = key_figures(two(), "ours", "hnswlib")
    assert figures["recall"] == 0.987
    assert figures["build_vs_hnswlib"] == pytest.approx(5.0)
    assert figures["qps95_vs_hnswlib"] == pytest.approx(2.0)


def test_the_best_peer_is_chosen_for_each_figure_alone():
    everybody = two()
    everybody["fast builder"] = samples([0.25], {10: (0.90, [100.0])})
    figures = key_figures(everybody, "ours", "hnswlib")
    assert figures["build_vs_best"] == pytest.approx(5000 / 4000)
    assert figures["qps95_vs_best"] == pytest.approx(2.0)


def test_what_no_peer_reached_has_no_ratio():
    figures = key_figures(two(), "ours", "hnswlib")
    assert figures["qps99_vs_hnswlib"] is None and figures["qps99_vs_best"] is None


def test_ours_over_grpc_is_no_peer():
    everybody = two()
    everybody["omendb-server over gRPC"] = samples([0.01], {10: (0.95, [9999.0])})
    figures = key_figures(everybody, "ours", "hnswlib")
    assert figures["build_vs_best"] == pytest.approx(5.0)
    assert (figures["grpc_build"], figures["grpc_qps95"]) == (100000.0, 9999.0)


def test_the_last_line_has_every_figure_in_its_order():
    line = last_line(key_figures(two(), "ours", "hnswlib"))
    assert line == ("recall=0.9870 build_vs_hnswlib=5.00 build_vs_best=5.00 qps95_vs_hnswlib=2.00"
                    " qps95_vs_best=2.00 qps99_vs_hnswlib=none qps99_vs_best=none grpc_build=none"
                    " grpc_qps95=none")


def test_tenths_have_rates_of_their_own():
    assert decile_rates({"rows": 100, "decile_seconds": [1, 2, 4]}) == pytest.approx(
        [100 / 3, 100 / 3, 100 / 6])


def test_tenths_that_end_together_share_the_rate_of_their_step():
    # Watermarks move by epochs: the first two tenths became searchable at the same moment.
    assert decile_rates({"rows": 100, "decile_seconds": [2, 2, 4, 4]}) == pytest.approx([25.0] * 4)

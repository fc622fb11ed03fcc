"""A report can be read, says what failed, and does not hide that figures are worthless."""
import json
from xml.etree import ElementTree

from comparison import plot, report
from comparison.rounds import Samples
from comparison.summary import key_figures, summarise

SVG = "{http://www.w3.org/2000/svg}"


def contestant(rate, failed="", foreign=0.0):
    made = Samples(failed=failed, foreign=[foreign])
    if rate:
        made.builds = [{"rows": 1000, "seconds": 1000 / rate, "memory_bytes": 1 << 20,
                        "index_bytes": None, "decile_seconds": [0.1 * i for i in range(1, 11)]}]
        made.points = {e: {"recall": r, "visited": 100 * e, "rates": [rate / e]}
                       for e, r in ((10, 0.88), (20, 0.93), (40, 0.96), (80, 0.995))}
    return summarise(made)


def outcome(foreign=0.0):
    def result(count, growth):
        told = {"omendb-server": contestant(5000, foreign=foreign), "hnswlib": contestant(1000),
                "SVS": contestant(0, "'build': not on this CPU")}
        return {"data": {"name": f"384-{count}", "source": "made up", "count": count, "dim": 384},
                "threads": 1, "growth": growth, "contestants": told,
                "key_figures": key_figures(told, "omendb-server", "hnswlib")}

    latency = {"p50_ms": 1.0, "p99_ms": 2.0}
    return {"time": "2026-01-01T00:00:00Z", "commit": "abc", "changed": False,
            "command": "bench/compare", "machine": {"cpu": "A CPU", "features": ["avx2"],
                                                    "cpus": 2, "memory_gib": 8, "kernel": "6",
                                                    "system": "Debian"},
            "results": [result(1000, False), result(500, True), result(1000, True)],
            "mixed": [{"wanted_rate": r, "rate": r or 9000, "durable": latency,
                       "searchable": latency, "search": latency} for r in (1000, 0)]}


def test_the_report_has_figures_plots_and_all_of_it_as_json(tmp_path):
    text = report.write(outcome(), tmp_path).read_text()
    assert "| omendb-server | 5,000 (5,000–5,000) |" in text
    assert json.loads((tmp_path / "compare.json").read_text())["commit"] == "abc"
    plots = {path.name for path in tmp_path.glob("*.svg")}
    assert {"recall-384-1000-1t.svg", "deciles-384-1000-1t.svg", "growth-build.svg",
            "growth-search.svg", "mixed.svg"} == plots
    for name in plots:
        assert f"]({name})" in text
        assert ElementTree.parse(tmp_path / name).getroot().tag == f"{SVG}svg"


def test_a_peer_that_failed_is_named_with_its_reason(tmp_path):
    text = report.write(outcome(), tmp_path).read_text()
    assert "* SVS failed: 'build': not on this CPU" in text
    assert "| SVS |" not in text


def test_a_busy_machine_makes_figures_invalid(tmp_path):
    assert "Not valid as figures" not in report.write(outcome(), tmp_path).read_text()
    assert "Not valid as figures:** somebody else" in report.write(outcome(foreign=0.2),
                                                                   tmp_path).read_text()


def test_a_line_has_a_mark_for_each_point_inside_the_frame():
    series = {"a": [(0.9, 100.0), (0.95, 50.0)], "b <&>": [(0.92, 5000.0)], "none": []}
    root = ElementTree.fromstring(plot.line_chart("t", plot.Axis("x"), plot.Axis("y", log=True),
                                                  series))
    marks = root.findall(f"{SVG}circle")
    assert len(marks) == 3 and len(root.findall(f"{SVG}polyline")) == 2
    for mark in marks:
        assert plot.LEFT <= float(mark.get("cx")) <= plot.WIDTH - plot.RIGHT
        assert plot.TOP <= float(mark.get("cy")) <= plot.HEIGHT - plot.BOTTOM
    # Higher values are further up.
    assert float(marks[2].get("cy")) < float(marks[0].get("cy")) < float(marks[1].get("cy"))


def test_nothing_to_draw_is_no_chart():
    assert plot.line_chart("t", plot.Axis("x"), plot.Axis("y"), {"a": []}) == ""

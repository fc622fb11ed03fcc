"""What a comparison leaves behind: compare.json with everything, compare.md for reading, plots."""
from __future__ import annotations

import json
import pathlib

from comparison import plot
from comparison.rounds import TARGETS
from comparison.summary import last_line

# Beyond this share of foreign CPU time a figure is not worth keeping.
QUIET = 0.05
MIB = 2**20


def rate(figures: dict | None) -> str:
    if not figures:
        return "–"
    mark = "≥ " if figures.get("at_least") else ""
    return f"{mark}{figures['median']:,.0f} ({figures['min']:,.0f}–{figures['max']:,.0f})"


def number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def at_95(figures: dict, what: str) -> float | None:
    reading = figures["at"][str(TARGETS[1])]
    return reading.get(what) if reading else None


def row_of(name: str, figures: dict) -> list[str]:
    latency, load = figures["latency"] or {}, figures["load"] or {}
    memory = figures["memory_bytes"]
    disk = load.get("disk_bytes")
    return [name, rate(figures["build"]), *(rate(figures["at"][str(t)]) for t in TARGETS),
            number(at_95(figures, "distances"), ",.0f"), number(latency.get("p50_ms"), ".3f"),
            number(latency.get("p99_ms"), ".3f"),
            number(memory["median"] / MIB if memory and memory["median"] else None, ",.0f"),
            number(disk / MIB if disk else None, ",.0f"), number(load.get("seconds"), ".2f"),
            f"{figures['foreign_share']:.0%}"]


HEADINGS = ["", "build, rows/s", *(f"queries/s at {target:.2f}" for target in TARGETS),
            "distances at 0.95", "p50 ms", "p99 ms", "memory MiB", "disk MiB", "load s", "foreign"]


def table(headings: list[str], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings),
            *("| " + " | ".join(row) + " |" for row in rows), ""]


def shown_settings(settings: dict) -> list[str]:
    return [value if key == "version" else f"{key}={value}" for key, value in settings.items()]


def section(result: dict) -> list[str]:
    data = result["data"]
    lines = [f"## {data['count']:,} × {data['dim']}, {result['threads']} thread"
             f"{'' if result['threads'] == 1 else 's'}", "", f"Data: {data['source']}.", ""]
    taking_part = {name: figures for name, figures in result["contestants"].items()
                   if figures["build"]}
    lines += table(HEADINGS, [row_of(name, figures) for name, figures in taking_part.items()])
    failed = {name: figures["failed"] for name, figures in result["contestants"].items()
              if figures["failed"]}
    lines += [f"* {name} failed: {why}" for name, why in failed.items()]
    told = [f"{name} ({', '.join(word for word in shown_settings(figures['settings']) if word)})"
            for name, figures in taking_part.items() if any(figures["settings"].values())]
    if told:
        lines += ["", f"Peers: {'; '.join(told)}."]
    noisy = [name for name, figures in taking_part.items() if figures["foreign_share"] > QUIET]
    if noisy:
        lines += ["", "**Not valid as figures:** somebody else used more than"
                  f" {QUIET:.0%} of the measured CPUs while these ran: {', '.join(noisy)}."]
    lines += ["", f"`{last_line(result['key_figures'])}`", ""]
    return lines


def mixed_section(mixed: list[dict]) -> list[str]:
    rows = [[f"{entry['wanted_rate']:,.0f}" if entry["wanted_rate"] else "full",
             f"{entry['rate']:,.0f}",
             *(f"{entry[what][part]:.2f}" for what in ("durable", "searchable", "search")
               for part in ("p50_ms", "p99_ms"))] for entry in mixed]
    headings = ["wanted rows/s", "rows/s", "durable p50 ms", "p99", "searchable p50 ms", "p99",
                "search p50 ms", "p99"]
    return ["## Inserting while searching, over gRPC", "",
            "A chunk's time until it is durable and searchable, and a search's, both from when it"
            " was due.", "", *table(headings, rows)]


def markdown(outcome: dict, plots: list[str]) -> str:
    machine = outcome["machine"]
    lines = ["# Comparison", "",
             f"{outcome['time']}, commit {outcome['commit']}"
             f"{' with changes' if outcome['changed'] else ''}; {machine['cpu']},"
             f" {machine['cpus']} CPUs ({', '.join(machine['features'])}),"
             f" {machine['memory_gib']} GiB, {machine['system']}, Linux {machine['kernel']}.", "",
             f"`{outcome['command']}`", "",
             "Medians (min–max) of interleaved rounds. Builds: one chunk of at most 500 rows after"
             " the other through the public call, until every row is searchable. Queries/s: read"
             " off the curve at recall@10. p50, p99: one query a call, at the first setting with a"
             " recall of 0.95. foreign: share of the measured CPUs that others used.", ""]
    for result in outcome["results"]:
        lines += section(result)
    if outcome["mixed"]:
        lines += mixed_section(outcome["mixed"])
    lines += [f"![{name}]({name})" for name in plots]
    return "\n".join(lines) + "\n"


# ---- plots ----------------------------------------------------------------------------------


def recall_plot(result: dict) -> str:
    series = {name: [(point["recall"], point["rate"]["median"]) for point in figures["points"]
                     if point["rate"] and point["recall"] > 0.8]
              for name, figures in result["contestants"].items()}
    data = result["data"]
    return plot.line_chart(f"Recall and queries/s, {data['count']:,} × {data['dim']}",
                           plot.Axis("recall@10"), plot.Axis("queries/s", log=True), series)


def decile_plot(result: dict) -> str:
    series = {name: [(tenth, value) for tenth, value in enumerate(figures["deciles"], 1)
                     if value > 0]
              for name, figures in result["contestants"].items()}
    data = result["data"]
    return plot.line_chart(f"Build rate by tenth of the load, {data['count']:,} × {data['dim']}",
                           plot.Axis("tenth of the rows", ticks=tuple(range(1, 11))),
                           plot.Axis("rows/s", log=True), series)


def collected(results: list[dict], x: str, what: str) -> plot.Series:
    """A line for each contestant through several results, by dimension or by size."""
    series: plot.Series = {}
    for result in sorted(results, key=lambda result: result["data"][x]):
        for name, figures in result["contestants"].items():
            reading = figures["build"] if what == "build" else figures["at"][what]
            if reading:
                series.setdefault(name, []).append((result["data"][x], reading["median"]))
    return series


def dimension_plot(results: list[dict]) -> str:
    ticks = tuple(sorted({result["data"]["dim"] for result in results}))
    return plot.line_chart("Build rate by dimension",
                           plot.Axis("dimension", log=True, ticks=ticks),
                           plot.Axis("rows/s", log=True), collected(results, "dim", "build"))


def growth_plots(results: list[dict]) -> dict[str, str]:
    ticks = tuple(sorted({result["data"]["count"] for result in results}))
    axis = plot.Axis("rows", log=True, ticks=ticks)
    return {"growth-build.svg": plot.line_chart(
                "Build rate as the collection grows", axis, plot.Axis("rows/s", log=True),
                collected(results, "count", "build")),
            "growth-search.svg": plot.line_chart(
                "Queries/s at recall 0.95 as the collection grows", axis,
                plot.Axis("queries/s", log=True), collected(results, "count", "0.95"))}


def mixed_plot(mixed: list[dict]) -> str:
    series = {f"{what} {part[:3]}": [(entry["rate"], entry[what][part]) for entry in mixed
                                     if entry[what][part] > 0]
              for what in ("durable", "searchable", "search") for part in ("p50_ms", "p99_ms")}
    return plot.line_chart("Latency while inserting and searching", plot.Axis("rows/s inserted"),
                           plot.Axis("ms", log=True), series)


def write(outcome: dict, folder: pathlib.Path) -> pathlib.Path:
    """`outcome` has time, commit, changed, command, machine, results and mixed; a result has
    data, threads, growth (true: a part of the growth alone), contestants and key_figures."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(outcome, indent=1, ensure_ascii=False)
    (folder / "compare.json").write_text(text + "\n", encoding="utf-8")
    charts: dict[str, str] = {}
    for result in outcome["results"]:
        if result["growth"]:
            continue
        label = f"{result['data']['name']}-{result['threads']}t"
        charts[f"recall-{label}.svg"] = recall_plot(result)
        charts[f"deciles-{label}.svg"] = decile_plot(result)
    first = outcome["results"][0]["threads"] if outcome["results"] else 1
    whole = [r for r in outcome["results"] if not r["growth"] and r["threads"] == first]
    if len({result["data"]["dim"] for result in whole}) > 1:
        charts["dimensions.svg"] = dimension_plot(whole)
    growing = [result for result in outcome["results"] if result["growth"]]
    if growing:
        charts.update(growth_plots(growing))
    if outcome["mixed"]:
        charts["mixed.svg"] = mixed_plot(outcome["mixed"])
    charts = {name: chart for name, chart in charts.items() if chart}
    for name, chart in charts.items():
        (folder / name).write_text(chart, encoding="utf-8")
    path = folder / "compare.md"
    path.write_text(markdown(outcome, sorted(charts)), encoding="utf-8")
    return path

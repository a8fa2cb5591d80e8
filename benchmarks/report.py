"""Write the figures into docs/performance.md: ``python -m benchmarks.report``.

Each benchmark leaves its figures as JSON in ``benchmarks/results``; the tables between the markers
of the page are made from them, so that no number is typed by hand. A table whose figures are not
there stays as it is.
"""

import argparse
import json
import re
from collections.abc import Callable
from typing import Any

from benchmarks.goals import GOALS
from benchmarks.stage import FOLDER, RESULTS

PAGE = FOLDER.parent / "docs" / "performance.md"
Figures = dict[str, Any]
# How much slower a small Raspberry Pi is taken to be; an assumption, and the page says so.
SLOWER = 10


def grid(heads: list[str], rows: list[list[str]]) -> str:
    """Make a table in Markdown, the first column to the left."""
    lines = [heads, ["---", *["--:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def throughput(figures: Figures) -> str:
    """Tabulate both sizes of frame."""
    heads = ["", "messages/s", "lowest to highest", "to the floor", "observations/s", "CPU µs"]
    parts = []
    for each, by_name in figures["frames"].items():
        rows = [
            [
                name,
                f"{row['messages_s']['median']:,.0f}",
                f"{row['messages_s']['low']:,.0f} to {row['messages_s']['high']:,.0f}",
                f"{row['messages_to_floor']['median']:.2f}",
                f"{row['observations_s']['median']:,.0f}",
                f"{row['cpu_us']['median']:.1f}",
            ]
            for name, row in by_name.items()
        ]
        records = "record" if each == "1" else "records"
        parts.append(f"{each} {records} a frame:\n\n{grid(heads, rows)}")
    return "\n\n".join(parts)


def latency(figures: Figures) -> str:
    """Tabulate milliseconds."""
    heads = ["ms", "median", "p99", "median above the C floor", "p99 above it"]
    keys = ("median_ms", "p99_ms", "median_above_floor_ms", "p99_above_floor_ms")
    rows = figures["contenders"].items()
    return grid(heads, [[name, *(f"{row[key]:.2f}" for key in keys)] for name, row in rows])


def commands(figures: Figures) -> str:
    """Tabulate milliseconds and the gateway's ratios."""
    heads = ["ms", "median", "p99", "the gateway's median to it", "p99"]
    keys = ("median_ms", "p99_ms", "gateway_to_median", "gateway_to_p99")
    rows = figures["contenders"].items()
    return grid(heads, [[name, *(f"{row[key]:.2f}" for key in keys)] for name, row in rows])


def saturated(figures: Figures) -> str:
    """Tabulate milliseconds by load."""
    kinds = ("command", "echo", "report", "behind")
    rows = [
        [
            name,
            *(_shown(row.get(f"{kind}{end}")) for kind in kinds for end in ("_ms", "_p99_ms")),
            f"{row['longest_step_ms']:.1f}",
        ]
        for name, row in figures["scenes"].items()
    ]
    named = ("command", "the broker alone", "report", "behind its value")
    heads = ["ms", *(head for name in named for head in (name, "p99")), "longest step"]
    return grid(heads, rows)


def _shown(milliseconds: float | None) -> str:
    """Return a figure of a table; nothing where it was not measured."""
    return "" if milliseconds is None else f"{milliseconds:,.1f}"


def replay(figures: Figures) -> str:
    """Tabulate seconds."""
    rows = [
        [
            name,
            f"{row['seconds']['median']:.2f}",
            f"{row['seconds']['low']:.2f} to {row['seconds']['high']:.2f}",
            f"{row['to_floor']['median']:.2f}",
        ]
        for name, row in figures["contenders"].items()
    ]
    load = figures["load"]
    said = f"{load['messages']:,} messages of {load['payload_bytes']} bytes on average:"
    return f"{said}\n\n{grid(['s', 'median', 'lowest to highest', 'to the Python floor'], rows)}"


def fleet(figures: Figures) -> str:
    """Tabulate the cost by the number of chargers."""
    rows = [
        [
            f"{int(size):,}",
            f"{row['cost_us']['median']:.1f}",
            f"{row['to_smallest']['median']:.2f}",
            f"{row['kib_per_charger']['median']:.1f}",
        ]
        for size, row in figures["fleets"].items()
    ]
    return grid(["chargers", "CPU µs", "to the smallest fleet", "KiB a charger"], rows)


def memory(figures: Figures) -> str:
    """Tabulate MiB, and say how it grew."""
    rows = [[name, f"{mib:.1f}"] for name, mib in figures["resident_mib"].items()]
    if "steps_mib" not in figures:
        return grid(["resident after one round", "MiB"], rows)
    steps = figures["steps_mib"]
    said = (
        f"The gateway while {figures['observations']:,} observations pass: {steps[1]:.1f} MiB after"
        f" a tenth of them, {steps[-1]:.1f} MiB after all, {figures['growth_mib']:+.2f} MiB."
    )
    return f"{grid(['resident after one round', 'MiB'], rows)}\n\n{said}"


def start(figures: Figures) -> str:
    """Tabulate seconds."""
    keys = ("import_s", "online_s", "to_import", "connected_s", "resident_mib")
    rows = [
        [f"{size} chargers", *(f"{row[key]['median']:.2f}" for key in keys)]
        for size, row in figures["starts"].items()
    ]
    heads = ["", "bare import, s", "to `online`, s", "to the import", "to `connected`, s", "MiB"]
    return grid(heads, rows)


def drain(figures: Figures) -> str:
    """Say both rates."""
    rates = figures["reports_s"]
    return (
        f"A bare publisher: {rates['bare']['median']:,.0f} reports/s; the gateway:"
        f" {rates['gateway']['median']:,.0f}, {figures['to_bare']['median']:.2f} of it."
    )


def raspberry(figures: Figures) -> str:
    """Derive what a slower machine does, from processor time alone."""
    cpu_us = {
        name: row["cpu_us"]["median"] * SLOWER
        for name, row in figures["frames"]["50"].items()
        if name.startswith("gateway")
    }
    rows = [
        [name, f"{us:,.0f}", f"{1e6 / us:,.0f}", f"{50 * 100 * us / 1e6:.1f}"]
        for name, us in cpu_us.items()
    ]
    return grid(["derived", "CPU µs", "observations/s", "s for a replay of 50 chargers"], rows)


def idle(figures: Figures) -> str:
    """Say what nothing costs."""
    return (
        f"{figures['wake_ups_s']:.2f} wake-ups a second, {figures['cpu_s_an_hour']:.2f} s of"
        " processor time an hour."
    )


def counts(figures: Figures) -> str:
    """Say what was counted."""
    return (
        f"Python calls in the core: {figures['observation_calls']:.0f} for one power observation,"
        f" {figures['command_calls']:.0f} for one successful command,"
        f" {figures['tick_calls']:.0f} for a `Tick` with nothing due. A day of 40"
        f" sessions and 20 commands sends {figures['written_mb_a_day']:.2f} MB to the disk, in"
        f" {figures['syncs_a_day']:.0f} syncs. The log of an hour in the worst outage has"
        f" {figures['log_kb_an_hour']:.1f} KB."
    )


def recording(figures: Figures) -> str:
    """Tabulate what the recorder costs."""
    rows = [
        (f"processor time of the core, {each} a frame, to without", one)
        for each, one in figures["in_process"].items()
    ]
    rows.append(("resident above a gateway without, MiB", figures["memory_mib"]))
    rows += [
        (f"two gateways, {name} to without", one)
        for name, one in figures.get("gateways", {}).items()
    ]
    table = [
        [name, *(f"{one[key]:.3f}" for key in ("median", "low", "high"))] for name, one in rows
    ]
    return grid(["recorder", "median", "lowest", "highest"], table)


def goals(results: dict[str, Figures]) -> str:
    """Tabulate what is wanted, what is, and whether that is enough."""
    heads = ["figure", "was", "the revision before", "measured", "goal", "met"]
    return grid(heads, [goal.row(results) for goal in GOALS])


TABLES: dict[str, Callable[[Figures], str]] = {
    "throughput": throughput,
    "throughput-window-20": throughput,
    "raspberry": raspberry,
    "latency": latency,
    "commands": commands,
    "saturated": saturated,
    "replay": replay,
    "fleet": fleet,
    "memory": memory,
    "start": start,
    "goals": goals,
    "drain": drain,
    "idle": idle,
    "counts": counts,
    "recording": recording,
}


def filled(page: str, results: dict[str, Figures]) -> str:
    """Put the tables that there are figures for between their markers."""
    for name, made in TABLES.items():
        if name not in results:
            continue
        marked = re.compile(f"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        table = f"\n{made(results[name])}\n\n"
        page = marked.sub(lambda found, table=table: found[1] + table + found[2], page)
    return page


def main() -> None:
    """Print the goals and what was reached; rewrite the page unless ``--print`` is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--print", action="store_true", help="leave the page alone")
    options = parser.parse_args()
    files = {path.stem: path for path in RESULTS.glob("*.json")}
    results = {name: json.loads(path.read_text()) for name, path in files.items()}
    if "throughput" in results:
        results["raspberry"] = results["throughput"]
    results["goals"] = dict(results)
    print(goals(results))
    if options.print:
        return
    PAGE.write_text(filled(PAGE.read_text(), results))
    print(f"{PAGE}: {', '.join(sorted(results.keys() & TABLES.keys()))}")


if __name__ == "__main__":
    main()

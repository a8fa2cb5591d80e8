"""Two earlier revisions beside each other: ``python -m benchmarks.revisions TREE TREE``.

Each is a working tree (``git worktree add``); ``--name`` leaves out what is not named. In turn, the
order changed each time: commands from published to accepted, observations with 50 and with 1 a
frame, start to online, and resident memory with everything on. Prints the second tree's figures as
ratios to the first's, within each turn. About ten minutes.
"""

import asyncio
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import commands, contenders, memory, stage, start, throughput
from benchmarks.hub import Fleet
from tests.mosquitto import Mosquitto

Figures = dict[str, float]


def of_commands() -> Figures:
    """Return the milliseconds of commands."""
    took = commands.run(40, stage.before())["charger"]
    return {
        "command, median ms": 1e3 * statistics.median(took),
        "command, p99 ms": 1e3 * stage.percentile(took, 0.99),
    }


def of_observations() -> Figures:
    """Return observations a second."""
    load = throughput.Load(Fleet(50, 100), 20, stage.WINDOW)
    found = {each: throughput.run(contenders.GATEWAY_BEFORE, load, each) for each in (50, 1)}
    return {
        f"observations/s, {each} a frame": run.observations_s for each, run in found.items() if run
    }


def of_start() -> Figures:
    """Return the seconds from the start of the process to online, with 2 chargers."""
    with tempfile.TemporaryDirectory() as name:
        broker = Mosquitto(Path(name), start.PORT)
        broker.start()
        try:
            online_s, _, _ = asyncio.run(start.once(2, Path(name), stage.before()))
        finally:
            broker.stop()
    return {"start to online, s": online_s}


def of_memory() -> Figures:
    """Return resident MiB."""
    before = contenders.GATEWAY_EVERYTHING_BEFORE
    found = {size: memory.resident_mib(before, Fleet(size, 100), 0) for size in (2, 50)}
    return {f"resident MiB, {size} chargers": mib[0] for size, mib in found.items() if mib}


MEASURED: dict[str, Callable[[], Figures]] = {
    "commands": of_commands,
    "observations": of_observations,
    "start": of_start,
    "memory": of_memory,
}


def measure(what: Callable[[], Figures], trees: tuple[str, str], times: int) -> list[Figures]:
    """Return the figures of both trees in each turn, the first tree's before the second's."""
    turns = []
    for turn in range(-1, times):
        found = {}
        for tree in trees[:: 1 if turn % 2 else -1]:
            os.environ["BEFORE"] = tree
            found[tree] = what()
        if turn >= 0:  # the first one compiles modules
            turns += [found[tree] for tree in trees]
    return turns


def main() -> None:
    """Measure and print."""
    parser = stage.arguments(__doc__, "revisions")
    parser.add_argument("trees", nargs=2, help="working trees")
    parser.add_argument("--times", type=int, default=4)
    parser.add_argument("--name", nargs="*", choices=MEASURED, default=list(MEASURED))
    options = parser.parse_args()
    table = {}
    for name in options.name:
        turns = measure(MEASURED[name], tuple(options.trees), options.times)
        for key in turns[0]:
            first, second = ([turn[key] for turn in turns[i::2]] for i in (0, 1))
            ratio = stage.ratios(second, first)
            table[key] = {
                "first": stage.summary(first),
                "second": stage.summary(second),
                "ratio": ratio,
            }
            print(
                f"{key}: {statistics.median(first):.3f} → {statistics.median(second):.3f},"
                f" ratio {ratio['median']:.3f} ({ratio['low']:.3f} to {ratio['high']:.3f})",
                flush=True,
            )
    stage.write(options.json, table)


if __name__ == "__main__":
    main()

"""What the recorder costs: ``python -m benchmarks.recording``.

A gateway with and one without the recorder take the same load in turn, several times over: as fast
as they can, and then at a pace of a few hundred observations a second, at the end of which resident
memory is read. Ratios are taken within a turn, because machines drift.
"""

import statistics
import tempfile
from pathlib import Path

from benchmarks import contenders, stage, throughput
from benchmarks.contenders import Contender, Place
from benchmarks.records import Fleet
from benchmarks.stage import Generator, Judge

WITH, WITHOUT = contenders.GATEWAY, contenders.GATEWAY_UNRECORDED
EACH = 50
Figures = dict[str, float]


def resident_mib(contender: Contender, fleet: Fleet, rounds: int, pace_s: float) -> float:
    """Return resident memory after so many rounds at a pace."""
    with (
        tempfile.TemporaryDirectory() as name,
        stage.broker(stage.WINDOW) as broker,
        Generator(fleet) as hub,
    ):
        process = contender.start(Place(hub, broker, Path(name), stage.WINDOW))
        assert process is not None
        last = contender.wanted(fleet, rounds)
        marks = list(last)[-20:]
        with process, Judge(broker.port, *marks) as judge:
            hub.answer()
            hub.order(first=1, last=rounds, each=EACH, pace_s=pace_s)
            stage.last_arrival_ns(broker.port, judge, marks, last)
            return process.resident_kib / 1024


def measure(load: throughput.Load, times: int, paced: Fleet, pace_s: float) -> Figures:
    """Measure both in turn; return medians of ratios and of differences."""
    rates, costs, memory = [], [], []
    for _ in range(times):
        ours, bare = (throughput.run(one, load, EACH) for one in (WITH, WITHOUT))
        assert ours is not None
        assert bare is not None
        rates.append(ours.observations_s / bare.observations_s)
        costs.append(ours.cpu_us / bare.cpu_us)
        sizes = [resident_mib(one, paced, load.rounds, pace_s) for one in (WITH, WITHOUT)]
        memory.append(sizes[0] - sizes[1])
    return {
        "rate": statistics.median(rates),
        "cpu": statistics.median(costs),
        "memory_mib": statistics.median(memory),
        "lowest_rate": min(rates),
        "highest_rate": max(rates),
    }


def main() -> None:
    """Measure and print."""
    parser = stage.arguments(__doc__, "recording")
    parser.add_argument("--chargers", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=20, help="of one observation of everything")
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--pace", type=float, default=0.1, help="seconds between two frames")
    options = parser.parse_args()
    load = throughput.Load(Fleet(options.chargers, 100), options.rounds, stage.WINDOW)
    figures = measure(load, options.times, Fleet(3, 100), options.pace)
    rows = [
        ("observations a second, to without", f"{figures['rate']:.3f}"),
        ("lowest and highest", f"{figures['lowest_rate']:.3f} {figures['highest_rate']:.3f}"),
        ("processor time, to without", f"{figures['cpu']:.3f}"),
        ("resident memory above", f"{figures['memory_mib']:.2f} MiB"),
    ]
    print(stage.table(("recorder", ""), rows))
    stage.write(options.json, figures)


if __name__ == "__main__":
    main()

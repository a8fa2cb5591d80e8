"""Hub frame received to retained at QoS 1, sustained: ``python -m benchmarks.throughput``.

The load generator sends rounds of one observation of everything, in frames of 50 records and of
one, as fast as the contender reads. Time runs from the first frame until the broker holds the last
value of every topic; see :mod:`benchmarks.stage` for how that is judged. A contender may leave out
values that were overtaken while the broker was slow, so there are two figures: observations covered
and messages sent, both per second. Before that, one round that is not counted.

All contenders run in turn, ``--times`` times over. About a minute a turn with the defaults; the
peers that need Node.js are left out until ``make peers`` has installed them.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import contenders, stage
from benchmarks.contenders import Contender, Place
from benchmarks.records import Fleet
from benchmarks.stage import Generator, Judge

ROWS = (
    contenders.C_FLOOR,
    contenders.PYTHON_FLOOR,
    contenders.PYTHON_FLOOR_PROPERTIES,
    contenders.GATEWAY,
    contenders.GATEWAY_BEFORE,
    contenders.GATEWAY_JSON,
    contenders.MQTT_JS,
    contenders.NODE_RED,
    contenders.PYEASEE,
)
SIZES = (50, 1)
# By records a frame, contender and figure: what stage.summary makes of the runs.
Figures = dict[str, dict[str, dict[str, dict[str, float]]]]


@dataclass(frozen=True, slots=True)
class Run:
    """One contender, once.

    Attributes:
        observations_s: Observations covered, per second.
        messages_s: Messages the broker took, per second.
        cpu_us: Processor time of the contender per observation, microseconds.
    """

    observations_s: float
    messages_s: float
    cpu_us: float


@dataclass(frozen=True, slots=True)
class Load:
    """What everybody is given.

    Attributes:
        fleet: Who speaks.
        rounds: Of one observation of everything; a slow contender gets its share of them.
        window: How many unacknowledged messages the broker grants.
    """

    fleet: Fleet
    rounds: int
    window: int


def run(
    contender: Contender, load: Load, each: int, *, count: Callable[[int], int] = stage.published
) -> Run | None:
    """Let one contender do the job once; None when this machine cannot run it.

    Args:
        contender: Who.
        load: What it is given.
        each: Records a frame.
        count: Asks the broker how many messages it has taken.
    """
    fleet, window = load.fleet, load.window
    rounds = max(1, round(load.rounds * contender.share))
    with (
        tempfile.TemporaryDirectory() as name,
        stage.broker(window) as broker,
        Generator(fleet) as hub,
    ):
        process = contender.start(Place(hub, broker, Path(name), window))
        if process is None:
            return None
        first, last = contender.wanted(fleet, 1), contender.wanted(fleet, rounds + 1)
        marks = list(last)[-min(20, len(last)) :]
        with process, Judge(broker.port, *marks) as judge:
            hub.answer()
            hub.order(first=1, last=1, each=each)
            stage.last_arrival_ns(broker.port, judge, marks, first)
            messages, cpu_s = count(broker.port), process.cpu_s
            sent = hub.order(first=2, last=rounds + 1, each=each)
            done_ns = stage.last_arrival_ns(broker.port, judge, marks, last)
            cpu_s = process.cpu_s - cpu_s
            messages = count(broker.port) - messages
    took_s = (done_ns - sent["began_ns"]) / 1e9
    observations = sent["observations"]
    return Run(observations / took_s, messages / took_s, 1e6 * cpu_s / observations)


def measure(rows: tuple[Contender, ...], load: Load, times: int) -> dict[str, dict[str, list[Run]]]:
    """Run all of them in turn, several times; return the runs by records a frame and contender."""
    found: dict[str, dict[str, list[Run]]] = {str(each): {} for each in SIZES}
    for _ in range(times):
        for each in SIZES:
            for contender in rows:
                try:
                    one = run(contender, load, each)
                except stage.GaveUp as error:
                    print(f"{contender.name}, {each} a frame: gave up: {error}", flush=True)
                    continue
                if one is not None:
                    found[str(each)].setdefault(contender.name, []).append(one)
    return found


def figures(found: dict[str, dict[str, list[Run]]]) -> Figures:
    """Condense the runs; ratios are taken within a turn, because machines drift."""
    return {
        each: {
            name: {
                "observations_s": stage.summary([one.observations_s for one in runs]),
                "messages_s": stage.summary([one.messages_s for one in runs]),
                "cpu_us": stage.summary([one.cpu_us for one in runs]),
                "messages_to_floor": stage.ratios(
                    [one.messages_s for one in runs],
                    [one.messages_s for one in by_name.get(contenders.PYTHON_FLOOR.name, runs)],
                ),
                "observations_to_floor": stage.ratios(
                    [one.observations_s for one in runs],
                    [one.messages_s for one in by_name.get(contenders.PYTHON_FLOOR.name, runs)],
                ),
            }
            for name, runs in by_name.items()
        }
        for each, by_name in found.items()
    }


def show(condensed: Figures) -> None:
    """Print a table for each size of frame."""
    heads = ("", "messages/s", "low", "high", "to the floor", "observations/s", "", "CPU µs")
    for each, by_name in condensed.items():
        rows = [
            (
                name,
                *(f"{row['messages_s'][key]:,.0f}" for key in ("median", "low", "high")),
                f"{row['messages_to_floor']['median']:.2f}",
                f"{row['observations_s']['median']:,.0f}",
                f"{row['observations_to_floor']['median']:.2f}",
                f"{row['cpu_us']['median']:.1f}",
            )
            for name, row in by_name.items()
        ]
        print(f"\n{each} records a frame")
        print(stage.table(heads, rows), flush=True)


def main() -> None:
    """Measure and print."""
    parser = stage.arguments(__doc__, "throughput")
    parser.add_argument("--chargers", type=int, default=50)
    parser.add_argument(
        "--observations", type=int, default=100, help="of each charger, at most 100"
    )
    parser.add_argument("--rounds", type=int, default=20, help="of one observation of everything")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--window", type=int, default=stage.WINDOW, help="what the broker grants")
    parser.add_argument("--only", nargs="*", help="names of contenders")
    options = parser.parse_args()
    rows = tuple(row for row in ROWS if not options.only or row.name in options.only)
    load = Load(Fleet(options.chargers, options.observations), options.rounds, options.window)
    began = time.perf_counter()
    condensed = figures(measure(rows, load, options.times))
    show(condensed)
    print(f"\n{time.perf_counter() - began:.0f} s")
    stage.write(options.json, {"load": asdict(load), "frames": condensed})


if __name__ == "__main__":
    main()

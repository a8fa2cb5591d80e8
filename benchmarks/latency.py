"""How long one observation takes when nothing else is going on: ``python -m benchmarks.latency``.

One charger, one record a frame, ten milliseconds apart. Time runs from the hub handing the frame to
its kernel until a subscriber has the message. The same way through the C floor, which only cuts the
fields out, says what of it belongs to the kernel, the broker and the two ends. All contenders run
in turn, ``--times`` times over; about a quarter of a minute a turn.
"""

import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks import contenders, stage
from benchmarks.contenders import Contender, Place
from benchmarks.records import Fleet
from benchmarks.stage import Generator, Judge

ROWS = (
    contenders.C_FLOOR,
    contenders.PYTHON_FLOOR,
    contenders.GATEWAY,
    contenders.GATEWAY_BEFORE,
    contenders.GATEWAY_JSON,
    contenders.MQTT_JS,
    contenders.NODE_RED,
    contenders.PYEASEE,
)
PACE_S = 0.01
Figures = dict[str, dict[str, float]]


@dataclass(frozen=True, slots=True)
class Load:
    """What everybody is given: so many rounds of so many observations of one charger."""

    observations: int = 50
    rounds: int = 4


def run(contender: Contender, load: Load) -> list[float] | None:
    """Return the seconds each observation took; None when this machine cannot run it."""
    fleet = Fleet(1, load.observations)
    turns = range(2, load.rounds + 2)
    with (
        tempfile.TemporaryDirectory() as name,
        stage.broker() as broker,
        Generator(fleet) as hub,
    ):
        process = contender.start(Place(hub, broker, Path(name), stage.WINDOW))
        if process is None:
            return None
        with process, Judge(broker.port, "charger/+/state/+") as judge:
            hub.answer()
            first = contender.wanted(fleet, 1)
            hub.order(first=1, last=1, each=1)
            judge.until(lambda: first.items() <= judge.values.items(), "the first round")
            judge.log = []
            sent = [item for turn in turns for item in contender.wanted(fleet, turn).items()]
            last = contender.wanted(fleet, turns[-1])
            hub.begin(first=turns[0], last=turns[-1], each=1, pace_s=PACE_S)
            judge.until(lambda: last.items() <= judge.values.items(), "the last round")
            moments = hub.answer()["moments_ns"]
    arrived = {(topic, payload): at_ns for topic, payload, at_ns in judge.log}
    return [
        (arrived[key] - sent_ns) / 1e9
        for key, sent_ns in zip(sent, moments, strict=True)
        if key in arrived
    ]


def measure(rows: tuple[Contender, ...], load: Load, times: int) -> dict[str, list[list[float]]]:
    """Run all of them in turn; return the seconds by contender and turn."""
    found: dict[str, list[list[float]]] = {}
    for _ in range(times):
        for contender in rows:
            try:
                took = run(contender, load)
            except stage.GaveUp as error:
                print(f"{contender.name}: gave up: {error}", flush=True)
                continue
            if took:
                found.setdefault(contender.name, []).append(took)
    return found


def figures(found: dict[str, list[list[float]]]) -> Figures:
    """Condense: medians over the turns, in milliseconds, and what is above the C floor's."""
    condensed = {
        name: {
            "median_ms": 1e3 * statistics.median(statistics.median(took) for took in turns),
            "p99_ms": 1e3 * statistics.median(stage.percentile(took, 0.99) for took in turns),
            "worst_p99_ms": 1e3 * max(stage.percentile(took, 0.99) for took in turns),
            "samples": sum(map(len, turns)),
        }
        for name, turns in found.items()
    }
    floor = condensed.get(contenders.C_FLOOR.name, {"median_ms": 0.0, "p99_ms": 0.0})
    for row in condensed.values():
        row["median_above_floor_ms"] = row["median_ms"] - floor["median_ms"]
        row["p99_above_floor_ms"] = row["p99_ms"] - floor["p99_ms"]
    return condensed


def main() -> None:
    """Measure and print."""
    parser = stage.arguments(__doc__, "latency")
    parser.add_argument("--rounds", type=int, default=10, help="of 50 observations")
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--only", nargs="*", help="names of contenders")
    options = parser.parse_args()
    rows = tuple(row for row in ROWS if not options.only or row.name in options.only)
    condensed = figures(measure(rows, Load(rounds=options.rounds), options.times))
    keys = ("median_ms", "p99_ms", "worst_p99_ms", "median_above_floor_ms", "p99_above_floor_ms")
    heads = ("ms", "median", "p99", "worst p99", "above the C floor", "p99")
    lines = [(name, *(f"{row[key]:.2f}" for key in keys)) for name, row in condensed.items()]
    print(stage.table(heads, lines))
    stage.write(options.json, {"pace_s": PACE_S, "contenders": condensed})


if __name__ == "__main__":
    main()

"""What an observation costs as the fleet grows: ``python -m benchmarks.fleet``.

The core alone, in a process of its own for each size: bytes of the hub are decoded, the machine
takes them, and what it wants published is counted. 10, 100, 1,000 and 10,000 chargers in turn,
several times over; each gets a round of 100 observations first, so that every charger is there, and
memory is read then. After that the same number of observations for all of them, but never less than
a whole round, ten a frame, each from another charger. Prints microseconds of processor time an
observation, and resident memory per charger above what the process took before. About five minutes.
"""

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from itertools import islice

from benchmarks import stage
from benchmarks.records import Fleet, records, span
from bridge import process_tuning
from bridge.conventions.native.convention import Native
from bridge.core.changes import Change
from bridge.core.composition import Core
from bridge.core.easee.signalr import Decoder, batch_observations
from bridge.core.events import Event, MqttConnected, Started, StreamOpened
from bridge.core.records.moment import Timestamp
from bridge.settings import EaseeSettings, PublishSettings, Secret, Settings

SIZES = (10, 100, 1_000, 10_000)
OBSERVATIONS = 100
EACH = 10
# Made before they are timed; all of a large fleet's would take more memory than the fleet.
AT_ONCE = 50_000
MODULE = "benchmarks.fleet"


def machine_of(fleet: Fleet) -> Core:
    """Make a core that serves the fleet."""
    easee = EaseeSettings(
        username="someone@example.com", password=Secret("p"), chargers=fleet.serials
    )
    return Core(Settings(easee=easee), version="0", salt=b"salt")


class Bench:
    """One core, fed with the bytes of a hub."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.messages = 0
        self._machine = machine_of(fleet)
        self._native = Native(self._machine.topics, PublishSettings())
        self._decoder = Decoder()
        now = datetime.now(UTC)  # noqa: TID251 - a script has no clock to be given
        self._measured_until = now - timedelta(minutes=10)
        self._moment = Timestamp(now, 1000.0, trusted=True)
        for event in (Started(), MqttConnected(False, "5", 1000), StreamOpened()):
            self._handle(event)

    def feed(self, first: int, turns: int, most: int | None = None) -> float:
        """Take rounds; return seconds of processor time an observation."""
        rounds = range(first, first + turns)
        made = records(self.fleet, rounds, self._measured_until)
        self._measured_until += span(self.fleet, rounds)
        took_s, count = 0.0, 0
        while texts := list(islice(made, AT_ONCE if most is None else min(AT_ONCE, most - count))):
            parts = [b"".join(texts[at : at + EACH]) for at in range(0, len(texts), EACH)]
            # Once: asking for the processor time can take longer than what is to be timed.
            began = time.process_time()
            for part in parts:
                for item in batch_observations(self._decoder.feed(part)):
                    self._handle(item)
            took_s += time.process_time() - began
            count += len(texts)
        return took_s / count

    def _handle(self, event: Event) -> None:
        """Do what the pump does with an event, except to send messages."""
        for effect in self._machine.handle(event, self._moment):
            if isinstance(effect, Change):
                self.messages += sum(1 for _ in self._native.publish(effect, self._moment))
        self._machine.deadline_s()


def one(chargers: int, observations: int, each: int = OBSERVATIONS) -> dict[str, float]:
    """Measure one size in this process.

    Args:
        chargers: How many.
        observations: How many to time, at least a round of them.
        each: How many a charger has.
    """
    process_tuning.tune_gc()  # as the program does once it has started
    before = stage.memory_kib(os.getpid())
    bench = Bench(Fleet(chargers, each))
    bench.feed(1, 1)
    resident_kib = stage.memory_kib(os.getpid()) - before
    turns = -(-observations // bench.fleet.topics)
    messages = bench.messages
    # The rows of a round cost different things: a part of one would be another mix.
    cost_s = bench.feed(2, turns, max(observations, bench.fleet.topics))
    return {
        "cost_us": 1e6 * cost_s,
        "kib_per_charger": resident_kib / chargers,
        "messages": bench.messages - messages,
    }


def main() -> None:
    """Measure every size in turn and print."""
    parser = stage.arguments(__doc__, "fleet")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--observations", type=int, default=100_000)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--each", type=int, default=OBSERVATIONS, help="of each charger")
    parser.add_argument("--one", type=int, help="measure this size here and print JSON")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.one, options.observations, options.each)))
        return
    found: dict[int, list[dict[str, float]]] = {}
    for _ in range(options.times):
        for size in options.sizes:
            order = [sys.executable, "-m", MODULE, "--one", str(size)]
            order += ["--observations", str(options.observations), "--each", str(options.each)]
            answer = subprocess.run(order, check=True, capture_output=True)
            found.setdefault(size, []).append(json.loads(answer.stdout))
    base = [run["cost_us"] for run in found[options.sizes[0]]]
    condensed = {}
    for size, runs in found.items():
        costs = [run["cost_us"] for run in runs]
        condensed[str(size)] = {
            "cost_us": stage.summary(costs),
            "to_smallest": stage.ratios(costs, base),
            "kib_per_charger": stage.summary([run["kib_per_charger"] for run in runs]),
        }
    rows = [
        (
            size,
            *(f"{row['cost_us'][key]:.1f}" for key in ("median", "low", "high")),
            f"{row['to_smallest']['median']:.2f}",
            f"{row['kib_per_charger']['median']:.1f}",
        )
        for size, row in condensed.items()
    ]
    heads = ("chargers", "µs", "low", "high", "to the smallest", "KiB a charger")
    print(stage.table(heads, rows))
    stage.write(options.json, {"observations_each": options.each, "fleets": condensed})


if __name__ == "__main__":
    main()

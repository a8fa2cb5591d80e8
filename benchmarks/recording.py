"""What the recorder costs: ``python -m benchmarks.recording``.

Two cores in one process, one of them recorded, take the same frames in turn, a round each, in
processor time: observations are decoded, handled, turned into messages and acknowledged. Ratios
are taken within a round, because machines drift. Then a gateway with and one without the recorder
take a few hundred observations a second, at the end of which resident memory is read; with
``--gateways`` they also take them as fast as they can. About two minutes.
"""

import argparse
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks import contenders, stage, throughput
from benchmarks.contenders import Contender, Place
from benchmarks.fleet import machine_of
from benchmarks.records import Fleet, records, span
from benchmarks.stage import Generator, Judge
from bridge import process_tuning
from bridge.adapters.clock import SystemClock
from bridge.conventions.native.convention import Native
from bridge.core.changes import Change
from bridge.core.easee.signalr import Decoder, batch_observations
from bridge.core.events import Event, MqttConnected, Started, StreamOpened, ValuesAcked
from bridge.core.messages import Publish
from bridge.recorder.recording import Recorder
from bridge.settings import PublishSettings

WITH, WITHOUT = contenders.GATEWAY, contenders.GATEWAY_UNRECORDED
EACH = 50
SIZES = (50, 1)
MAX_BYTES = 8 * 1024 * 1024
# Both are as they will be: names of fields are known, and the first state was copied.
WARM_UP = 2
Figures = dict[str, Any]
CLOCK = SystemClock()


class Bench:
    """One core, with or without a recorder, fed with the bytes of a hub.

    Args:
        fleet: Who speaks.
        is_recorded: There is a recorder.
    """

    def __init__(self, fleet: Fleet, *, is_recorded: bool) -> None:
        self._core = machine_of(fleet)
        self._native = Native(self._core.topics, PublishSettings())
        self._decoder = Decoder()
        self._recorder = None
        if is_recorded:
            self._recorder = Recorder(
                self._core, max_bytes=MAX_BYTES, read_s=lambda: CLOCK.now().mono_s
            )
        for event in (Started(), MqttConnected(False, "5", 1000), StreamOpened()):
            self._handle(event)

    def take(self, frames: list[bytes]) -> float:
        """Take frames, a turn each; return seconds of processor time."""
        began_s = time.process_time()
        for frame in frames:
            mono_s = CLOCK.now().mono_s
            while self._recorder is not None and self._recorder.is_copying(mono_s):
                pass
            for event in batch_observations(self._decoder.feed(frame)):
                self._handle(ValuesAcked(tuple(self._handle(event))))
            self._core.deadline_s()
            if self._recorder is not None:
                self._recorder.asked()
                self._recorder.pack(mono_s)
        return time.process_time() - began_s

    def _handle(self, event: Event) -> list[Publish]:
        now = CLOCK.now()
        effects = self._core.handle(event, now)
        if self._recorder is not None:
            self._recorder.handled(event, now, effects)
        changes = [effect for effect in effects if isinstance(effect, Change)]
        return [message for one in changes for message in self._native.publish(one, now)]


def in_process(fleet: Fleet, each: int, rounds: int) -> dict[str, float]:
    """Return the processor time of a recorded core to that of another one, a round each."""
    benches = [Bench(fleet, is_recorded=is_recorded) for is_recorded in (False, True)]
    until = CLOCK.now().wall - timedelta(hours=10)
    spent: list[list[float]] = [[], []]
    for number in range(WARM_UP + rounds):
        turn = range(number + 1, number + 2)
        texts = list(records(fleet, turn, until))
        until += span(fleet, turn)
        frames = [b"".join(texts[at : at + each]) for at in range(0, len(texts), each)]
        for which in (0, 1) if number % 2 else (1, 0):
            took_s = benches[which].take(frames)
            if number >= WARM_UP:
                spent[which].append(took_s)
    bare, recorded = spent
    return {**stage.ratios(recorded, bare), "total": sum(recorded) / sum(bare)}


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


def memory_mib(times: int, fleet: Fleet, rounds: int, pace_s: float) -> dict[str, float]:
    """Return how much more memory a gateway with the recorder has."""
    sizes = [
        [resident_mib(one, fleet, rounds, pace_s) for one in (WITH, WITHOUT)] for _ in range(times)
    ]
    return stage.summary([with_it - without for with_it, without in sizes])


def gateways(times: int, load: throughput.Load) -> Figures:
    """Measure two gateways in turn, as fast as they can; return ratios."""
    rates, costs = [], []
    for _ in range(times):
        ours, bare = (throughput.run(one, load, EACH) for one in (WITH, WITHOUT))
        assert ours is not None
        assert bare is not None
        rates.append(ours.observations_s / bare.observations_s)
        costs.append(ours.cpu_us / bare.cpu_us)
    return {"rate": stage.summary(rates), "cpu": stage.summary(costs)}


def main() -> None:
    """Measure and print."""
    parser = stage.arguments(__doc__, "recording")
    parser.add_argument("--chargers", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=60, help="of one observation of everything")
    parser.add_argument("--times", type=int, default=3, help="of two gateways")
    parser.add_argument("--pace", type=float, default=0.1, help="seconds between two frames")
    parser.add_argument("--paced-rounds", type=int, default=40)
    parser.add_argument("--gateways", action="store_true", help="also as fast as they can")
    figures = measured(parser.parse_args())
    rows = [
        (f"processor time, {each} a frame, to without", *_row(one))
        for each, one in figures["in_process"].items()
    ]
    rows.append(("resident memory above without, MiB", *_row(figures["memory_mib"])))
    for name, one in figures.get("gateways", {}).items():
        rows.append((f"two gateways, {name} to without", *_row(one)))
    print(stage.table(("recorder", "median", "low", "high"), rows))
    stage.write(parser.parse_args().json, figures)


def measured(options: argparse.Namespace) -> Figures:
    """Measure what is asked for."""
    process_tuning.tune_gc()  # as the program does once it has started
    fleet = Fleet(options.chargers, 100)
    figures: Figures = {
        "in_process": {str(each): in_process(fleet, each, options.rounds) for each in SIZES},
        "memory_mib": memory_mib(options.times, Fleet(3, 100), options.paced_rounds, options.pace),
    }
    if options.gateways:
        load = throughput.Load(fleet, options.rounds, stage.WINDOW)
        figures["gateways"] = gateways(options.times, load)
    return figures


def _row(figures: dict[str, float]) -> tuple[str, str, str]:
    return f"{figures['median']:.3f}", f"{figures['low']:.3f}", f"{figures['high']:.3f}"


if __name__ == "__main__":
    main()

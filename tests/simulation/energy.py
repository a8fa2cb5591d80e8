"""Lives of one charger's total energy: a known meter, outages, crashes, and what was published.

The service and the publication are the real ones, the time is simulated.

``python -m tests.simulation.energy SEEDS [FIRST]`` plays so many lives; ``--seed N`` plays one and
says what happened.
"""

import random
import sys
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from bridge.conventions.native.convention import Native
from bridge.core.alerts import Alerts
from bridge.core.changes import DerivedChanged
from bridge.core.chargers.energy_service import EVERY_S, EnergyService
from bridge.core.chargers.fleet import ChargerRegistry
from bridge.core.domain_events import ChargersAdded, EchoReceived
from bridge.core.effects import SaveReport, SaveState
from bridge.core.events import MqttConnected, MqttMessage, Started, Stopping, Tick
from bridge.core.records.moment import Timestamp
from bridge.core.records.observation import RawObservation
from bridge.core.status import Status
from bridge.core.topics import EnergyTotalTopic, Topics
from bridge.core.value_format import iso_utc
from bridge.settings import PublishSettings
from tests.simulation import lives
from tests.simulation.lives import Violation, untold

ONE = "EH123456"
MIDNIGHT = datetime(2026, 11, 22, tzinfo=UTC)
HOUR_S = 3600
FIRST_KWH = 1277.5
AWAY, BACK, TOLD = range(3)
TYPES = {120: 3, 124: 3, 109: 4, 150: 3, 129: 6, 223: 6}


def at(second):
    """Return a time of the day."""
    return MIDNIGHT + timedelta(seconds=second)


@dataclass
class Meter:
    """What really happens: power from a second on, and the energy it gives."""

    curve: list[tuple[int, float]]

    def kwh(self, second):
        total = FIRST_KWH
        ends = [*(start for start, _ in self.curve[1:]), 10**9]
        for (start, kilowatts), end in zip(self.curve, ends, strict=True):
            total += max(0, min(second, end) - start) * kilowatts / HOUR_S
        return total

    def told(self, until, second_of_start):
        """List what the charger sends: when, id, value."""
        sent = [(start, 120, str(kilowatts)) for start, kilowatts in self.curve]
        sent += [(start, 109, "3" if kilowatts else "4") for start, kilowatts in self.curve]
        sent += [(hour, 124, f"{self.kwh(hour):.6f}") for hour in range(0, until, HOUR_S)]
        sent += [(second, 150, "20") for second in range(0, until, 300)]
        began = f'{{"Id":1,"MeterValue":{self.kwh(second_of_start)},"Start":"{iso_utc(at(second_of_start))}","Auth":"","AuthReason":0}}'  # noqa: E501 - a document
        sent.append((second_of_start, 223, began))
        last = max(start for start, _ in self.curve)
        kwh = self.kwh(last)
        ended = (
            f'{{"Id":1,"EnergyKwh":{kwh - self.kwh(second_of_start):.6f},'
            f'"MeterValueStart":{self.kwh(second_of_start):.6f},"MeterValueStop":{kwh:.6f},'
            f'"Start":"{iso_utc(at(second_of_start))}","Stop":"{iso_utc(at(last))}",'
            '"Auth":"","AuthReason":0}'
        )
        sent.append((last, 129, ended))
        return sorted(sent, key=lambda one: one[0])


@dataclass
class World:
    """Processes of the gateway, one after the other, and what they published."""

    json: bool = True
    published: list[tuple[float, float, bool]] = field(default_factory=list)
    retained: dict[str, bytes] = field(default_factory=dict)
    kept: dict[str, dict[str, object]] = field(default_factory=dict)
    writes: int = 0
    second: float = 0.0

    @property
    def now(self):
        return Timestamp(at(self.second), self.second)

    def begin(self):
        """Start a process and connect it to the broker."""
        publish = PublishSettings(json=self.json)
        self.native = Native(Topics(), publish)
        status = Status(Alerts(), "1", dict, "client", "instance")
        self.fleet = ChargerRegistry(publish, b"salt", status)
        self.service = EnergyService(self.fleet, is_published=True, has_documents=self.json)
        self.take(self.service.handle(Started(state=self.kept), self.now))
        self.fleet.add((ONE,))
        self.take(self.service.handle(ChargersAdded((ONE,)), self.now))
        self.take(self.service.handle(MqttConnected(False, "5", 20), self.now))
        for topic, payload in tuple(self.retained.items()):
            message = MqttMessage(topic, payload, retained=True, ack_token=1)
            parsed = Topics().parse(topic)
            assert isinstance(parsed, EnergyTotalTopic)
            self.take(self.service.handle(EchoReceived(message, parsed), self.now))

    def take(self, outputs):
        for output in outputs:
            if isinstance(output, SaveState):
                self.kept[output.name] = output.document
                self.writes += 1
            elif isinstance(output, SaveReport):
                self.take(self.fleet.report_stored(output.report))
            elif isinstance(output, DerivedChanged) and output.name == "energy_total":
                self.published.append((self.second, output.value, output.estimate.is_estimated))
                for message in self.native.publish(output, self.now):
                    self.retained[message.topic] = message.payload

    def tell(self, number, value, second):
        """Let an observation arrive now that was measured then."""
        raw = RawObservation(ONE, number, TYPES[number], value, iso_utc(at(second)))
        found = []
        observation = self.fleet.read(raw, "stream", self.now, found)
        if observation is not None:
            self.fleet.apply(observation, "stream", self.now, found, ours=False)
        self.take(found)

    def wait(self, second):
        """Let time pass up to a second, with the ticks that are due."""
        while (due_s := self.service.deadline_s()) is not None and due_s <= second:
            self.second = max(self.second, due_s)
            self.take(self.service.handle(Tick(), self.now))
        self.second = second

    def end(self, how):
        """Let nothing arrive any more: how the process ends, or None where it goes on."""
        if how == "stopped":
            self.take(self.service.handle(Stopping(), self.now))
        elif how == "power lost":
            self.retained.clear()

    def back(self, how, told):
        """Let everything work again; the newest of what was told meanwhile arrives."""
        if how is not None:
            self.begin()
        newest = {number: (number, value, second) for second, number, value in told}
        for one in newest.values():
            self.tell(*one)

    def value_at(self, second):
        """Return what was published last by then."""
        found = [kwh for when, kwh, _ in self.published if when <= second]
        return found[-1] if found else None


def live(meter, until, *, gaps=(), restarts=(), start=0, delay_s=2, world=None):
    """Live through a day of a meter.

    Args:
        meter: What happens.
        until: The last second.
        gaps: Pairs of seconds between which nothing arrives; then what is newest does.
        restarts: Triples: when a process ends, when the next one begins, how it ends.
        start: When the session began.
        delay_s: How long an observation is under way.
        world: Where it happens.
    """
    world = world or World()
    world.begin()
    told = meter.told(until, start)
    breaks = [(begin, end, None) for begin, end in gaps] + list(restarts)
    moments = [(second + delay_s, 2, (number, value, second)) for second, number, value in told]
    moments += [(begin, 0, how) for begin, _, how in breaks]
    moments += [(end, 1, how) for _, end, how in breaks]
    is_away = False
    for moment, what, details in sorted(moments, key=lambda one: one[:2]):
        if moment > until or (what == TOLD and is_away):
            continue
        if not is_away or details is None:  # a process that ended has no ticks
            world.wait(moment)
        world.second = moment
        if what == TOLD:
            world.tell(*details)
        elif what == AWAY:
            world.end(details)
        else:
            world.back(details, [one for one in told if one[0] + delay_s <= moment])
        is_away = what == AWAY
    world.wait(until)
    return world


def judge(world):
    """Check that nothing fell, and return the error of each hour that can be told, in percent."""
    for (_, before, _), (_, after, _) in pairwise(world.published):
        assert after >= before


def hourly_errors(world, meter, hours, late_s=0):
    """Return the error of each hour in percent of its energy, or of 1 kWh where that is less.

    Not counted is what the largest power gives while an observation is under way.
    """
    found = []
    for hour in hours:
        begin, end = hour * HOUR_S, (hour + 1) * HOUR_S
        real = meter.kwh(end) - meter.kwh(begin)
        shown = world.value_at(end) - world.value_at(begin)
        wrong_kwh = max(0.0, abs(shown - real) - late_s * CATCH_UP_KW / HOUR_S)
        found.append(wrong_kwh / max(real, 1.0) * 100)
    return found


POWERS_KW = (0.0, 1.4, 3.7, 7.36, 11.04, 22.08)
ENDS = (None, "killed", "stopped", "power lost")
# Above what four outages can let the estimate run ahead.
CATCH_UP_S, CATCH_UP_KW = 4 * HOUR_S, 22.08
LONGEST_KNOWN_S = 900
ROUNDED_KWH, WHOLE_WH = 1e-5, 0.002


@dataclass(frozen=True)
class Story:
    """What happens in one life.

    Attributes:
        meter: The real one.
        second: When the last charge ends.
        breaks: Triples: from when to when nothing arrives, and how the process ends, if it does.
        delay_s: How long an observation is under way.
    """

    meter: Meter
    second: int
    breaks: tuple[tuple[int, int, str | None], ...]
    delay_s: int


def story(seed):
    """Draw a life: a curve with outages and crashes, and a long charge in peace at its end."""
    rng = random.Random(f"energy:{seed}")
    second, curve = 60, [(0, 0.0)]
    for _ in range(rng.randint(2, 12)):
        curve.append((second, rng.choice(POWERS_KW)))
        second += rng.randint(60, 3600)
    free, breaks = 0, []
    for begin in sorted(rng.randint(0, second) for _ in range(rng.randint(0, 4))):
        end = begin + rng.randint(30, 3000)
        if begin > free and end < second - 60:
            breaks.append((begin, end, rng.choice(ENDS)))
            free = end + 60
    curve += [(second, CATCH_UP_KW), (second + CATCH_UP_S, 0.0)]
    return Story(Meter(curve), second + CATCH_UP_S, tuple(breaks), rng.randint(0, 5))


def problems(told, world):
    """Say which promise a life broke.

    Args:
        told: What happened.
        world: What was published of it.
    """
    for (_, before, _), (second, after, _) in pairwise(world.published):
        if after < before:
            yield f"it fell from {before} to {after} kWh at {second} s"
    real, last = told.meter.kwh(told.second), world.published[-1][1]
    # Ahead by what was assumed until the end of the charge arrived; its counts have six decimals.
    ahead_kwh = WHOLE_WH + CATCH_UP_KW * told.delay_s / HOUR_S if told.delay_s else 0.0
    if not -ROUNDED_KWH <= last - real <= ahead_kwh + ROUNDED_KWH:
        yield f"it ends at {last} kWh, and the meter at {real} kWh"
    for hour in known_hours(told):
        (error,) = hourly_errors(world, told.meter, [hour], late_s=told.delay_s)
        if error >= 1:
            yield f"hour {hour} is wrong by {error:.2f} %"


def known_hours(told):
    """Return the hours that can be told.

    They have energy, nothing unknown lies before their end, and a process runs when they begin and
    when they end.
    """
    lost = [
        begin
        for begin, end, how in told.breaks
        if how == "power lost"
        or end - begin > LONGEST_KNOWN_S
        or any(begin - told.delay_s <= change <= end for change, _ in told.meter.curve)
    ]
    first_lost = min(lost, default=told.second)
    for hour in range(1, told.second // HOUR_S):
        begin, end = hour * HOUR_S, (hour + 1) * HOUR_S
        is_enough = told.meter.kwh(end) - told.meter.kwh(begin) > 1
        if end <= first_lost and is_enough and not is_split(told.breaks, begin, end):
            yield hour


def is_split(breaks, *moments):
    """Return whether no process runs at one of some moments, or began half a minute before."""
    return any(
        begin <= moment <= end + EVERY_S
        for begin, end, how in breaks
        if how is not None
        for moment in moments
    )


def play(seed, tell=untold):
    """Play a life; return what happened.

    Raises:
        Violation: A promise was broken.
    """
    told = story(seed)
    tell(str(told))
    world = live(
        told.meter,
        (told.second // HOUR_S + 2) * HOUR_S,
        start=60,
        delay_s=told.delay_s,
        gaps=[(begin, end) for begin, end, how in told.breaks if how is None],
        restarts=[one for one in told.breaks if one[2] is not None],
    )
    wrong = list(problems(told, world))
    if wrong:
        raise Violation("; ".join(wrong))
    counts = Counter(str(how or "outage") for _, _, how in told.breaks)
    counts["hours judged"] = len(list(known_hours(told)))
    counts["values"] = len(world.published)
    return counts


def main():
    """Play lives and say how they went."""
    return lives.main(__doc__, play)


if __name__ == "__main__":
    sys.exit(main())

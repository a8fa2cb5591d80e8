"""How much of the program is run for one event: counted, so it is the same on every machine.

A call is a Python function, comprehension or generator of the package that starts or goes on. A
move is a call in another file than the one before it. What a convention makes of the changes is
not counted.
"""

import sys
from collections import deque
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path

import bridge
from benchmarks.records import value_of
from bridge.core.composition import Core
from bridge.core.easee.observation_registry import REGISTRY
from bridge.core.effects import ReadReports
from bridge.core.events import (
    MqttConnected,
    ObservationsReceived,
    ReportsRead,
    Started,
    StoreOpened,
    StreamOpened,
    StreamSubscription,
    Tick,
)
from bridge.core.records.moment import Timestamp
from bridge.core.records.observation import RawObservation
from bridge.core.value_format import iso_utc
from bridge.settings import EaseeSettings, Secret, Settings
from tests.conftest import NOON
from tests.core.commands.bench import TICKS, Bench, call_of, states, ticket

PACKAGE = str(Path(bridge.__file__).parent)
CONVENTIONS = str(Path(PACKAGE, "conventions"))
COMMANDS = str(Path(PACKAGE, "core", "commands"))
ONE = "EH123456"
POWER = 120


class CallCounts:
    """Counts the calls within a ``with`` block.

    Attributes:
        calls: Of functions of the package.
        moves: Calls in another file than the one before.
        files: That were called.
    """

    def __init__(self):
        self.calls = self.moves = 0
        self.files = set()
        self._last = ""

    def __enter__(self):
        sys.setprofile(self._profile)
        return self

    def __exit__(self, *_error):
        sys.setprofile(None)

    def _profile(self, frame, event, _argument):
        path = frame.f_code.co_filename
        if event == "call" and path.startswith(PACKAGE) and not _is_of_a_convention(frame):
            self.calls += 1
            self.moves += path != self._last
            self.files.add(path)
            self._last = path


def _is_of_a_convention(frame):
    """Say whether a call is one of a convention, or made by one."""
    while frame is not None:
        if frame.f_code.co_filename.startswith(CONVENTIONS):
            return True
        frame = frame.f_back
    return False


def of_a_command():
    """Count one that is accepted by the cloud and confirmed by the charger."""
    bench = Bench()
    with CallCounts() as counts:
        call = call_of(bench.send("start"))
        accepted = bench.answer(call, ticket())
        confirmed = bench.respond(TICKS)

    assert (states(accepted), states(confirmed)) == (["accepted"], ["confirmed"])
    assert [row.state for row in bench.rows.values()] == ["confirmed"]
    return counts


def test_a_successful_command():
    """Accepted by the cloud and confirmed by the charger, its three rows on disk."""
    counts = of_a_command()
    assert counts.calls <= 120
    assert counts.moves <= 60
    assert len([path for path in counts.files if path.startswith(COMMANDS)]) <= 9


def at(seconds):
    """Return a moment."""
    return Timestamp(NOON + timedelta(seconds=seconds), 1000.0 + seconds)


def power(value, second=0):
    """Spell one observation of the power."""
    stamp = iso_utc(NOON.replace(second=second))
    return ObservationsReceived((RawObservation(ONE, POWER, 3, value, stamp),))


def started_core():
    """Return a core with one charger that is heard of, everything connected, nothing due."""
    easee = EaseeSettings("x@example.com", Secret("p"), (ONE,))
    core = Core(Settings(easee), version="1", salt=b"salt")
    begun = (StoreOpened(()), Started(), StreamOpened(), MqttConnected(False, "5", 20))
    for event in (*begun, power("7.1"), power("7.2")):
        core.handle(event, at(0.5))
    core.deadline_s()
    return core


def of_a_tick():
    """Count one with nothing due."""
    core, tick, now = started_core(), Tick(), at(1.0)
    with CallCounts() as counts:
        effects = core.handle(tick, now)

    assert effects == []
    return counts


def test_a_tick_with_nothing_due():
    """Only what depends on the time itself, or on all that happened, is looked at."""
    assert of_a_tick().calls <= 11


def of_an_observation():
    """Count one of the power."""
    core, event, now = started_core(), power("7.3", second=1), at(1.0)
    with CallCounts() as counts:
        effects = core.handle(event, now)
        core.deadline_s()

    assert len(effects) == 1
    return counts


def test_one_power_observation():
    """From its decoding to the change that is published, and the next deadline."""
    assert of_an_observation().calls <= 30


class Instructions:
    """Counts the instructions of Python that run within a ``with`` block.

    Attributes:
        count: How many.
    """

    def __init__(self):
        self.count = 0

    def __enter__(self):
        self._before = sys.gettrace()
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_error):
        sys.settrace(self._before)

    def _trace(self, frame, event, _argument):
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        self.count += event == "opcode"
        return self._trace


def instructions_of_a_start(chargers):
    """Count what the last of many chargers costs in each step of the start."""
    serials = tuple(f"EH{number:06}" for number in range(chargers))
    easee = EaseeSettings("x@example.com", Secret("p"), serials)
    core = Core(Settings(easee), version="1", salt=b"salt")
    effects = core.handle(Started(), at(0.0)) + core.handle(StoreOpened(()), at(0.0))
    reads = deque(each for each in effects if isinstance(each, ReadReports))
    found = []
    while reads:
        with Instructions() if len(reads) == 1 else nullcontext() as read:
            effects = core.handle(ReportsRead(reads.popleft().tag, ()), at(0.1))
            core.deadline_s()
        reads.extend(each for each in effects if isinstance(each, ReadReports))
    found.append(read.count)
    for event in (MqttConnected(False, "5", 20), StreamOpened()):
        core.handle(event, at(0.2))
    for serial in serials:
        core.handle(StreamSubscription(serial, None), at(0.3))
    with Instructions() as subscribed:
        core.handle(StreamSubscription(serials[0], None), at(0.4))
        core.deadline_s()
    return [*found, subscribed.count]


def instructions_of_observations(chargers):
    """Count what the first observation of each id of one of many chargers costs, by id."""
    serials = tuple(f"EH{number:06}" for number in range(chargers))
    easee = EaseeSettings("x@example.com", Secret("p"), serials)
    core = Core(Settings(easee), version="1", salt=b"salt")
    for event in (StoreOpened(()), Started(), StreamOpened(), MqttConnected(False, "5", 20)):
        core.handle(event, at(0.5))
    found = {}
    for spec in (spec for _, spec in sorted(REGISTRY.items())):
        raw = RawObservation(serials[0], spec.id, 6, str(value_of(spec, 1)), iso_utc(NOON))
        with Instructions() as counts:
            core.handle(ObservationsReceived((raw,)), at(1.0))
            core.deadline_s()
        found[spec.id] = counts.count
    return found


def test_an_observation_costs_as_much_in_a_large_fleet():
    """Whatever it is about, the other chargers are not looked at."""
    few, many = instructions_of_observations(10), instructions_of_observations(200)

    assert {each: (few[each], many[each]) for each in few if many[each] > 1.1 * few[each]} == {}


def test_a_charger_costs_as_much_in_a_large_fleet():
    """What is done for one charger at the start does not grow with the number of the others."""
    few, many = instructions_of_a_start(10), instructions_of_a_start(200)

    assert all(a <= 1.1 * b for a, b in zip(many, few, strict=True)), (few, many)

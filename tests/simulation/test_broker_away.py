"""Three days without a broker: nothing is lost, nothing piles up, and it drains in order."""

import gc
import json
import tracemalloc
from collections import deque
from datetime import timedelta

import pytest

from bridge.core.composition import Core
from bridge.core.delivery.outbox import Outbox
from bridge.core.effects import (
    LogEntry,
    MaintainStore,
    MarkPublished,
    ReadReports,
    SaveReport,
    SendRequest,
)
from bridge.core.events import (
    CloudFailed,
    MqttAcked,
    MqttConnected,
    MqttDisconnected,
    ObservationsReceived,
    ReportSaved,
    ReportsRead,
    Started,
    StoreMaintained,
    StoreOpened,
    StreamOpened,
    Tick,
)
from bridge.core.messages import Publish
from bridge.core.records.moment import Timestamp
from bridge.core.records.observation import RawObservation
from bridge.core.records.stored_report import StoredReport
from bridge.core.sessions.report_merge import find_row
from bridge.core.value_format import iso_utc
from bridge.errors import CloudUnavailable
from bridge.settings import EaseeSettings, Secret, Settings
from tests.conftest import NOON
from tests.native import handled

CHARGERS = tuple(f"EH{number:06}" for number in range(50))
HOURS = 72
STEP = timedelta(minutes=15)
SESSION_EVERY = 24  # steps: four a day
# A pending report is a row in memory, and its session is known to backfill.
BYTES_PER_REPORT = 4096
SLACK_BYTES = 2 * 2**20


class Simulation:
    """The core, its outbox, a store in a dict and a broker that comes and goes."""

    def __init__(self):
        settings = Settings(EaseeSettings("x@example.com", Secret("p"), CHARGERS))
        self.machine = Core(settings, version="sim", salt=b"salt")
        self.outbox = Outbox()
        self.now = Timestamp(NOON, 1000.0)
        self.rows = {}
        self.arrived = []
        self.connected = False
        self.do(StoreOpened(()), Started(), StreamOpened(), MqttConnected(False, "5", 20))

    def do(self, *events):
        """Handle events and what follows from them, until all is quiet."""
        queue = deque(events)
        while queue:
            event = queue.popleft()
            match event:
                case MqttAcked(message):
                    self.outbox.acked(message)
                case MqttConnected():
                    self.connected = True
                case MqttDisconnected():
                    self.connected = False
                    self.outbox.connection_lost()
            for effect in handled(self.machine, event, self.now):
                queue.extend(self.answers(effect))
            while self.connected and (message := self.outbox.take()) is not None:
                self.arrived.append(message)
                queue.append(MqttAcked(message, 0))

    def answers(self, effect):
        """Carry out one effect; yield what the outside says to it."""
        match effect:
            case LogEntry("error", "component.failed", facts):
                raise facts["exc_info"]
            case Publish():
                self.outbox.put(effect)
            case SaveReport(report):
                key, held = find_row(report, [r for r in self.rows.values() if _same(r, report)])
                self.rows[key] = held or StoredReport(key, 1, report)
                yield ReportSaved(self.rows[key], held is None)
            case ReadReports(tag):
                yield ReportsRead(tag, ())
            case SendRequest(tag):
                yield CloudFailed(tag, CloudUnavailable("away too"))
            case MaintainStore():
                yield StoreMaintained(0.1, 2**30)
            case MarkPublished(key, revision):
                assert self.rows[key].revision == revision

    def step(self, number):
        """Let a quarter of an hour pass, in which every charger says something."""
        target = self.now.mono_s + STEP.total_seconds()
        while (due_s := self.machine.deadline_s()) is not None and due_s <= target:
            self.pass_until(max(due_s, self.now.mono_s))
            self.do(Tick())
        self.pass_until(target)
        stamp = iso_utc(self.now.wall)
        for charger_id in CHARGERS:
            raw = [RawObservation(charger_id, 120, 3, str(number % 7), stamp)]
            raw.append(RawObservation(charger_id, 128, 6, f"tag-{number}", stamp))
            if number % SESSION_EVERY == 0:
                started_at = iso_utc(self.now.wall - timedelta(hours=1))
                counter = number // SESSION_EVERY
                session = {"Id": counter, "Start": started_at, "Stop": stamp, "EnergyKwh": 1.5}
                raw.append(RawObservation(charger_id, 129, 6, json.dumps(session), stamp))
            self.do(ObservationsReceived(tuple(raw)))

    def pass_until(self, mono_s):
        passed = timedelta(seconds=mono_s - self.now.mono_s)
        self.now = Timestamp(self.now.wall + passed, mono_s)


def _same(row, report):
    return (row.report.charger_id, row.report.session_id) == (report.charger_id, report.session_id)


def _held_bytes():
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@pytest.mark.fault("F13")
def test_three_days_without_a_broker_cost_only_the_reports_and_all_of_them_arrive():
    """50 chargers: values are conflated, events bounded, reports kept, each charger in order."""
    simulation = Simulation()
    simulation.step(1)
    simulation.do(MqttDisconnected("gone"))
    steps = int(HOURS * timedelta(hours=1) / STEP)
    tracemalloc.start()
    try:
        for number in range(2, steps // 3 + 2):
            simulation.step(number)
        day, reports = _held_bytes(), len(simulation.rows)
        for number in range(steps // 3 + 2, steps + 2):
            simulation.step(number)
        grown, more = _held_bytes() - day, len(simulation.rows) - reports
    finally:
        tracemalloc.stop()
    assert len(simulation.rows) == len(CHARGERS) * steps // SESSION_EVERY
    assert grown <= more * BYTES_PER_REPORT + SLACK_BYTES

    simulation.arrived.clear()
    simulation.do(MqttConnected(False, "5", 20))
    assert (simulation.outbox.waiting, simulation.outbox.in_flight) == (0, 0)
    reports = [json.loads(m.payload) for m in simulation.arrived if m.topic.endswith("/report")]
    for charger_id in CHARGERS:
        mine = [one["session_id"] for one in reports if one["charger_id"] == charger_id]
        assert mine == list(range(1, steps // SESSION_EVERY + 1))
    powers = [m for m in simulation.arrived if m.topic.endswith("/state/total_power")]
    assert {m.payload for m in powers} == {str((steps + 1) % 7).encode()}

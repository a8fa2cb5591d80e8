"""Old settled rows go when the clock can be believed, and a filling store is told of."""

import json
from datetime import timedelta

import pytest

from bridge.core.alerts import Alerts
from bridge.core.effects import LogEntry, MaintainStore
from bridge.core.events import StoreMaintained
from bridge.core.records.moment import Timestamp
from bridge.core.sessions.retention import (
    COMMANDS_KEPT,
    FIRST_S,
    FORGET_EVERY_S,
    MEASURE_EVERY_S,
    WARNED_EVERY_S,
    Retention,
)
from tests.core.sessions.rows import NOON
from tests.native import publishes

MIB = 2**20


def make():
    """Make one that keeps 90 days, with an open store."""
    retention = Retention(Alerts(), keep_days=90)
    retention.opened(0.0)
    return retention


def at(mono_s, *, trusted=True):
    """A moment so many seconds after noon."""
    return Timestamp(NOON + timedelta(seconds=mono_s), mono_s, trusted)


def alerts(effects):
    """Return the payloads of the alert among the effects."""
    topic = "charger/bridge/alert/storage_filling"
    return [e.payload for e in publishes(effects) if e.topic == topic]


def test_once_a_day_what_is_settled_and_old_is_forgotten():
    """The bound is keep_days before now; in between the store is only measured."""
    retention = make()
    assert retention.deadline_s() == FIRST_S
    assert list(retention.tick(at(FIRST_S - 1))) == []
    now = at(FIRST_S)
    kept = timedelta(days=90)
    assert list(retention.tick(now)) == [MaintainStore(now.wall - kept, now.wall - COMMANDS_KEPT)]

    asked = []
    while (due_s := retention.deadline_s()) < FIRST_S + FORGET_EVERY_S:
        asked.extend(retention.tick(at(due_s)))
    assert set(asked) == {MaintainStore()}
    assert len(asked) == FORGET_EVERY_S / MEASURE_EVERY_S - 1
    now = at(FIRST_S + FORGET_EVERY_S)
    assert list(retention.tick(now)) == [MaintainStore(now.wall - kept, now.wall - COMMANDS_KEPT)]


@pytest.mark.fault("F10")
def test_nothing_is_forgotten_while_the_clock_is_not_trusted():
    """A clock that stands in the future would remove everything; the size is still measured."""
    retention = make()
    assert list(retention.tick(at(FIRST_S, trusted=False))) == [MaintainStore()]

    (effect,) = retention.tick(at(FIRST_S + MEASURE_EVERY_S))
    assert effect.settled_before is not None


def test_without_a_store_nothing_is_due():
    """There is nothing to tend."""
    retention = Retention(Alerts(), keep_days=90)

    assert retention.deadline_s() is None
    assert list(retention.tick(at(1e9))) == []


def test_each_level_is_told_and_its_end_too():
    """80, 95 and 100 per cent have words of their own, and the alert ends."""
    retention = make()
    said = []
    for share in (0.5, 0.79, 0.8, 0.81, 0.95, 1.0, 0.96, 0.2):
        said.extend(alerts(retention.maintained(StoreMaintained(share, 7 * MIB), at(0))))

    assert [json.loads(one)["message"] if one else "" for one in said] == [
        "the store is filling up (80% used, 7 MiB free)",
        "the store is nearly full: delivered reports are deleted (95% used, 7 MiB free)",
        "the store is full: new session reports are not taken (100% used, 7 MiB free)",
        "the store is nearly full: delivered reports are deleted (96% used, 7 MiB free)",
        "",
    ]


def test_a_warning_does_not_outlast_what_it_warns_of():
    """While somebody is warned the store is measured often; afterwards seldom again."""
    retention = make()
    list(retention.tick(at(FIRST_S)))
    list(retention.maintained(StoreMaintained(1.0, MIB), at(FIRST_S)))
    assert retention.deadline_s() == FIRST_S + WARNED_EVERY_S

    list(retention.tick(at(FIRST_S + WARNED_EVERY_S)))
    list(retention.maintained(StoreMaintained(0.1, MIB), at(FIRST_S + WARNED_EVERY_S)))
    assert retention.deadline_s() == FIRST_S + WARNED_EVERY_S + MEASURE_EVERY_S


def test_what_was_forgotten_is_noted():
    """The operator can see that retention works."""
    note = LogEntry("info", "store.expired_rows_deleted", {"rows": 3})

    assert list(make().maintained(StoreMaintained(0.1, MIB, 3), at(0))) == [note]

"""The status of several partitions is told as one."""

from datetime import timedelta

import pytest

from bridge.core.changes import AlertRaised, ReportCounts
from bridge.core.speaker.merging import MergedStatus
from tests.conftest import NOON
from tests.health import health


def merged(*words, chargers=("EH1",)):
    """Make partitions with a charger each, and these words for the cloud."""
    it = MergedStatus()
    for number, word in enumerate(words):
        part = it.of(number)
        part.cloud, part.chargers = word, tuple(f"{one}{number}" for one in chargers)
    return it


@pytest.mark.parametrize(
    ("words", "word"),
    [
        ((), "disconnected"),
        (("", ""), "disconnected"),
        (("connected", "connected"), "connected"),
        (("connected", ""), "connected"),
        (("connected", "degraded"), "degraded"),
        (("connected", "disconnected"), "degraded"),
        (("disconnected", "disconnected"), "disconnected"),
        (("connected", "blocked"), "blocked"),
        (("blocked", "auth_failed"), "auth_failed"),
    ],
)
def test_the_word_for_the_cloud(words, word):
    """What concerns the account counts for all; otherwise all of them must agree."""
    assert merged(*words).cloud == word


def test_a_partition_without_chargers_does_not_decide():
    """It need not be connected to the hub."""
    it = merged("connected", "disconnected")
    it.of(1).chargers = ()

    assert it.cloud == "connected"
    assert it.serving == [it.of(0)]


def test_a_partition_without_an_owner_has_nothing_online():
    """What it said last is old."""
    it = merged("connected", "connected")
    it.of(0).health = it.of(1).health = health(chargers_online=1)
    assert (it.online, it.cloud, it.has_stream) == (2, "connected", True)
    it.orphans = frozenset({1})

    assert (it.online, it.cloud) == (1, "degraded")


def test_what_is_counted_is_added_up():
    """Reports and counters of all of them; the store must be well everywhere."""
    it = merged("connected", "connected")
    it.of(0).health = health(reports=ReportCounts(pending=1), counters={"a": 1}, polling=True)
    it.of(1).health = health(reports=ReportCounts(2, 3), counters={"a": 2, "b": 4}, store=False)

    assert it.reports == ReportCounts(3, 3)
    assert it.counters == {"a": 3, "b": 4}
    assert (it.is_polling, it.store_ok, it.has_stream) == (True, False, True)
    assert it.chargers == ("EH10", "EH11")


def test_an_alert_of_several_partitions_is_one():
    """With one message where they agree, and open since the first of them."""
    it, later = merged("", "", ""), NOON + timedelta(seconds=9)
    it.of(0).alerts["x"] = AlertRaised("x", "same", "do", later)
    it.of(2).alerts["x"] = AlertRaised("x", "same", "do", NOON)
    assert it.alert("x") == AlertRaised("x", "same", "do", NOON)
    it.of(0).alerts["x"] = AlertRaised("x", "other", "do", later)

    assert it.alert("x") == AlertRaised("x", "partition 00: other; partition 02: same", "do", NOON)
    assert (it.alert("y"), it.alert_kinds) == (None, {"x"})

"""Every kilowatt-hour of a history is told once or named, and deliberate mistakes are found."""

from dataclasses import replace

import pytest

from bridge.core.chargers import fleet
from bridge.core.records import session_identity
from bridge.core.sessions import backfill, report_merge, unread
from tests.simulation.lives import play_many
from tests.simulation.sessions import play

# `make simulate-sessions` plays ten thousand; the last ones found a row days away from its report.
SHORT = (*range(1, 61), 8_800_050, 8_800_074, 8_801_090)
LONG = range(1, 401)


@pytest.mark.fault("F47", "F48", "F49")
def test_every_kilowatt_hour_is_told_once_or_named():
    """Cases A and B of issue 13 in every combination chance makes of them."""
    _, broken = play_many(play, SHORT)

    assert broken == []


def by_counter(one, other):
    """Take the counter for the session."""
    return int(one.session_id == other.session_id)


def by_start(one, other):
    """Take the start for the session."""
    return int(abs(one.started_at - other.started_at) <= session_identity.SAME_START_WITHIN)


def without_marks(report, **options):
    """Believe every clock."""
    return replace(identity_placed(report, **options), doubtful=(), placed_at=None)


def never(*_arguments, **_options):
    """Do nothing."""
    return iter(())


identity_placed = fleet.read_report.__globals__["placed"]


@pytest.mark.parametrize(
    ("where", "name", "mistake"),
    [
        (report_merge, "likeness", by_counter),
        (report_merge, "likeness", by_start),
        (report_merge, "supersedes", lambda _report, _held: False),
        (report_merge, "supersedes", lambda _report, _held: True),
        (session_identity, "is_again", lambda _one, _other: False),
        (session_identity, "_same_energy", lambda _one, _other: True),
        (session_identity, "_went_on", lambda _listed, _told: False),
        (unread.Unread, "take", never),
        (backfill.Backfill, "_tell", never),
    ],
    ids=[
        *("by counter", "by start", "the first", "the last", "no repetition", "any energy"),
        *("charger first", "texts", "gaps"),
    ],
)
def test_a_deliberate_mistake_is_found(monkeypatch, where, name, mistake):
    """An oracle that finds nothing would prove nothing."""
    monkeypatch.setattr(where, name, mistake)

    assert any(play_many(play, [seed])[1] for seed in LONG)


def test_clocks_that_are_all_believed_are_found(monkeypatch):
    """A time that is wrong and not marked."""
    monkeypatch.setitem(fleet.read_report.__globals__, "placed", without_marks)

    assert any(play_many(play, [seed])[1] for seed in LONG)

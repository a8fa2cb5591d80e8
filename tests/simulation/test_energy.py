"""Lives of the total energy: never falling, exact when the meter tells, in the right hour."""

import os

import pytest

from bridge.core.chargers import energy_total
from bridge.core.chargers.energy_total import EnergyTotal
from tests.simulation.energy import play
from tests.simulation.lives import play_many

LIVES = int(os.environ.get("ENERGY_LIVES", "40"))


def test_the_total_energy_is_right_in_every_life():
    """Through outages, crashes, stops and losses of power, with a charge in peace at the end."""
    counts, broken = play_many(play, range(1, LIVES + 1))

    assert broken == []
    assert all(counts[name] for name in ("outage", "killed", "stopped", "power lost"))
    assert counts["hours judged"] > LIVES


def _forgets_what_was_published(monkeypatch):
    monkeypatch.setattr(EnergyTotal, "resume", lambda *_: None)


def _takes_every_reading(monkeypatch):
    show = EnergyTotal._show

    def read(self, kwh, at, received_at):
        yield from show(self, kwh or 0.0, energy_total.Estimate(at, received_at, False, 0.0))

    monkeypatch.setattr(EnergyTotal, "read", read)


def _adds_too_little(monkeypatch):
    added = EnergyTotal._added
    monkeypatch.setattr(EnergyTotal, "_added", lambda self, *when: 0.97 * added(self, *when))


@pytest.mark.parametrize(
    ("defect", "found"),
    [
        (_forgets_what_was_published, "fell"),
        (_takes_every_reading, "fell"),
        (_adds_too_little, "is wrong by"),
    ],
)
def test_a_defect_is_found(defect, found, monkeypatch):
    """A model that breaks a promise does not get through: the lives can fail."""
    defect(monkeypatch)
    _, broken = play_many(play, range(1, 13))

    assert any(found in one for one in broken), broken

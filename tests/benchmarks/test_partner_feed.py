"""What the benchmark of the partner feed puts into the queue."""

from benchmarks.partner_feed import deliveries
from benchmarks.records import Fleet
from bridge.core.easee.partner_feed import read
from bridge.core.records.observation import RawObservation
from tests.conftest import NOON


def test_deliveries_are_what_the_feed_is_expected_to_send():
    """One observation each, of every charger and observation, with stamps that rise."""
    fleet = Fleet(2, 3)
    found = [item for key, body in deliveries(fleet, range(1, 3), NOON) for item in read(key, body)]

    assert all(isinstance(each, RawObservation) for each in found)
    assert {(each.charger_id, each.id) for each in found} == {
        (serial, spec.id) for serial in fleet.serials for spec in fleet.specs()
    }
    stamps = [each.timestamp for each in found]
    assert stamps == sorted(stamps)
    assert len(found) == 12

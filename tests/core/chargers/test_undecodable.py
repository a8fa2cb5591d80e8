"""Values that could not be decoded are named until a good one arrives."""

from bridge.core.alerts import Alerts
from bridge.core.changes import AlertCleared, AlertRaised
from bridge.core.chargers.undecodable import UndecodableValues
from bridge.core.effects import LogEntry
from bridge.core.records.moment import Timestamp
from bridge.errors import DecodeError
from tests.conftest import NOON

NOW = Timestamp(NOON, 1000.0)
ERROR = DecodeError("not a number", source="observation 31", raw="x")


def raised(outputs):
    """The messages of the alerts among some outputs."""
    return [one.message for one in outputs if isinstance(one, AlertRaised)]


def test_a_value_is_named_until_a_good_one_of_its_id_arrives():
    """It is logged once for all devices, and named for each."""
    values = UndecodableValues(Alerts())
    first = list(values.add("QP1", 31, ERROR, NOW))
    assert [one.event for one in first if isinstance(one, LogEntry)][:1] == [
        "observation.undecodable"
    ]
    (message,) = raised(values.add("EH1", 31, ERROR, NOW))
    assert "EH1/31, QP1/31" in message
    assert list(values.add("EH1", 31, ERROR, NOW)) == []
    assert list(values.discard("QP2", 31, NOW)) == []
    (message,) = raised(values.discard("QP1", 31, NOW))
    assert "QP1" not in message
    assert any(isinstance(one, AlertCleared) for one in values.discard("EH1", 31, NOW))


def test_a_device_that_is_removed_is_not_named_any_more():
    """The alert is over when its last value belonged to it."""
    values = UndecodableValues(Alerts())
    list(values.add("QP1", 31, ERROR, NOW))
    assert list(values.remove(("EH1",), NOW)) == []
    assert any(isinstance(one, AlertCleared) for one in values.remove(("QP1",), NOW))

"""What no partition serves is answered once, and what one serves is left to it."""

import pytest

from bridge.core.changes import CommandAnswered
from bridge.core.domain_events import CommandReceived, QueryReceived, SettingsChanged
from bridge.core.effects import Acknowledge, LogEntry
from bridge.core.events import MqttMessage
from bridge.core.messages import AckToken
from bridge.core.records.moment import Timestamp
from bridge.core.speaker.unknown_addressees import UnknownAddressees
from bridge.core.topics import GetTopic, SetTopic, Topics
from bridge.settings import CommandSettings, EaseeSettings, Secret, Settings
from tests.conftest import NOON

NOW = Timestamp(NOON, 1000.0)
ONE, OTHER = "EH000001", "EH000002"
RECEIPT = AckToken(1, 5, 1)


def asked(device, *, query=False, retained=False, payload=b'{"value": 16, "id": "x"}'):
    """Ask something of a device; return what follows."""
    it = UnknownAddressees(Topics("c"), CommandSettings(), {ONE})
    what = "get/sessions" if query else "set/pause"
    message = MqttMessage(f"c/{device}/{what}", payload, RECEIPT, retained)
    if query:
        event = QueryReceived(message, GetTopic(device, "sessions"))
    else:
        event = CommandReceived(message, SetTopic(device, "pause"))
    return list(it.handle(event, NOW))


@pytest.mark.parametrize("query", [True, False])
@pytest.mark.parametrize(("retained", "reason"), [(False, "unknown_charger"), (True, "retained")])
def test_what_no_partition_serves_is_refused(query, retained, reason):
    """As a gateway alone refuses it, and then acknowledged."""
    answer, line, acknowledged = asked(OTHER, query=query, retained=retained)

    assert isinstance(answer, CommandAnswered)
    assert (answer.charger_id, answer.result.id) == (OTHER, "x")
    assert (answer.result.state, answer.result.reason) == ("refused", reason)
    assert isinstance(line, LogEntry)
    assert acknowledged == Acknowledge(RECEIPT)


@pytest.mark.parametrize("query", [True, False])
def test_what_a_partition_serves_is_left_to_it(query):
    """Nothing is said: it has the message too, or gets it when it has an owner."""
    assert asked(ONE, query=query) == [Acknowledge(RECEIPT)]


def test_a_changed_configuration_answers_nothing():
    """It is used for the next command."""
    it = UnknownAddressees(Topics("c"), CommandSettings(), ())
    settings = Settings(EaseeSettings("x", Secret("p")))

    assert list(it.handle(SettingsChanged(settings), NOW)) == []
    assert it.deadline_s() is None

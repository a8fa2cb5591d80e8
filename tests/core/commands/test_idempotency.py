from bridge.core.commands import idempotency
from bridge.core.commands.idempotency import (
    MOST_DELIVERIES,
    REDELIVERED_WITHIN_S,
    REMEMBERED_S,
    Deliveries,
    Memory,
)
from bridge.core.commands.state_machine import Command, State
from bridge.core.commands.validation import Order, digest_of
from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.events import MqttMessage
from bridge.core.messages import Receipt
from bridge.core.records.moment import Moment
from tests.conftest import NOON


def _command(name, at_s=0.0):
    order = Order("EH123456", CATALOGUE["start"], None, None, name, 60.0)
    return Command(order, Moment(NOON, at_s), at_s + 60.0, [])


def test_a_name_leads_to_the_command_and_then_to_its_answer():
    """While a command runs its name finds it; afterwards its name finds the final answer."""
    memory, one = Memory(), _command(("EH123456", "a"))
    memory.begin(one)
    assert memory.find(("EH123456", "a"), 1.0).command is one
    memory.settle(one, b"done")
    fate = memory.find(("EH123456", "a"), 2.0)
    assert (fate.command, fate.answer, fate.content) == (None, b"done", ("start", "None"))


def test_names_of_other_chargers_and_kinds_are_other_names():
    """A name belongs to one charger, and an id is not the same bytes of correlation data."""
    memory = Memory()
    memory.begin(_command(("EH123456", "a")))

    assert memory.find(("EH999999", "a"), 1.0) is None
    assert memory.find(("EH123456", b"a"), 1.0) is None
    assert memory.find(None, 1.0) is None


def test_names_are_forgotten_after_a_day(monkeypatch):
    """A name is free again after 24 hours, and the oldest go when there are too many."""
    memory = Memory()
    memory.begin(_command(("EH123456", "a")))
    assert memory.find(("EH123456", "a"), REMEMBERED_S) is not None
    assert memory.find(("EH123456", "a"), REMEMBERED_S + 1.0) is None

    monkeypatch.setattr(idempotency, "MOST_REMEMBERED", 2)
    commands = [_command(("EH123456", text)) for text in "abc"]
    for one in commands:
        memory.begin(one)
    memory.settle(commands[0], b"too late")
    found = [memory.find(("EH123456", text), 1.0) is not None for text in "abc"]
    assert found == [False, True, True]


def test_a_command_without_a_name_is_not_remembered():
    """Nothing is kept for a caller who gave no name."""
    memory, one = Memory(), _command(None)
    memory.begin(one)
    memory.settle(one, b"done")

    assert memory.find(None, 1.0) is None


def test_what_was_refused_may_be_asked_for_again():
    """A refusal is not kept under the name: nothing was done."""
    memory, one = Memory(), _command(("EH123456", "a"))
    memory.begin(one)
    one.state = State.REFUSED
    memory.settle(one, b"no")

    assert memory.find(("EH123456", "a"), 1.0) is None


def test_an_earlier_process_s_answer_is_remembered():
    """What a row tells of a named command counts like what happened here."""
    memory = Memory()
    memory.recall(("EH123456", "a"), ("start", "None"), -3600.0, b"done")
    memory.recall(None, ("start", "None"), 0.0, b"done")

    assert memory.find(("EH123456", "a"), 0.0).answer == b"done"
    assert memory.find(("EH123456", "a"), REMEMBERED_S - 3599.0) is None


def _message(payload=b"PRESS", packet=7, **facts):
    facts = {"duplicate": True} | facts
    return MqttMessage("charger/EH123456/set/start", payload, Receipt(2, packet, 1), **facts)


def test_a_message_is_recognised_when_the_broker_delivers_it_again():
    """DUP, the same packet identifier, topic and payload: the same message, for a while."""
    deliveries, one = Deliveries(), _command(None)
    deliveries.add(digest_of(_message()), 7, one, 100.0)

    assert deliveries.find(_message(), 200.0).command is one
    for other in (
        _message(duplicate=False),
        _message(retained=True),
        _message(b"on"),
        _message(packet=8),
        _message(packet=0),
        _message(response_topic="replies/2"),
        _message(correlation=b"2"),
    ):
        assert deliveries.find(other, 200.0) is None
    assert deliveries.find(_message(), 100.0 + REDELIVERED_WITHIN_S) is None


def test_without_a_session_nothing_is_delivered_again():
    """Packet identifiers start anew with a session, so the old ones say nothing."""
    deliveries = Deliveries()
    deliveries.add(digest_of(_message()), 7, None, 100.0)
    deliveries.clear()

    assert deliveries.find(_message(), 101.0) is None


def test_deliveries_are_bounded():
    """However many messages come, only the newest are remembered; QoS 0 has no identifier."""
    deliveries = Deliveries()
    for packet in range(MOST_DELIVERIES + 2):
        deliveries.add(digest_of(_message()), packet, None, 0.0)

    assert deliveries.find(_message(packet=1), 1.0) is None
    assert deliveries.find(_message(packet=2), 1.0) is not None


def test_a_message_of_an_earlier_process_is_known_as_such():
    """Delivered again and never seen here is an earlier process's, a new session or not."""
    deliveries = Deliveries()
    message = MqttMessage("t", b"PRESS", Receipt(1, 9, 1), duplicate=True)
    digest = digest_of(message)
    deliveries.add(digest, 8, None, 0.0)
    assert deliveries.find(message, 1.0) is None
    assert deliveries.inherited(digest, 9) is None
    deliveries.add(digest, 9, None, 1.0)

    assert deliveries.inherited(digest, 9) is not None
    assert deliveries.inherited(digest, 8) is None


def test_a_message_is_recognised_long_after_the_bridge_was_started():
    """Its age counts, and not how long the machine has been running."""
    deliveries = Deliveries()
    deliveries.add(digest_of(_message()), 7, None, 1e9)

    assert deliveries.find(_message(), 1e9 + 10.0) is not None
    assert deliveries.find(_message(), 1e9 + REDELIVERED_WITHIN_S) is None


def test_of_too_many_messages_of_an_earlier_process_the_oldest_are_forgotten():
    """The newest are those whose rows may still come."""
    deliveries = Deliveries()
    for packet in range(1, MOST_DELIVERIES + 2):
        deliveries.find(_message(packet=packet), 1.0)
        deliveries.add(digest_of(_message()), packet, None, 1.0)

    assert deliveries.inherited(digest_of(_message()), 1) is None
    assert deliveries.inherited(digest_of(_message()), MOST_DELIVERIES + 1) is not None

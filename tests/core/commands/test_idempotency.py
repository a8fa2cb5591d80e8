from bridge.core.commands import idempotency
from bridge.core.commands.idempotency import (
    CACHE_TTL_S,
    MAX_SEEN_MESSAGES,
    REDELIVERY_WINDOW_S,
    IdempotencyCache,
    RedeliveryFilter,
)
from bridge.core.commands.state_machine import Command, State
from bridge.core.commands.validation import CommandRequest, message_digest
from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.events import MqttMessage
from bridge.core.messages import AckToken
from bridge.core.records.moment import Timestamp
from tests.conftest import NOON


def _command(name, at_s=0.0):
    request = CommandRequest("EH123456", CATALOGUE["start"], None, None, name, 60.0)
    return Command(request, Timestamp(NOON, at_s), at_s + 60.0, [])


def test_a_name_leads_to_the_command_and_then_to_its_answer():
    """While a command runs its name finds it; afterwards its name finds the final answer."""
    cache, one = IdempotencyCache(), _command(("EH123456", "a"))
    cache.begin(one)
    assert cache.find(("EH123456", "a"), 1.0).command is one
    cache.complete(one, b"done")
    entry = cache.find(("EH123456", "a"), 2.0)
    assert (entry.command, entry.answer, entry.content) == (None, b"done", ("start", "None"))


def test_names_of_other_chargers_and_kinds_are_other_names():
    """A name belongs to one charger, and an id is not the same bytes of correlation data."""
    cache = IdempotencyCache()
    cache.begin(_command(("EH123456", "a")))

    assert cache.find(("EH999999", "a"), 1.0) is None
    assert cache.find(("EH123456", b"a"), 1.0) is None
    assert cache.find(None, 1.0) is None


def test_names_are_forgotten_after_a_day(monkeypatch):
    """A name is free again after 24 hours, and the oldest go when there are too many."""
    cache = IdempotencyCache()
    cache.begin(_command(("EH123456", "a")))
    assert cache.find(("EH123456", "a"), CACHE_TTL_S) is not None
    assert cache.find(("EH123456", "a"), CACHE_TTL_S + 1.0) is None

    monkeypatch.setattr(idempotency, "CACHE_SIZE", 2)
    commands = [_command(("EH123456", text)) for text in "abc"]
    for one in commands:
        cache.begin(one)
    cache.complete(commands[0], b"too late")
    found = [cache.find(("EH123456", text), 1.0) is not None for text in "abc"]
    assert found == [False, True, True]


def test_a_command_without_a_name_is_not_remembered():
    """Nothing is kept for a caller who gave no name."""
    cache, one = IdempotencyCache(), _command(None)
    cache.begin(one)
    cache.complete(one, b"done")

    assert cache.find(None, 1.0) is None


def test_what_was_refused_may_be_asked_for_again():
    """A refusal is not kept under the name: nothing was done."""
    cache, one = IdempotencyCache(), _command(("EH123456", "a"))
    cache.begin(one)
    one.state = State.REFUSED
    cache.complete(one, b"no")

    assert cache.find(("EH123456", "a"), 1.0) is None


def test_an_earlier_process_s_answer_is_remembered():
    """What a row tells of a named command counts like what happened here."""
    cache = IdempotencyCache()
    cache.restore(("EH123456", "a"), ("start", "None"), -3600.0, b"done")
    cache.restore(None, ("start", "None"), 0.0, b"done")

    assert cache.find(("EH123456", "a"), 0.0).answer == b"done"
    assert cache.find(("EH123456", "a"), CACHE_TTL_S - 3599.0) is None


def _message(payload=b"PRESS", packet=7, **facts):
    facts = {"duplicate": True} | facts
    return MqttMessage("charger/EH123456/set/start", payload, AckToken(2, packet, 1), **facts)


def test_a_message_is_recognised_when_the_broker_delivers_it_again():
    """DUP, the same packet identifier, topic and payload: the same message, for a while."""
    redeliveries, one = RedeliveryFilter(), _command(None)
    redeliveries.add(message_digest(_message()), 7, one, 100.0)

    assert redeliveries.find(_message(), 200.0).command is one
    for other in (
        _message(duplicate=False),
        _message(retained=True),
        _message(b"on"),
        _message(packet=8),
        _message(packet=0),
        _message(response_topic="replies/2"),
        _message(correlation=b"2"),
    ):
        assert redeliveries.find(other, 200.0) is None
    assert redeliveries.find(_message(), 100.0 + REDELIVERY_WINDOW_S) is None


def test_without_a_session_nothing_is_delivered_again():
    """Packet identifiers start anew with a session, so the old ones say nothing."""
    redeliveries = RedeliveryFilter()
    redeliveries.add(message_digest(_message()), 7, None, 100.0)
    redeliveries.clear()

    assert redeliveries.find(_message(), 101.0) is None


def test_deliveries_are_bounded():
    """However many messages come, only the newest are remembered; QoS 0 has no identifier."""
    redeliveries = RedeliveryFilter()
    for packet in range(MAX_SEEN_MESSAGES + 2):
        redeliveries.add(message_digest(_message()), packet, None, 0.0)

    assert redeliveries.find(_message(packet=1), 1.0) is None
    assert redeliveries.find(_message(packet=2), 1.0) is not None


def test_a_message_of_an_earlier_process_is_known_as_such():
    """Delivered again and never seen here is an earlier process's, a new session or not."""
    redeliveries = RedeliveryFilter()
    message = MqttMessage("t", b"PRESS", AckToken(1, 9, 1), duplicate=True)
    digest = message_digest(message)
    redeliveries.add(digest, 8, None, 0.0)
    assert redeliveries.find(message, 1.0) is None
    assert redeliveries.of_earlier_process(digest, 9) is None
    redeliveries.add(digest, 9, None, 1.0)

    assert redeliveries.of_earlier_process(digest, 9) is not None
    assert redeliveries.of_earlier_process(digest, 8) is None


def test_a_message_is_recognised_long_after_the_bridge_was_started():
    """Its age counts, and not how long the machine has been running."""
    redeliveries = RedeliveryFilter()
    redeliveries.add(message_digest(_message()), 7, None, 1e9)

    assert redeliveries.find(_message(), 1e9 + 10.0) is not None
    assert redeliveries.find(_message(), 1e9 + REDELIVERY_WINDOW_S) is None


def test_of_too_many_messages_of_an_earlier_process_the_oldest_are_forgotten():
    """The newest are those whose rows may still come."""
    redeliveries = RedeliveryFilter()
    for packet in range(1, MAX_SEEN_MESSAGES + 2):
        redeliveries.find(_message(packet=packet), 1.0)
        redeliveries.add(message_digest(_message()), packet, None, 1.0)

    assert redeliveries.of_earlier_process(message_digest(_message()), 1) is None
    assert (
        redeliveries.of_earlier_process(message_digest(_message()), MAX_SEEN_MESSAGES + 1)
        is not None
    )

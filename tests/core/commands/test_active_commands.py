import pytest

from bridge.core.commands import active_commands as module
from bridge.core.commands.active_commands import (
    CACHE_TTL_S,
    MAX_SEEN_MESSAGES,
    MAX_WAITING,
    MAX_WAITING_PER_CHARGER,
    REDELIVERY_WINDOW_S,
    RESERVED,
    RESERVED_PER_CHARGER,
    ActiveCommands,
    Command,
    IdempotencyCache,
    RedeliveryFilter,
)
from bridge.core.commands.shown_state import ShownState
from bridge.core.commands.state_machine import State, Transition
from bridge.core.commands.validation import CommandRequest, ReplyTo, message_digest
from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.easee.rest_responses import CommandReference
from bridge.core.effects import Acknowledge, SaveCommand
from bridge.core.events import MqttMessage
from bridge.core.messages import AckToken, Publish
from bridge.core.records.moment import Timestamp
from bridge.errors import CommandRefused
from tests.conftest import NOON
from tests.core.commands.bench import (
    ID,
    OTHER,
    TICKS,
    Bench,
    answers,
    call_of,
    calls_of,
    states,
    ticket,
)
from tests.native import publishes

NOW = Timestamp(NOON, 0.0)


def _named(name, at_s=0.0):
    request = CommandRequest("EH123456", CATALOGUE["start"], None, None, name, 60.0)
    return Command(request, Timestamp(NOON, at_s), at_s + 60.0, [])


@pytest.fixture
def bench():
    """A fresh journal."""
    return Bench()


def _confirmed(bench, payload=b"PRESS", **facts):
    bench.answer(call_of(bench.send("start", payload, **facts)), ticket())
    return bench.respond()


def test_a_final_answer_is_on_disk_before_it_is_told(bench):
    """The row with the answer is committed first, and is the very answer that is published."""
    bench.disk = "hangs"
    bench.send()
    bench.answer(call_of(bench.commit()), ticket())
    bench.commit()
    assert states(bench.respond()) == []
    (row,) = bench.pending
    assert row.state == "confirmed"
    told = bench.commit()
    assert [e.payload for e in told if isinstance(e, Publish)] == [row.answer]


def test_accepted_is_told_without_waiting_for_the_disk(bench):
    """The first answer costs no commit: it is not final, and binds nobody."""
    bench.disk = "hangs"
    bench.send()
    call = call_of(bench.commit())

    assert states(bench.answer(call, ticket())) == ["accepted"]


def test_an_answer_is_owed_until_the_broker_has_it(bench):
    """Every publication is acknowledged before the row says that the answer was told."""
    bench.acks = False
    effects = _confirmed(bench, response_topic="charger/reply/x")
    told = [e for e in effects if isinstance(e, Publish) and e.tag]
    assert len(told) == len({e.tag for e in told}) == 2

    bench.journal.acked(told[0], bench.now)
    bench.pass_s(1)
    assert [b'"is_told":false' in row.body for row in bench.rows.values()] == [True]
    bench.journal.acked(told[1], bench.now)
    bench.journal.acked(told[1], bench.now)
    bench.pass_s(1)
    assert [b'"is_told":true' in row.body for row in bench.rows.values()] == [True]
    assert bench.journal.deadline_s() is None


def test_other_peoples_tags_are_ignored(bench):
    """Acknowledgements of reports and values are none of ours."""
    bench.journal.acked(Publish("x", b"1", tag="report:k:1"), bench.now)
    bench.journal.acked(Publish("x", b"1"), bench.now)

    assert bench.journal.deadline_s() is None


def test_what_was_put_off_is_written_before_the_end(bench):
    """A clean stop leaves no answer to be repeated, and sends nothing more."""
    bench.send("start", b'{"ttl_s":600}')
    bench.answer(call_of(bench.send("pause", charger_id=OTHER)), b"[]")
    bench.send("stop")
    effects = bench.take(bench.journal.stop(bench.now))
    assert [e.row.charger_id for e in effects if isinstance(e, SaveCommand)] == [OTHER]
    assert not calls_of(bench.respond(command_id=25))


def test_every_asking_is_on_disk_before_it_is_acknowledged(bench):
    """Somebody who asks for a running command waits for the answer also after a restart."""
    bench.disk = "hangs"
    bench.send("start", b'{"id":"a"}', packet=1)
    assert Acknowledge(AckToken(1, 1, 1)) in bench.commit()

    assert Acknowledge(AckToken(1, 2, 1)) not in bench.send("start", b'{"id":"a"}', packet=2)
    effects = bench.commit()
    assert Acknowledge(AckToken(1, 2, 1)) in effects
    assert not [e for e in effects if isinstance(e, SaveCommand)]


def test_who_asks_between_the_end_and_its_answer_is_answered_too(bench):
    """A repetition that arrives while the end is being written gets the same answer once."""
    bench.disk = "hangs"
    bench.send("start", b'{"id":"a"}')
    bench.answer(call_of(bench.commit()), b"[]")
    bench.send("start", b'{"id":"a"}', response_topic="charger/reply/b")
    assert states(bench.commit()) == []
    effects = bench.commit()

    assert states(effects) == ["noop", "noop"]
    assert len(answers(effects, "charger/reply/b")) == 1


def test_what_our_command_moves_is_expected_only_once_it_was_sent(bench):
    """A command that waits moves nothing yet."""
    bench.send("pause")
    bench.send("smart_charging", b"on")

    assert bench.journal.expects(ID, 48, bench.now)
    assert not bench.journal.expects(ID, 102, bench.now)


def test_the_answer_survives_word_for_word(bench):
    """The document in the store is what a repetition a day later gets, to the byte."""
    effects = _confirmed(bench, b'{"id":"a"}')
    (first,) = {e.payload for e in effects if isinstance(e, Publish)}
    bench.restart()
    again = bench.send("start", b'{"id":"a"}')

    assert {e.payload for e in again if isinstance(e, Publish)} == {first}
    assert str(TICKS).encode() in first


# -- queues ---------------------------------------------------------------------------------------


def _registry():
    return ActiveCommands(ShownState())


def _command(charger_id, seq=0):
    request = CommandRequest(charger_id, CATALOGUE["start"], None, None, None, 60.0)
    return Command(request, Timestamp(NOON, 0.0), 60.0, [], seq=seq)


def _put(commands, command):
    commands.add(command)
    commands.enqueue(command)


def test_a_queue_is_first_come_first_served():
    """Commands of one charger leave in the order they came; a retry goes first again."""
    commands = _registry()
    first, second = _command("A", 1), _command("A", 2)
    commands.enqueue(first)
    commands.enqueue(second)
    assert list(commands.ready(())) == [first]
    commands.dequeue(first)
    assert list(commands.ready(())) == [second]
    commands.enqueue(first)
    assert list(commands.ready(())) == [first]


def test_queues_take_turns():
    """A charger that was served goes behind the others; a busy one is passed over."""
    commands = _registry()
    for charger_id in ("A", "A", "B", "C"):
        _put(commands, _command(charger_id))
    commands.rotate("A")
    commands.rotate("nobody")

    assert [c.charger_id for c in commands.ready(())] == ["B", "C", "A"]
    assert [c.charger_id for c in commands.ready({"C"})] == ["B", "A"]


def test_queues_are_bounded():
    """A full queue is busy by itself, and all of them together are bounded too."""
    commands = _registry()
    for number in range(MAX_WAITING // MAX_WAITING_PER_CHARGER):
        for _ in range(MAX_WAITING_PER_CHARGER):
            commands.check_capacity(f"C{number}")
            _put(commands, _command(f"C{number}"))
        with pytest.raises(CommandRefused, match="busy"):
            commands.check_capacity(f"C{number}")
    with pytest.raises(CommandRefused, match="busy"):
        commands.check_capacity("another")
    commands.dequeue(next(commands.ready(())))
    commands.check_capacity("another")


def test_a_flood_leaves_room_to_stop():
    """Where everything else is busy some stops still find a place, and those are bounded too."""
    commands = _registry()
    for _ in range(MAX_WAITING_PER_CHARGER):
        _put(commands, _command("A"))
    for _ in range(RESERVED_PER_CHARGER):
        with pytest.raises(CommandRefused, match="busy"):
            commands.check_capacity("A")
        commands.check_capacity("A", reduces=True)
        _put(commands, _command("A"))
    with pytest.raises(CommandRefused, match="busy"):
        commands.check_capacity("A", reduces=True)


def test_a_circuits_command_waits_in_the_queues_of_all_its_chargers():
    """It goes when it is the first everywhere, and nothing that came later goes before it."""
    commands = _registry()
    before, circuit, after = _command("B", 1), _command("A", 2), _command("B", 3)
    for command in (before, after, circuit):
        commands.enqueue(command)
    commands.enqueue(circuit, {"A", "B"})
    assert list(commands.waiting("B")) == [before, circuit, after]
    assert list(commands.ready(())) == [before]

    commands.dequeue(before)
    assert list(commands.ready(())) == [circuit]
    assert list(commands.ready({"B"})) == []
    assert not commands.is_ready(after, ())
    commands.dequeue(circuit)
    assert list(commands.ready(())) == [after]
    assert list(commands.waiting("A")) == []


def test_what_is_ending_takes_room_too():
    """Commands that left the queue and are not on disk yet count for its charger."""
    commands = _registry()
    commands.check_capacity("A", MAX_WAITING_PER_CHARGER - 1)
    with pytest.raises(CommandRefused, match="busy"):
        commands.check_capacity("A", MAX_WAITING_PER_CHARGER)


def test_floods_of_all_chargers_leave_room_to_stop():
    """Where no queue has room for anything else some stops still find a place, and no more."""
    commands = _registry()
    for number in range(MAX_WAITING):
        _put(commands, _command(f"C{number}"))
    for number in range(RESERVED):
        with pytest.raises(CommandRefused, match="busy"):
            commands.check_capacity(f"D{number}")
        commands.check_capacity(f"D{number}", reduces=True)
        _put(commands, _command(f"D{number}"))
    with pytest.raises(CommandRefused, match="busy"):
        commands.check_capacity("another", reduces=True)


# -- the record ------------------------------------------------------------------------------------


def test_a_step_outside_the_table_is_a_mistake():
    """A final state cannot be left, so there is no second final answer."""
    one = _named(None)
    for transition in (
        Transition.QUEUE,
        Transition.PICK,
        Transition.SEND,
        Transition.TAKE,
        Transition.CONFIRM,
    ):
        one.apply(transition)

    assert one.state is State.CONFIRMED
    with pytest.raises(KeyError):
        one.apply(Transition.REJECT)


def test_a_new_attempt_forgets_what_the_last_one_seemed_to_show():
    """What was seen during an attempt that failed is no proof of the next one."""
    one = _named(None)
    one.apply(Transition.QUEUE)
    one.apply(Transition.PICK)
    one.seen.add((0, 109))
    one.is_reflected = True
    one.mark_sent(Timestamp(NOON, 5.0))

    assert (one.state, one.seen, one.is_reflected) == (State.SENT, set(), False)


def _after(*steps):
    request = CommandRequest("EH123456", CATALOGUE["authorization_required"], True, "a", None, 60.0)
    command = Command(request, NOW, 60.0, [ReplyTo(), ReplyTo("charger/reply/x", b"c")])
    for step in steps:
        command.apply(step)
    return command


@pytest.mark.parametrize(
    ("steps", "given", "shown"),
    [
        (
            (Transition.QUEUE, Transition.PICK, Transition.SEND, Transition.TAKE),
            None,
            "local_pre_authorize_enabled becomes false",
        ),
        ((Transition.QUEUE, Transition.LATE), None, "its time ran out"),
        (
            (Transition.QUEUE, Transition.PICK, Transition.SEND, Transition.DENY),
            "the cloud said no",
            "the cloud said no",
        ),
        (
            (Transition.QUEUE, Transition.PICK, Transition.SEND, Transition.DENY),
            "x" * 1000,
            f"{'x' * 199}…",
        ),
    ],
)
def test_the_detail_is_what_helps_most(steps, given, shown):
    """What is known of this failure comes first, then what the state means, then side effects."""
    detail = _after(*steps).result(NOW, detail=given).detail

    assert detail.startswith(shown)
    assert len(detail) <= 200


def test_a_caveat_is_part_of_every_answer():
    """What a caller must know of this command is told with whatever else is to be said."""
    command = _after(Transition.QUEUE, Transition.LATE)
    command.caveat = "the journal could not be written"

    assert command.result(NOW).detail == (
        "its time ran out before it could be sent; the journal could not be written"
    )


def test_a_reply_names_the_first_ticket_that_has_ticks():
    """The answer carries the vendor's name for the command."""
    command = _after(Transition.QUEUE, Transition.PICK, Transition.SEND, Transition.TAKE)
    command.tickets = (CommandReference("", 42, None), CommandReference("", 42, 7))

    result = command.result(NOW)

    assert (result.ticks, result.final, result.state) == (7, False, "accepted")


def test_everybody_who_waits_is_told():
    """Each asking gets the result topic, and its own Response Topic."""
    effects = []
    _registry().publish_progress(_after(Transition.QUEUE), effects, NOW)
    topics = [publish.topic for publish in publishes(effects)]

    result = "charger/EH123456/result/authorization_required"
    assert topics == [result, result, "charger/reply/x"]


# -- by name and by message ------------------------------------------------------------------------

NAME = ("EH123456", "a")


def test_a_name_leads_to_the_command_and_then_to_its_answer():
    """While a command runs its name finds it; afterwards its name finds the final answer."""
    cache, one = IdempotencyCache(), _named(NAME)
    cache.begin(one.request.name, one)
    assert cache.find(NAME, 1.0).command is one
    cache.complete(one.request.name, one, b"done")
    known = cache.find(NAME, 2.0)
    assert (known.command, known.answer, known.content) == (None, b"done", ("start", "None"))


def test_names_of_other_chargers_and_kinds_are_other_names():
    """A name belongs to one charger, and an id is not the same bytes of correlation data."""
    cache = IdempotencyCache()
    cache.begin(NAME, _named(NAME))

    assert cache.find(("EH999999", "a"), 1.0) is None
    assert cache.find(("EH123456", b"a"), 1.0) is None


def test_names_are_forgotten_after_a_day(monkeypatch):
    """A name is free again after 24 hours, and the oldest go when there are too many."""
    cache = IdempotencyCache()
    cache.begin(NAME, _named(NAME))
    assert cache.find(NAME, CACHE_TTL_S) is not None
    assert cache.find(NAME, CACHE_TTL_S + 1.0) is None

    monkeypatch.setattr(module, "CACHE_SIZE", 2)
    all_ = [_named(("EH123456", text)) for text in "abc"]
    for one in all_:
        cache.begin(one.request.name, one)
    cache.complete(NAME, all_[0], b"too late")
    found = [cache.find(("EH123456", text), 1.0) is not None for text in "abc"]
    assert found == [False, True, True]


def test_what_was_refused_may_be_asked_for_again():
    """A refusal is not kept under the name: nothing was done."""
    cache, one = IdempotencyCache(), _named(NAME)
    cache.begin(one.request.name, one)
    one.state = State.REFUSED
    cache.complete(one.request.name, one, b"no")

    assert cache.find(NAME, 1.0) is None


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
    filter_, one = RedeliveryFilter(), _named(None)
    filter_.add(message_digest(_message()), 7, one, 100.0)

    assert filter_.find(_message(), 200.0).command is one
    for other in (
        _message(retained=True),
        _message(b"on"),
        _message(packet=8),
        _message(packet=0),
        _message(response_topic="replies/2"),
        _message(correlation=b"2"),
    ):
        assert filter_.find(other, 200.0) is None
    assert filter_.find(_message(), 100.0 + REDELIVERY_WINDOW_S) is None


def test_without_a_session_nothing_is_delivered_again():
    """Packet identifiers start anew with a session, so the old ones say nothing."""
    filter_ = RedeliveryFilter()
    filter_.add(message_digest(_message()), 7, None, 100.0)
    filter_.clear()

    assert filter_.find(_message(), 101.0) is None


def test_deliveries_are_bounded():
    """However many messages come, only the newest are remembered; QoS 0 has no identifier."""
    filter_ = RedeliveryFilter()
    for packet in range(MAX_SEEN_MESSAGES + 2):
        filter_.add(message_digest(_message()), packet, None, 0.0)

    assert filter_.find(_message(packet=1), 1.0) is None
    assert filter_.find(_message(packet=2), 1.0) is not None


def test_a_message_of_an_earlier_process_is_known_as_such():
    """Delivered again and never seen here is an earlier process's, a new session or not."""
    filter_ = RedeliveryFilter()
    message = MqttMessage("t", b"PRESS", AckToken(1, 9, 1), duplicate=True)
    digest = message_digest(message)
    filter_.add(digest, 8, None, 0.0)
    assert filter_.find(message, 1.0) is None
    assert filter_.of_earlier_process(digest, 9) is None
    filter_.add(digest, 9, None, 1.0)

    assert filter_.of_earlier_process(digest, 9) is not None
    assert filter_.of_earlier_process(digest, 8) is None


def test_a_message_is_recognised_long_after_the_bridge_was_started():
    """Its age counts, and not how long the machine has been running."""
    filter_ = RedeliveryFilter()
    filter_.add(message_digest(_message()), 7, None, 1e9)

    assert filter_.find(_message(), 1e9 + 10.0) is not None
    assert filter_.find(_message(), 1e9 + REDELIVERY_WINDOW_S) is None


def test_of_too_many_messages_of_an_earlier_process_the_oldest_are_forgotten():
    """The newest are those whose rows may still come."""
    filter_ = RedeliveryFilter()
    for packet in range(1, MAX_SEEN_MESSAGES + 2):
        filter_.find(_message(packet=packet), 1.0)
        filter_.add(message_digest(_message()), packet, None, 1.0)

    assert filter_.of_earlier_process(message_digest(_message()), 1) is None
    assert filter_.of_earlier_process(message_digest(_message()), MAX_SEEN_MESSAGES + 1) is not None

import pytest

from bridge.core.effects import Acknowledge, SaveCommand
from bridge.core.messages import AckToken, Publish
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
    tags = [e.tag for e in effects if isinstance(e, Publish) and e.tag]
    assert len(tags) == len(set(tags)) == 2

    bench.journal.acked(tags[0], bench.now)
    bench.pass_s(1)
    assert [b'"is_told":false' in row.body for row in bench.rows.values()] == [True]
    bench.journal.acked(tags[1], bench.now)
    bench.journal.acked(tags[1], bench.now)
    bench.pass_s(1)
    assert [b'"is_told":true' in row.body for row in bench.rows.values()] == [True]
    assert bench.journal.deadline_s() is None


def test_other_peoples_tags_are_ignored(bench):
    """Acknowledgements of reports and values are none of ours."""
    bench.journal.acked("report:k:1", bench.now)
    bench.journal.acked("", bench.now)

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

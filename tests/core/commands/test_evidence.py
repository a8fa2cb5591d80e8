from dataclasses import replace
from datetime import timedelta

import pytest

from bridge.core.commands.evidence import (
    Readings,
    is_after,
    is_exact,
    owner,
    reflects,
    take_response,
)
from bridge.core.commands.state_machine import Command, State
from bridge.core.commands.validation import Order
from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.easee.command_payloads import Phases
from bridge.core.easee.decode import Observation, spec_of
from bridge.core.easee.rest_responses import CommandTicket
from bridge.core.events import CommandResponse, Moment
from tests.conftest import NOON

ID = "EH123456"
TICKS = 639086870099692230
SECOND = 10_000_000


def _command(name="pause", tickets=(), argument=None, devices=(ID,)):
    order = Order(ID, CATALOGUE[name], argument, None, None, 60.0)
    command = Command(order, Moment(NOON, 0.0), 60.0, [])
    command.devices = frozenset(devices)
    command.tickets = tuple(CommandTicket(ID, number, ticks) for number, ticks in tickets)
    return command


def _response(command_id=48, ticks=TICKS, charger_id=ID):
    return CommandResponse(charger_id, command_id, ticks, accepted=True, result_code=0)


def _observation(number, value, at_s=0.0, charger_id=ID):
    return Observation(charger_id, spec_of(number), value, NOON + timedelta(seconds=at_s))


def test_ticks_name_the_command():
    """Of two commands of one kind the one with the very ticks is meant."""
    first, second = _command(tickets=[(48, TICKS)]), _command(tickets=[(48, TICKS + 5)])

    assert owner(_response(ticks=TICKS + 5), [first, second]) is second
    assert is_exact(_response(ticks=TICKS + 5), second)
    assert not is_exact(_response(ticks=TICKS + 5), first)
    assert not is_exact(_response(ticks=None), _command(tickets=[(48, None)]))


def test_exact_ticks_count_more_than_the_id():
    """A response with our ticks is ours whatever id it carries."""
    assert owner(_response(command_id=99), [_command(tickets=[(48, TICKS)])]) is not None


@pytest.mark.parametrize(
    "response",
    [
        _response(ticks=TICKS + 1),
        _response(ticks=TICKS - 1),
        _response(ticks=None),
        _response(ticks=0),
        _response(ticks=TICKS + 4 * SECOND),
        _response(command_id=22, ticks=TICKS + 1),
        _response(charger_id="EH999999"),
        _response(command_id=None, ticks=None),
    ],
)
def test_somebody_elses_command_is_not_ours(response):
    """Where our ticks are known, only they count: not the id, and not ticks that are near."""
    assert owner(response, [_command(tickets=[(48, TICKS)])]) is None


def test_without_ticks_the_id_has_to_do():
    """An answer of the cloud without ticks is matched by command id."""
    assert owner(_response(ticks=TICKS), [_command()]) is not None
    assert owner(_response(ticks=None), [_command()]) is not None
    assert owner(_response(), [_command(tickets=[(None, None)])]) is not None
    assert owner(_response(), [_command(tickets=[(48, None)])]) is not None
    assert owner(_response(command_id=1), [_command()]) is None
    assert owner(_response(command_id=1), [_command(tickets=[(48, None)])]) is None


@pytest.mark.parametrize("tickets", [[], [(48, None)], [(48, TICKS)]])
def test_the_id_does_not_do_where_two_commands_of_it_are_under_way(tickets):
    """With another one of its id beside it, nobody can tell whose an answer is."""
    other = _command("resume", tickets=tickets)
    assert owner(_response(ticks=TICKS + 7), [_command(), other]) is None
    assert owner(_response(ticks=TICKS + 7), [_command(), _command("start")]) is not None


@pytest.mark.parametrize(
    ("tickets", "answered", "state", "told", "is_in_the_way"),
    [
        ([(48, TICKS)], {0}, State.CONFIRMED, None, False),
        ([(48, None)], {0}, State.REJECTED, None, False),
        ([(48, TICKS)], (), State.CONFIRMED, TICKS + 7, False),
        ([], (), State.NOOP, None, False),
        ([], (), State.FAILED, None, False),
        ([(48, TICKS)], (), State.CONFIRMED, None, True),
        ([(48, None)], (), State.CONFIRMED, TICKS + 7, True),
        ([], (), State.CONFIRMED, None, True),
        ([], (), State.UNKNOWN, TICKS + 7, True),
        ([(48, TICKS)], (), State.ACCEPTED, TICKS + 7, True),
    ],
)
def test_a_command_that_ended_is_in_the_way_while_its_charger_may_still_answer(
    tickets, answered, state, told, is_in_the_way
):
    """One that was answered, or never got to the charger, leaves the next answer to the next."""
    before, ours = _command("resume", tickets=tickets), _command()
    before.state, before.answered = state, set(answered)
    assert owner(_response(ticks=told), [before, ours]) is (None if is_in_the_way else ours)


def test_a_command_without_ticks_takes_those_of_its_answer():
    """The second answer of its id is another command's, whatever became of the first."""
    command = _command()
    assert take_response(command, _response(ticks=TICKS))
    assert owner(_response(ticks=TICKS), [command]) is command
    assert owner(_response(ticks=TICKS + 1), [command]) is None
    command.state = State.CONFIRMED
    ours = _command()
    assert owner(_response(ticks=None), [command, ours]) is ours


def test_any_charger_of_a_circuit_may_answer():
    """A circuit's limit is answered by its primary charger, not always by the one addressed."""
    command = _command("dynamic_circuit_current", devices=(ID, "EH999999"))

    assert owner(_response(22, charger_id="EH999999"), [command]) is command


def test_every_ticket_wants_its_answer():
    """Two tickets need two answers, in any order; one answer twice is one answer."""
    command = _command(tickets=[(48, TICKS), (47, TICKS + 1)])
    assert not take_response(command, _response(47, TICKS + 1))
    assert not take_response(command, _response(47, TICKS + 1))
    assert take_response(command, _response(48, TICKS))


def test_only_tickets_without_ticks_are_answered_by_id():
    """An answer with other ticks takes a ticket that has none, and nothing where all have some."""
    command = _command(tickets=[(48, TICKS), (47, None)])
    assert not take_response(command, _response(48, TICKS + 99))
    assert not take_response(command, _response(48, None))
    assert command.answered == set()
    assert not take_response(command, _response(47, TICKS + 99))
    assert take_response(command, _response(48, TICKS))


def test_an_old_reading_is_no_change():
    """Only a newer measurement with another value is a change."""
    readings = Readings()

    assert not readings.changed(_observation(48, 16, 10))
    assert not readings.changed(_observation(48, 16, 20))
    assert not readings.changed(_observation(48, 32, 15))
    assert not readings.changed(_observation(48, 32, 20))
    assert readings.changed(_observation(48, 0, 21))
    assert not readings.changed(_observation(48, 0, 21))


def test_a_measurement_counts_from_the_sending_on():
    """Two seconds of slack between two clocks, and none at all when ours is not trusted."""
    sent = Moment(NOON, 0.0)

    assert is_after(_observation(48, 0, -2), sent)
    assert not is_after(_observation(48, 0, -2.1), sent)
    assert not is_after(_observation(48, 0, 5), replace(sent, trusted=False))


def test_an_observation_proves_what_it_reflects():
    """The expected value proves a command; another value or id does not."""
    pause = _command("pause")
    assert not reflects(pause, _observation(48, 6))
    assert not reflects(pause, _observation(47, 0))
    assert reflects(pause, _observation(48, 0))
    assert not reflects(_command("resume"), _observation(48, 0))
    assert reflects(_command("resume"), _observation(48, 32))


def test_all_parts_of_a_proof_are_needed():
    """A circuit's limit is proved by all three phases, whatever order they come in."""
    command = _command("dynamic_circuit_current", argument=Phases((10, 11, 12)))
    assert not reflects(command, _observation(113, 12))
    assert not reflects(command, _observation(111, 10))
    assert not reflects(command, _observation(111, 9))
    assert not reflects(command, _observation(112, 11))
    assert reflects(command, _observation(111, 10))


def test_older_firmware_proves_a_stop_with_two_observations():
    """Awaiting start proves a stop only together with the reason for waiting."""
    stop = _command("stop")
    assert not reflects(stop, _observation(109, 2))
    assert reflects(stop, _observation(96, 55))
    assert reflects(_command("stop"), _observation(109, 7))


def test_a_ticket_that_took_its_ticks_leaves_the_others_alone():
    """Three answers are wanted for three tickets, whichever came first."""
    command = _command(tickets=[(48, None), (47, None), (46, TICKS)])
    assert not take_response(command, _response(48, TICKS + 1))
    assert [t.command_id for t in command.tickets] == [48, 47, 46]
    assert not take_response(command, _response(47, TICKS + 2))
    assert take_response(command, _response(46, TICKS))
    assert [t.ticks for t in command.tickets] == [TICKS + 1, TICKS + 2, TICKS]

import itertools
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bridge.core.addressees import CHARGER, EQUALIZER, Addressees
from bridge.core.commands.active_commands import Command
from bridge.core.commands.confirmation import (
    exact_ticket,
    is_after,
    match_response,
    record_reflection,
    record_ticket_ack,
)
from bridge.core.commands.dispatcher import MAX_VERIFICATIONS
from bridge.core.commands.state_machine import State
from bridge.core.commands.validation import CommandRequest
from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.easee.command_payloads import Phases
from bridge.core.easee.decode import Observation, spec_of
from bridge.core.easee.rest_responses import CommandReference
from bridge.core.events import ChargerResponse, ObservationsReceived
from bridge.core.records.moment import Timestamp
from bridge.errors import CloudRejected, CloudUnavailable, OutcomeUnknown
from tests.conftest import NOON
from tests.core.commands.bench import (
    ID,
    TICKS,
    Bench,
    answers,
    call_of,
    calls_of,
    states,
    ticket,
)


@pytest.fixture
def deaf():
    """A journal whose stream is down."""
    bench = Bench()
    bench.journal.stream(bench.now, is_up=False)
    return bench


def _looks(bench, seconds):
    """Let time pass; return at which seconds the cloud was asked, and the paths."""
    asked = []
    for _ in range(10 * seconds):
        bench.mono_s = round(bench.mono_s + 0.1, 6)
        for call in calls_of(bench.take(bench.journal.tick(bench.now))):
            asked.append((round(bench.mono_s - 1000, 1), call.request.path))
            bench.fail(call, CloudUnavailable("404"))
    return asked


def test_the_cloud_is_asked_gently_while_the_charger_cannot_be_heard(deaf):
    """Its record of the command is asked for a few times within the 30 s."""
    deaf.answer(call_of(deaf.send()), ticket())
    path = f"/api/commands/{ID}/25/{TICKS}"

    assert _looks(deaf, 31) == [(2.0, path), (5.0, path), (11.0, path), (20.0, path)]
    assert states(deaf.effects)[-1] == "unconfirmed"


def test_it_is_asked_once_when_the_charger_could_be_heard_and_said_nothing():
    """A response that was lost is found before the 30 s are over."""
    bench = Bench()
    bench.answer(call_of(bench.send()), ticket())

    assert [at for at, _ in _looks(bench, 31)] == [20.0]


@pytest.mark.parametrize(
    ("record", "state"),
    [
        (b'{"wasAccepted":true,"resultCode":3}', ["confirmed"]),
        (b'{"wasAccepted":false,"resultCode":4}', ["rejected"]),
        (b'{"resultCode":1}', []),
        (b"<html>", []),
    ],
)
def test_the_clouds_record_is_the_chargers_word(deaf, record, state):
    """Accepted or not as the record says; one that does not say changes nothing."""
    deaf.answer(call_of(deaf.send()), ticket())
    look = call_of(deaf.pass_s(2))

    assert states(deaf.answer(look, record, 200)) == state


def test_every_ticket_is_asked_for(deaf):
    """A settings call with two tickets is confirmed by two records."""
    body = b"[" + ticket(TICKS, 42) + b"," + ticket(TICKS + 1, 15) + b"]"
    deaf.answer(call_of(deaf.send("authorization_required", b"true")), body)
    yes = b'{"wasAccepted":true}'
    first = call_of(deaf.pass_s(2))
    assert states(deaf.answer(first, yes, 200)) == []
    second = call_of(deaf.pass_s(0))
    assert (first.request.path[-1], second.request.path[-1]) == (str(TICKS)[-1], str(TICKS + 1)[-1])
    assert states(deaf.answer(second, yes, 200)) == ["confirmed"]


def test_without_a_ticket_the_observations_are_read(deaf):
    """After a lost answer what the charger shows is asked for, and goes the way of all values."""
    deaf.fail(call_of(deaf.send("pause")), OutcomeUnknown("timeout"))
    look = call_of(deaf.pass_s(2))
    assert look.request.path == f"/state/{ID}/observations?ids=48"
    body = b'{"observations":[{"id":48,"value":0,"timestamp":"2026-11-22T12:00:01Z"}]}'
    deaf.answer(look, body, 200)
    (event,) = deaf.read
    assert isinstance(event, ObservationsReceived)
    assert states(deaf.observe(48, 0)) == ["confirmed"]


def test_what_nothing_would_tell_is_not_asked_for(deaf):
    """A toggle without a ticket leaves no trace that could be read."""
    deaf.fail(call_of(deaf.send("toggle")), OutcomeUnknown("timeout"))

    assert _looks(deaf, 31) == []
    assert states(deaf.effects) == ["unknown"]


def test_a_stream_that_is_lost_meanwhile_makes_us_ask_sooner():
    """Two seconds after the charger became unheard."""
    bench = Bench()
    bench.answer(call_of(bench.send()), ticket())
    bench.mono_s += 3
    bench.journal.stream(bench.now, is_up=False)

    assert calls_of(bench.pass_s(2))


def test_asking_leaves_room_for_commands(deaf):
    """Two questions at a time, and none of them keeps a charger waiting."""
    deaf.known = tuple(f"EH00000{n}" for n in range(4))
    for charger_id in deaf.known:
        call = call_of(deaf.send(charger_id=charger_id))
        deaf.answer(call, ticket(TICKS + call.tag.ref))
    assert len(calls_of(deaf.pass_s(2))) == MAX_VERIFICATIONS
    assert call_of(deaf.send("stop", charger_id=deaf.known[0]))
    assert not calls_of(deaf.pass_s(0.5))
    assert not calls_of(deaf.pass_s(1))


def test_a_foreign_answer_in_our_midst_is_announced_once_ours_is_known():
    """A response that came while our call was under way and is not ours is somebody else's."""
    bench = Bench()
    call = call_of(bench.send("pause"))
    bench.respond(TICKS + 5, 63)
    assert not bench.foreign
    bench.answer(call, ticket(command_id=48))
    assert [response.ticks for response in bench.foreign] == [TICKS + 5]
    assert [a["state"] for a in answers(bench.effects)] == ["accepted"]


@pytest.mark.parametrize("accepted", [True, False])
@pytest.mark.parametrize("apart", [1, -1, 128, 29 * 10_000_000])
def test_a_foreign_command_of_the_same_kind_decides_nothing(accepted, apart):
    """However near its ticks are, it is announced; ours goes on waiting for its own answer."""
    bench = Bench()
    bench.answer(call_of(bench.send("pause")), ticket(command_id=48))
    assert states(bench.respond(TICKS + apart, 48, accepted=accepted)) == []
    assert [response.ticks for response in bench.foreign] == [TICKS + apart]
    assert states(bench.respond(TICKS, 48, accepted=not accepted)) == [
        "rejected" if accepted else "confirmed"
    ]


def test_two_answers_before_the_clouds_wait_for_the_ticks():
    """Of two early answers of one kind none is taken at its word; the ticks tell them apart."""
    bench = Bench()
    call = call_of(bench.send("pause"))
    bench.respond(TICKS + 1, 48, accepted=False)
    bench.pass_s(1)
    bench.respond(TICKS, 48)
    assert states(bench.pass_s(5)) == []
    assert states(bench.answer(call, ticket(command_id=48))) == ["accepted", "confirmed"]
    assert [response.ticks for response in bench.foreign] == [TICKS + 1]


def test_two_answers_whose_ticks_are_never_told_prove_nothing():
    """Where the cloud's answer is lost, neither of two answers of one kind is believed."""
    bench = Bench()
    call = call_of(bench.send("toggle"))
    bench.respond(TICKS, 48)
    bench.respond(TICKS + 1, 26, accepted=False)
    assert states(bench.fail(call, OutcomeUnknown("timeout"))) == []
    assert [response.ticks for response in bench.foreign] == [TICKS, TICKS + 1]
    assert states(bench.pass_s(20)) + states(bench.pass_s(10)) == ["unknown"]


def test_a_toggle_behind_a_start_is_confirmed_by_an_answer_of_its_own():
    """The start has its answer, so the next one without ticks is the toggle's; not before that."""
    bench = Bench()
    bench.answer(call_of(bench.send("start")), b"{}")
    assert states(bench.respond(None)) == ["confirmed"]
    bench.answer(call_of(bench.send("toggle")), b"{}")
    assert states(bench.respond(None)) == ["confirmed"]
    bench.answer(call_of(bench.send("start")), b"{}")
    assert states(bench.observe(109, 3)) == ["confirmed"]
    bench.answer(call_of(bench.send("toggle")), b"{}")
    assert states(bench.respond(None)) == []
    assert bench.foreign


_FOREIGN = st.tuples(st.just("foreign"), st.integers(-3, 40), st.booleans())
_OURS = st.tuples(st.sampled_from(["send", "answer", "respond"]), st.just(0), st.booleans())


@settings(max_examples=300, deadline=None)
@given(st.lists(_OURS | _FOREIGN, min_size=4, max_size=40))
def test_each_of_ours_is_decided_by_its_own_evidence(steps):
    """However foreign commands of the same id come between, each ends as its own answer says."""
    bench = Bench()
    fresh = itertools.count(TICKS, 10)
    sent, answered, owed, verdicts, strangers = 0, 0, [], {}, set()
    for step, apart, accepted in steps:
        calls = calls_of(bench.effects)
        if step == "send" and sent < 15:
            bench.send("pause", b'{"id":"%d"}' % sent)
            sent += 1
        elif step == "answer" and answered < len(calls):
            ticks = next(fresh)
            owed.append((str(answered), ticks))
            bench.answer(calls[answered], ticket(ticks, 48))
            answered += 1
        elif step == "respond" and owed:
            name, ticks = owed.pop(0)
            verdicts[name] = ["confirmed" if accepted else "rejected"]
            bench.respond(ticks, 48, accepted=accepted)
        elif step == "foreign":
            # Ours are the multiples of ten from TICKS on.
            ticks = TICKS + apart if apart % 10 else TICKS + apart + 5
            strangers.add(ticks)
            bench.respond(ticks, 48, accepted=accepted)
    told = {}
    for answer in answers(bench.effects):
        if answer["final"]:
            told.setdefault(answer["id"], []).append(answer["state"])
    assert told == verdicts
    assert {response.ticks for response in bench.foreign} <= strangers


def test_what_was_read_for_a_command_goes_the_way_of_all_values(deaf):
    """It is applied as a poll; what cannot be read of it changes nothing."""
    deaf.fail(call_of(deaf.send("pause")), OutcomeUnknown("timeout"))
    deaf.answer(call_of(deaf.pass_s(2)), b"<html>", 200)
    assert deaf.read == []
    body = b'[{"id":48,"dataType":3,"value":"0","timestamp":"2026-11-22T12:00:05Z"}]'
    deaf.answer(call_of(deaf.pass_s(3)), body, 200)

    ((observations, source),) = [(event.observations, event.source) for event in deaf.read]
    assert ([(o.id, o.value) for o in observations], source) == ([(48, "0")], "poll")


def test_what_is_read_after_the_end_is_not_applied(deaf):
    """A command that was confirmed meanwhile needs no reading of what its charger shows."""
    deaf.answer(call_of(deaf.send("pause")), b"")
    (look,) = calls_of(deaf.pass_s(2.0))
    assert look.request.path.startswith("/state/")
    assert states(deaf.respond(TICKS, 48)) == ["confirmed"]
    deaf.answer(look, b"[]", 200)

    assert deaf.read == []


# -- whose response it is, and what an observation proves ------------------------------------------

SECOND = 10_000_000


def _command(name="pause", tickets=(), argument=None, devices=(ID,)):
    request = CommandRequest(ID, CATALOGUE[name], argument, None, None, 60.0)
    command = Command(request, Timestamp(NOON, 0.0), 60.0, [])
    command.devices = frozenset(devices)
    command.tickets = tuple(CommandReference(ID, number, ticks) for number, ticks in tickets)
    return command


def _response(command_id=48, ticks=TICKS, charger_id=ID):
    return ChargerResponse(charger_id, command_id, ticks, accepted=True, result_code=0)


def _observation(number, value, at_s=0.0, charger_id=ID):
    return Observation(charger_id, spec_of(number), value, NOON + timedelta(seconds=at_s))


def test_ticks_name_the_command():
    """Of two commands of one kind the one with the very ticks is meant."""
    first, second = _command(tickets=[(48, TICKS)]), _command(tickets=[(48, TICKS + 5)])

    assert match_response(_response(ticks=TICKS + 5), [first, second]) is second
    assert exact_ticket(second, _response(ticks=TICKS + 5)) == 0
    assert exact_ticket(first, _response(ticks=TICKS + 5)) is None
    assert exact_ticket(_command(tickets=[(48, None)]), _response(ticks=None)) is None


def test_exact_ticks_count_more_than_the_id():
    """A response with our ticks is ours whatever id it carries."""
    assert match_response(_response(command_id=99), [_command(tickets=[(48, TICKS)])]) is not None


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
    assert match_response(response, [_command(tickets=[(48, TICKS)])]) is None


def test_without_ticks_the_id_has_to_do():
    """An answer of the cloud without ticks is matched by command id."""
    assert match_response(_response(ticks=TICKS), [_command()]) is not None
    assert match_response(_response(ticks=None), [_command()]) is not None
    assert match_response(_response(), [_command(tickets=[(None, None)])]) is not None
    assert match_response(_response(), [_command(tickets=[(48, None)])]) is not None
    assert match_response(_response(command_id=1), [_command()]) is None
    assert match_response(_response(command_id=1), [_command(tickets=[(48, None)])]) is None


@pytest.mark.parametrize("tickets", [[], [(48, None)], [(48, TICKS)]])
def test_the_id_does_not_do_where_two_commands_of_it_are_under_way(tickets):
    """With another one of its id beside it, nobody can tell whose an answer is."""
    other = _command("resume", tickets=tickets)
    assert match_response(_response(ticks=TICKS + 7), [_command(), other]) is None
    assert match_response(_response(ticks=TICKS + 7), [_command(), _command("start")]) is not None


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
    assert match_response(_response(ticks=told), [before, ours]) is (
        None if is_in_the_way else ours
    )


def test_a_command_without_ticks_takes_those_of_its_answer():
    """The second answer of its id is another command's, whatever became of the first."""
    command = _command()
    assert record_ticket_ack(command, _response(ticks=TICKS))
    assert match_response(_response(ticks=TICKS), [command]) is command
    assert match_response(_response(ticks=TICKS + 1), [command]) is None


def test_any_charger_of_a_circuit_may_answer():
    """A circuit's limit is answered by its primary charger, not always by the one addressed."""
    command = _command("dynamic_circuit_current", devices=(ID, "EH999999"))

    assert match_response(_response(22, charger_id="EH999999"), [command]) is command


def test_every_ticket_wants_its_answer():
    """Two tickets need two answers, in any order; one answer twice is one answer."""
    command = _command(tickets=[(48, TICKS), (47, TICKS + 1)])
    assert not record_ticket_ack(command, _response(47, TICKS + 1))
    assert not record_ticket_ack(command, _response(47, TICKS + 1))
    assert record_ticket_ack(command, _response(48, TICKS))


def test_only_tickets_without_ticks_are_answered_by_id():
    """An answer with other ticks takes a ticket that has none, and nothing where all have some."""
    command = _command(tickets=[(48, TICKS), (47, None)])
    assert not record_ticket_ack(command, _response(48, TICKS + 99))
    assert not record_ticket_ack(command, _response(48, None))
    assert command.answered == set()
    assert not record_ticket_ack(command, _response(47, TICKS + 99))
    assert record_ticket_ack(command, _response(48, TICKS))


def test_a_measurement_counts_from_the_sending_on():
    """Two seconds of slack between two clocks, and none at all when ours is not trusted."""
    sent = Timestamp(NOON, 0.0)

    assert is_after(_observation(48, 0, -2), sent)
    assert not is_after(_observation(48, 0, -2.1), sent)
    assert not is_after(_observation(48, 0, 5), replace(sent, trusted=False))


def test_an_observation_proves_what_it_record_reflection():
    """The expected value proves a command; another value or id does not."""
    pause = _command("pause")
    assert not record_reflection(pause, _observation(48, 6))
    assert not record_reflection(pause, _observation(47, 0))
    assert record_reflection(pause, _observation(48, 0))
    assert not record_reflection(_command("resume"), _observation(48, 0))
    assert record_reflection(_command("resume"), _observation(48, 32))


def test_all_parts_of_a_proof_are_needed():
    """A circuit's limit is proved by all three phases, whatever order they come in."""
    command = _command("dynamic_circuit_current", argument=Phases((10, 11, 12)))
    assert not record_reflection(command, _observation(113, 12))
    assert not record_reflection(command, _observation(111, 10))
    assert not record_reflection(command, _observation(111, 9))
    assert not record_reflection(command, _observation(112, 11))
    assert record_reflection(command, _observation(111, 10))


def test_older_firmware_proves_a_stop_with_two_observations():
    """Awaiting start proves a stop only together with the reason for waiting."""
    stop = _command("stop")
    assert not record_reflection(stop, _observation(109, 2))
    assert record_reflection(stop, _observation(96, 55))
    assert record_reflection(_command("stop"), _observation(109, 7))


def test_a_ticket_that_took_its_ticks_leaves_the_others_alone():
    """Three answers are wanted for three tickets, whichever came first."""
    command = _command(tickets=[(48, None), (47, None), (46, TICKS)])
    assert not record_ticket_ack(command, _response(48, TICKS + 1))
    assert [t.command_id for t in command.tickets] == [48, 47, 46]
    assert not record_ticket_ack(command, _response(47, TICKS + 2))
    assert record_ticket_ack(command, _response(46, TICKS))
    assert [t.ticks for t in command.tickets] == [TICKS + 1, TICKS + 2, TICKS]


# -- what only the cloud holds --------------------------------------------------------------------

METER = "QP123456"


def meter_bench():
    """A journal that serves an Equalizer."""
    bench = Bench(allow=("equalizer",))
    bench.known = Addressees({CHARGER: (ID,), EQUALIZER: (METER,)})
    bench.begin()
    return bench


def _sent_surplus(bench, status=200):
    call = call_of(bench.send("surplus_charging", b'{"enabled":true,"amps":6}', METER))
    bench.answer(call, b"", status)
    return call_of(bench.pass_s(0.5))


HELD = b'{"mode":"chargingWithImport","chargingWithImport":{"maximumImportAddedCurrent":6}}'


def test_what_the_cloud_holds_is_read_back_until_it_holds_what_was_asked_for():
    """An older answer proves nothing; the stream being open delays nothing."""
    bench = meter_bench()
    read = _sent_surplus(bench)
    assert (read.request.method, read.request.path) == (
        "GET",
        f"/cloud-loadbalancing/equalizer/{METER}/config/surplus-energy",
    )
    topic = f"charger/{METER}/result/"
    assert answers(bench.answer(read, b'{"mode":"none"}', 200), topic) == []
    again = call_of(bench.pass_s(1.5))
    done = answers(bench.answer(again, HELD, 200), topic)
    assert [one["state"] for one in done] == ["confirmed"]


@pytest.mark.parametrize(("status", "state"), [(200, "confirmed"), (202, "unconfirmed")])
def test_where_it_cannot_be_read_back_the_status_has_to_do(status, state):
    """200 says that it is done; 202 only that it goes to a device."""
    bench = meter_bench()
    read = _sent_surplus(bench, status)
    effects = bench.fail(read, CloudRejected("no", status=403, reason="forbidden"))
    for _ in range(31):
        for call in calls_of(bench.pass_s(1.0)):
            bench.fail(call, CloudRejected("no", status=403, reason="forbidden"))
    effects += bench.effects
    finals = [one for one in answers(bench.effects, f"charger/{METER}/result/") if one["final"]]
    assert [one["state"] for one in finals] == [state]


def test_a_failure_to_read_back_proves_nothing():
    """It is read again, and a body that cannot be read as well."""
    bench = meter_bench()
    read = _sent_surplus(bench)
    bench.fail(read, CloudUnavailable("down"))
    read = call_of(bench.pass_s(1.5))
    bench.answer(read, b"<html>", 200)
    read = call_of(bench.pass_s(3.0))
    done = answers(bench.answer(read, HELD, 200), f"charger/{METER}/result/")
    assert [one["state"] for one in done] == ["confirmed"]


def test_a_command_of_the_meter_is_confirmed_by_its_own_response():
    """Where the cloud told the ticks."""
    bench = meter_bench()
    call = call_of(bench.send("max_allocated_current", b"16", METER))
    bench.answer(call, b'{"device":"QP123456","commandId":120,"ticks":%d}' % TICKS)
    done = bench.respond(command_id=120, charger_id=METER)
    assert [one["state"] for one in answers(done, f"charger/{METER}/result/")] == ["confirmed"]

"""Limits that are held: when they are sent again, and when they end."""

import json
from datetime import timedelta

import pytest

from bridge.core.commands.held_limits import RETRY_S, REVIEW_AFTER_S
from bridge.core.domain_events import DerivedTold
from bridge.core.effects import LogEntry, SaveCommand
from bridge.core.events import ChargerResponse
from bridge.errors import CloudUnavailable, OutcomeUnknown
from tests.core.commands.bench import (
    ID,
    OTHER,
    SITE,
    Garage,
    answers,
    call_of,
    calls_of,
    ticket,
)

HOLD = b'{"amps":16,"hold":true}'
LIMIT = "dynamic_charger_current"
SENT = b'{"amps":16,"minutes":0}'
LONG_S = REVIEW_AFTER_S + 2


@pytest.fixture
def garage():
    """A charger that charges at its maximum."""
    made = Garage()
    made.show({48: 32.0, 47: 32.0, 109: 3})
    return made


def hold(garage, payload=HOLD, amps=16.0):
    """Have a limit held, and let the charger show it."""
    effects = garage.send(LIMIT, payload)
    effects += garage.carry_out(call_of(effects), shows={48: amps})
    return effects + garage.wait(100)


def told(effects):
    """Return what is said of the held limit."""
    return [one.value for one in effects if isinstance(one, DerivedTold)]


def is_sent_again(garage, effects, body=SENT):
    """Carry out the one request that sends the limit again, if there is one."""
    calls = calls_of(effects)
    if not calls:
        return False
    assert [call.request.body for call in calls] == [body]
    garage.carry_out(calls[0], shows={48: float(json.loads(body)["amps"])})
    return True


def test_a_held_limit_is_on_disk_before_its_result(garage):
    """A crash behind the result must not lose what it promised."""
    effects = hold(garage)

    (row,) = [e.row for e in effects if isinstance(e, SaveCommand) and e.row.state == "held"]
    saved = effects.index(SaveCommand(row))
    final = [e for e in effects[saved:] if getattr(e, "topic", "").endswith("result/" + LIMIT)]
    assert answers(final)[-1]["state"] == "confirmed"
    assert told(effects) == [16]


FORGETS = {
    "plug-in": [{109: 1}, {109: 2, 48: 32.0}],
    "resume by us": [{48: 0.0, 109: 2}, {48: 32.0, 109: 3}],
    "reboot": [{250: False}, {89: 20, 48: 32.0, 250: True}],
    "offline": [{109: 0}, {109: 3, 48: 32.0}],
}


@pytest.mark.parametrize("reason", FORGETS)
def test_it_is_sent_again_where_the_charger_forgot_it(garage, reason):
    """After a plug-in, a resume, a restart and an outage, once."""
    hold(garage)
    for shows in FORGETS[reason]:
        garage.mono_s += 5
        garage.show(shows)

    effects = garage.wait(LONG_S)
    facts = {"charger_id": ID, "command": LIMIT}
    assert LogEntry("info", "limit.sent_again", facts) in effects
    assert is_sent_again(garage, effects)
    assert not calls_of(garage.wait(300))


def test_one_that_was_not_sent_because_it_is_shown_ends_with_the_next_value(garage):
    """Another controller's limit was measured before, and arrives behind the noop."""
    garage.show({48: 16.0})
    measured_at = garage.now.wall + timedelta(seconds=3)
    garage.mono_s += 10
    effects = garage.send(LIMIT, HOLD)
    assert (answers(effects)[-1]["state"], told(effects)) == ("noop", [16])
    garage.values.held[48] = (20.0, measured_at)
    garage.observe(48, 20.0, at_s=3)
    effects = garage.wait(100)

    assert told(effects) == [None]
    assert not calls_of(effects)


def test_a_load_balancer_does_not_keep_it_from_being_sent_again(garage):
    """The circuit's limit moves every second while the charger's waits for its turn."""
    hold(garage)
    (busy,) = calls_of(garage.send("led_strip_brightness", b"40"))
    for shows in FORGETS["plug-in"]:
        garage.mono_s += 5
        garage.show(shows)
    effects = []
    for amps in range(6, 26):
        effects += garage.pass_s(1.0) + show_circuit(garage, float(amps))
    assert not calls_of(effects)
    effects = garage.answer(busy, ticket(5, 40)) + show_circuit(garage, 30.0) + garage.pass_s(1.0)

    assert is_sent_again(garage, effects)


def test_it_waits_for_a_charger_that_restarts(garage):
    """What is sent meanwhile does not arrive, and would be tried again a minute later."""
    hold(garage)
    reboot = call_of(garage.send("reboot"))
    garage.answer(reboot, ticket(7, 1))
    garage.respond(7, 1)
    garage.mono_s += 1
    assert not calls_of(garage.show({250: False}) + garage.wait(30))
    garage.show({89: 20, 48: 32.0, 250: True})

    assert is_sent_again(garage, garage.wait(LONG_S))


def test_it_does_not_wait_for_ever_for_a_charger_that_is_away(garage):
    """Another charger of its circuit may be without current for months."""
    hold(garage)
    garage.show({250: False})
    garage.show({109: 1})
    garage.show({109: 3, 48: 32.0})

    assert is_sent_again(garage, garage.wait(70))


def test_it_is_sent_again_in_a_new_process(garage):
    """The limit was forgotten while nobody was there."""
    hold(garage)
    garage.restart()
    garage.mono_s += 5
    garage.show({48: 32.0, 109: 3})

    assert is_sent_again(garage, garage.wait(LONG_S))


def test_what_another_controller_set_meanwhile_stays(garage):
    """A value that is not the maximum is a newer command, also in a new process."""
    hold(garage)
    garage.restart()
    garage.mono_s += 5
    effects = garage.show({48: 20.0}) + garage.wait(LONG_S)

    assert not calls_of(effects)
    assert told(effects) == [None]


@pytest.mark.parametrize("amps", [10.0, 32.0])
def test_another_controllers_limit_ends_it(garage, amps):
    """Nothing is sent against a newer command, whatever value that is."""
    hold(garage)
    garage.respond(4711, 48)
    (response,) = garage.foreign
    effects = garage.take(garage.journal.foreign(response, garage.now))
    effects += garage.show({48: amps}) + garage.wait(LONG_S)

    assert not calls_of(effects)
    assert told(effects) == [None]
    garage.show({109: 1})
    garage.show({109: 3, 48: 32.0})
    assert not calls_of(garage.wait(300))


def test_another_controllers_pause_does_not_end_it(garage):
    """The charger stays paused, and has the limit when it goes on."""
    hold(garage)
    garage.respond(4711, 48)
    (response,) = garage.foreign
    garage.take(garage.journal.foreign(response, garage.now))
    effects = garage.show({48: 0.0, 109: 2}) + garage.wait(600)
    assert not calls_of(effects)
    garage.show({48: 32.0, 109: 3})

    assert is_sent_again(garage, garage.wait(LONG_S))


@pytest.mark.parametrize("state", ["confirmed", "unconfirmed"])
def test_our_own_newer_limit_ends_it(garage, state):
    """Confirmed or not: the newer one may be in force."""
    hold(garage)
    effects = garage.send(LIMIT, b"20")
    call = call_of(effects)
    if state == "confirmed":
        effects += garage.carry_out(call, shows={48: 20.0})
    else:
        effects += garage.answer(call, b'{"device":"EH123456","commandId":48,"ticks":9}')
    effects += garage.wait(40)

    assert told(effects) == [None]
    assert garage.rows[f"held-{ID}-{LIMIT}"].state == "released"


def test_a_newer_limit_that_fails_leaves_it(garage):
    """The limit that is in force is still the held one."""
    hold(garage)
    call = call_of(garage.send(LIMIT, b'{"value":20,"ttl_s":1}'))
    effects = garage.fail(call, CloudUnavailable("down", status=503)) + garage.wait(5)

    assert told(effects) == []
    garage.show({109: 1})
    garage.show({109: 3, 48: 32.0})
    assert is_sent_again(garage, garage.wait(LONG_S))


def test_it_is_released(garage):
    """Nothing is sent; a second release finds nothing."""
    hold(garage)
    effects = garage.send(LIMIT, b'{"release":true}')

    assert not calls_of(effects)
    assert (answers(effects)[-1]["state"], told(effects)) == ("confirmed", [None])
    (entry,) = [e for e in effects if isinstance(e, LogEntry) and e.event == "limit.released"]
    assert (entry.level, entry.fields) == (
        "info",
        {"charger_id": ID, "command": LIMIT, "why": "released"},
    )
    assert answers(garage.send(LIMIT, b'{"release":true}'))[-1]["state"] == "noop"
    garage.show({109: 1})
    garage.show({109: 3, 48: 32.0})
    assert not calls_of(garage.wait(300))


def test_it_ends_with_its_minutes(garage):
    """What is left of them is sent again; then it is over, also at the vendor."""
    hold(garage, b'{"amps":16,"minutes":10,"hold":true}')
    garage.wait(100)
    garage.show({109: 1})
    garage.show({109: 3, 48: 32.0})
    assert is_sent_again(garage, garage.wait(LONG_S), b'{"amps":16,"minutes":6}')
    effects = garage.wait(500)

    assert told(effects) == [None]
    assert not calls_of(garage.show({48: 32.0}) + garage.wait(300))


def test_its_minutes_go_on_in_a_new_process(garage):
    """They are counted by the wall clock."""
    hold(garage, b'{"amps":16,"minutes":10,"hold":true}')
    garage.restart()

    assert told(garage.wait(510)) == [None]


def test_it_is_tried_again_more_and_more_rarely(garage):
    """A cloud that is not there costs a few requests."""
    hold(garage)
    garage.show({109: 1})
    garage.show({109: 3, 48: 32.0})
    effects, tries = garage.wait(LONG_S), 0
    for _ in range(int(10 * RETRY_S)):
        for call in calls_of(effects):
            tries += 1
            garage.fail(call, CloudUnavailable("down", status=400))
        effects = garage.pass_s(1.0)
    assert 2 <= tries <= 40

    for _ in range(1000):
        if calls_of(effects):
            break
        effects = garage.pass_s(1.0)
    assert is_sent_again(garage, effects)


def test_it_waits_behind_a_newer_limit(garage):
    """While that is in progress nothing is sent against it."""
    hold(garage)
    garage.show({109: 1})
    garage.show({109: 3, 48: 32.0})
    call = call_of(garage.send(LIMIT, b"20"))
    assert not calls_of(garage.wait(LONG_S))
    garage.carry_out(call, shows={48: 20.0})

    assert not calls_of(garage.wait(300))


def test_one_limit_of_a_circuit_is_held_by_one_charger(garage):
    """A newer limit of the circuit ends what another charger on it holds."""
    for charger_id, payload in (
        (ID, b'{"value":10,"hold":true}'),
        (OTHER, b'{"value":12,"hold":true}'),
    ):
        effects = garage.send("dynamic_circuit_current", payload, charger_id)
        for call in calls_of(effects):
            effects += garage.answer(call, SITE, 200)
        (call,) = [one for one in calls_of(effects) if one.request.body]
        effects += garage.answer(call, b"", 200)
        garage.wait(40)

    assert told(garage.effects) == [10, None, 12]
    assert garage.rows[f"held-{ID}-dynamic_circuit_current"].state == "released"


@pytest.mark.parametrize("payload", [b'{"amps":0,"hold":true}', b'{"release":false}'])
def test_what_makes_no_sense_is_refused(garage, payload):
    """A pause is no limit to be held."""
    assert answers(garage.send(LIMIT, payload))[-1]["reason"] == "invalid_value"


def test_a_store_that_fails_is_written_to_again(garage):
    """The limit is held all the same, and on disk as soon as that works."""
    effects = garage.send(LIMIT, HOLD)
    garage.answer(call_of(effects), b'{"device":"EH123456","commandId":48,"ticks":9}')
    garage.disk = "fails"
    garage.respond(9, 48)
    assert f"held-{ID}-{LIMIT}" not in garage.rows
    garage.disk = "ok"
    garage.wait(40)

    assert garage.rows[f"held-{ID}-{LIMIT}"].state == "held"


def test_what_a_late_store_brings_does_not_win_over_newer_decisions(garage):
    """This process was told of another limit before it could read of the old one."""
    hold(garage)
    rows = tuple(garage.rows.values())
    garage.begin()
    call = call_of(garage.send(LIMIT, b"20"))
    garage.carry_out(call, shows={48: 20.0})
    effects = garage.take(garage.journal.opened(rows, garage.now))

    assert told(effects)[-1] is None
    assert garage.rows[f"held-{ID}-{LIMIT}"].state == "released"


def test_a_charger_that_left_holds_nothing(garage):
    """Its topics are gone, and so is its limit."""
    hold(garage)
    garage.take(garage.journal.release(ID, garage.now))

    assert garage.rows[f"held-{ID}-{LIMIT}"].state == "released"


def test_a_switch_of_phases_with_a_limit_of_its_own_ends_it(garage):
    """The limit that was asked for last is the one in force."""
    hold(garage)
    garage.show({38: 1, 110: 10})
    effects = garage.send("phases", b'{"phases":1,"amps":10}')
    effects += garage.carry_out(call_of(effects), shows={48: 10.0})

    assert told(effects) == [None]


def test_a_limit_that_ends_behind_a_newer_one_is_not_held(garage):
    """The order in which they were asked for counts, not that in which the charger responds."""
    call = call_of(garage.send(LIMIT, HOLD))
    garage.answer(call, b'{"device":"EH123456","commandId":48,"ticks":4}')
    newer = call_of(garage.send(LIMIT, b"20"))
    garage.carry_out(newer, shows={48: 20.0})
    effects = garage.wait(40)

    assert answers(effects)[-1]["state"] == "unconfirmed"
    assert told(effects) == []


def test_a_late_end_of_an_older_limit_does_not_end_a_held_one(garage):
    """The other way round."""
    call = call_of(garage.send(LIMIT, b"20"))
    garage.answer(call, b'{"device":"EH123456","commandId":48,"ticks":4}')
    garage.carry_out(call_of(garage.send(LIMIT, HOLD)), shows={48: 16.0})

    assert told(garage.wait(40)) == []


def test_a_limit_that_the_effect_of_a_resume_overwrote_is_sent_again(garage):
    """The charger shows its maximum, measured within the second in which the limit was sent."""
    shown_at = garage.now.wall
    call = call_of(garage.send(LIMIT, HOLD))
    garage.carry_out(call, shows={})
    garage.values.held[48] = (32.0, shown_at)

    assert is_sent_again(garage, garage.wait(20))


@pytest.mark.parametrize("behind", [None, b'{"phases":1,"amps":10}'])
def test_one_that_waits_for_its_turn_is_not_sent_against_a_newer_limit(garage, behind):
    """Another controller sets a limit while the charger has not answered an earlier command."""
    hold(garage)
    (busy,) = calls_of(garage.send("led_strip_brightness", b"40"))
    for shows in FORGETS["plug-in"]:
        garage.mono_s += 5
        garage.show(shows)
    effects = garage.wait(LONG_S)
    assert calls_of(effects) == []  # it waits
    if behind is not None:
        garage.send("phases", behind)
    garage.mono_s += 1
    effects = garage.show({48: 10.0}) + garage.wait(LONG_S)
    assert told(effects) == [None]
    effects = garage.fail(busy, CloudUnavailable("gone")) + garage.wait(60)
    assert SENT not in [call.request.body for call in calls_of(effects)]


@pytest.mark.parametrize("newer", [b"20", b'{"release":true}'])
def test_a_newer_limit_of_an_earlier_process_ends_one_in_doubt(garage, newer):
    """What is learned of the older one after the restart does not make it be held."""
    call = call_of(garage.send(LIMIT, HOLD))
    garage.fail(call, OutcomeUnknown("no answer"))
    for call in calls_of(garage.send(LIMIT, newer)):
        garage.carry_out(call, shows={48: 20.0})
    garage.restart()
    garage.mono_s += 5
    garage.respond(4711, 48)  # of another controller, and taken for the one to the older one
    effects = garage.show({48: 32.0}) + garage.wait(100)

    assert told(effects) == []
    assert not calls_of(effects)


@pytest.mark.parametrize("is_before", [True, False])
def test_a_response_without_known_ticks_may_be_to_another_controller(garage, is_before):
    """It may have set the value that was shown before: no observation tells of that."""
    garage.show({48: 12.0})
    garage.mono_s += 5
    call = call_of(garage.send(LIMIT, HOLD))
    garage.fail(call, OutcomeUnknown("no answer"))
    effects = garage.wait(1 if is_before else 31)
    effects += garage.respond(4711, 48)
    assert not garage.foreign  # it is taken for the response to ours
    effects += garage.wait(100)

    assert told(effects) == [16, None]
    assert not [call for call in calls_of(effects) if call.request.body]


def circuit_limit(garage, charger_id, payload):
    """Send a limit of the circuit; return the request."""
    effects = garage.send("dynamic_circuit_current", payload, charger_id)
    for call in calls_of(effects):
        if not call.request.body:
            effects += garage.answer(call, SITE, 200)
    (call,) = [one for one in calls_of(effects) if one.request.body]
    return call


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_newer_limit_through_another_charger_of_the_circuit_ends_one_in_doubt(
    garage, is_restarted
):
    """The limit of a circuit is one limit, whichever charger it was sent for."""
    older = circuit_limit(garage, ID, b'{"value":10,"hold":true}')
    garage.fail(older, OutcomeUnknown("no answer"))
    newer = circuit_limit(garage, OTHER, b'{"value":12,"hold":true}')
    garage.answer(newer, ticket(7, 22))
    garage.respond(7, 22)
    if is_restarted:
        garage.restart()
    garage.wait(40)

    assert set(told(garage.effects)) == {12}
    assert f"held-{ID}-dynamic_circuit_current" not in garage.rows


def test_another_controllers_limit_of_the_same_second_ends_it(garage):
    """Stamps of whole seconds do not tell which was first, and the other one may be newer."""
    shown_at = garage.now.wall.replace(microsecond=0)
    garage.mono_s += 0.9
    effects = garage.carry_out(call_of(garage.send(LIMIT, HOLD)), shows={})
    garage.values.held[48] = (12.0, shown_at)
    effects += garage.wait(20)
    assert told(effects) == [16, None]
    garage.show({109: 1})
    garage.show({109: 3})

    assert not calls_of(effects + garage.wait(300))


def test_another_controllers_limit_ends_it_whatever_the_clocks_say(garage):
    """The charger's clock is behind, and the response to the other controller came after ours."""
    garage.show({48: 12.0})
    garage.mono_s += 2
    garage.carry_out(call_of(garage.send(LIMIT, HOLD)), shows={})
    garage.mono_s += 1
    garage.respond(4711, 48)
    (response,) = garage.foreign
    effects = garage.take(garage.journal.foreign(response, garage.now)) + garage.wait(100)

    assert told(effects) == [None]
    assert not calls_of(effects)


def test_one_that_was_confirmed_and_is_not_shown_is_sent_again(garage):
    """What confirmed it was a response to another controller; more and more rarely."""
    garage.show({48: 12.0})
    garage.mono_s += 2
    garage.carry_out(call_of(garage.send(LIMIT, HOLD)), shows={})
    calls = []
    for _ in range(1000):
        new = calls_of(garage.pass_s(1.0))
        for call in new:
            garage.carry_out(call, shows={})
        calls += new
    assert 2 <= len(calls) <= 6

    assert is_sent_again(garage, garage.wait(900))
    assert not calls_of(garage.wait(900))


@pytest.fixture
def circuit(garage):
    """Two chargers on a circuit whose limit is held by the first of them."""
    garage.journal._shown.latest[OTHER] = garage.values
    show_circuit(garage, 40.0)
    garage.answer(circuit_limit(garage, ID, b'{"value":10,"hold":true}'), ticket(7, 22))
    garage.mono_s += 1
    garage.respond(7, 22)
    show_circuit(garage, 10.0)
    garage.wait(100)
    assert told(garage.effects) == [10]
    return garage


def show_circuit(garage, amps):
    """Let the first charger show a limit of its circuit; return what follows."""
    return garage.show(dict.fromkeys((111, 112, 113), amps))


def restart_of_the_other(garage):
    """Let the other charger of the circuit restart."""
    garage.mono_s += 5
    garage.observe(89, 20, charger_id=OTHER)


@pytest.mark.parametrize("amps", [None, 40.0])
@pytest.mark.parametrize("is_restarted", [False, True])
def test_the_restart_of_another_charger_of_the_circuit_sends_it_again(circuit, amps, is_restarted):
    """The primary has it for all of them; what the first one shows may be older."""
    if is_restarted:
        circuit.restart()
        circuit.journal._shown.latest[OTHER] = circuit.values
        show_circuit(circuit, 10.0)
        circuit.wait(100)
    restart_of_the_other(circuit)
    if amps is not None:
        show_circuit(circuit, amps)
    calls = calls_of(circuit.wait(LONG_S))
    for call in calls:
        if not call.request.body:
            calls += calls_of(circuit.answer(call, SITE, 200))

    (body,) = [json.loads(call.request.body) for call in calls if call.request.body]
    assert body["phase1"] == 10


def test_a_response_of_another_charger_of_the_circuit_to_another_controller_ends_it(circuit):
    """A limit at the maximum behind a restart was set by that controller."""
    restart_of_the_other(circuit)
    circuit.mono_s += 1
    circuit.respond(4711, 22, charger_id=OTHER)
    (response,) = circuit.foreign
    circuit.take(circuit.journal.foreign(response, circuit.now))
    effects = show_circuit(circuit, 40.0) + circuit.wait(LONG_S)

    assert told(effects) == [None]
    assert not calls_of(effects)


def test_it_is_released_by_another_charger_of_the_circuit(circuit):
    """It is one limit, whichever charger it was sent for."""
    effects = circuit.send("dynamic_circuit_current", b'{"release":true}', OTHER)

    assert answers(effects, f"charger/{OTHER}/result/")[-1]["state"] == "confirmed"
    assert told(effects) == [None]


@pytest.mark.parametrize("heard", ["response", "limit"])
@pytest.mark.parametrize("is_leaving", [False, True])
def test_what_another_controller_does_takes_back_what_was_not_sent(garage, heard, is_leaving):
    """Its limit is seen seconds after its response, or the other way round."""
    hold(garage)
    (busy,) = calls_of(garage.send("led_strip_brightness", b"40"))
    for shows in FORGETS["plug-in"]:
        garage.mono_s += 5
        garage.show(shows)
    assert calls_of(garage.wait(LONG_S)) == []  # it waits
    garage.disk = "hangs"
    effects = garage.answer(busy, ticket(5, 40)) if is_leaving else []
    if heard == "response":
        response = ChargerResponse(ID, 48, 4711, True, 0)
        effects += garage.take(garage.journal.foreign(response, garage.now))
    else:
        effects += garage.show({48: 10.0})
    garage.disk = "ok"
    effects += garage.commit() if is_leaving else garage.answer(busy, ticket(5, 40))
    effects += garage.wait(1)
    assert SENT not in [call.request.body for call in calls_of(effects)]
    effects = garage.show({48: 10.0}) + garage.wait(LONG_S)

    assert told(effects) == [None]
    assert SENT not in [call.request.body for call in calls_of(effects + garage.wait(100))]

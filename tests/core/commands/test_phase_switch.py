"""The guided switch of phases, step by step, and every way it may end early."""

from datetime import timedelta

import pytest

from bridge.core.commands import phase_switch
from bridge.core.commands.phase_switch import SETTLE_S, ZERO_TIMEOUT_S
from bridge.core.effects import SaveCommand
from bridge.errors import CloudRejected, CloudUnavailable, OutcomeUnknown
from tests.core.commands.bench import ID, Garage, answers, call_of, calls_of

CALLS = {
    "pause": "pause_charging",
    "mode": "set_phase_mode",
    "limit": "set_dynamic_charger_current",
    "resume": "resume_charging",
}


class Switching(Garage):
    """A garage in which a switch is carried out, as far as a test lets it."""

    def next_call(self, effects):
        """Return the one request among effects, by its short name, and its body."""
        (call,) = calls_of(effects)
        name = call.request.path.rsplit("/", 1)[1]
        return call, next((key for key, last in CALLS.items() if last == name), name)

    def next_effects(self, effects, most=150):
        """Let time pass until a request is sent."""
        for _ in range(most):
            if calls_of(effects):
                return effects
            effects = self.pass_s(1.0)
        raise AssertionError(answers(self.effects))

    def finish(self, effects, shows, most=150):
        """Carry everything out until the switch has its result; return the calls and the result."""
        made = []
        for _ in range(most):
            found = [a for a in answers(effects) if a["final"] and a["command"] == "phases"]
            if found:
                return made, found[0]
            if calls_of(effects):
                call, name = self.next_call(effects)
                made.append((name, call.request.body))
                effects = self.carry_out(call, shows=shows(name, call))
            else:
                effects = self.pass_s(1.0)
        raise AssertionError((made, answers(self.effects)))

    def until(self, stage):
        """Carry a switch out until a request is to be answered; return that request."""
        effects = self.send("phases", b'{"phases":1,"amps":10}')
        script = [
            ("pause", {48: 0.0, 109: 2, 120: 0.0}),
            ("mode", {38: 1}),
            ("limit", {48: 6.0, 109: 3}),
            ("limit", {48: 10.0}),
        ]
        for number, (name, shows) in enumerate(script):
            effects = self.next_effects(effects)
            call, found = self.next_call(effects)
            assert found == name
            if number == stage:
                return call
            effects = self.carry_out(call, shows=shows)
        return effects


@pytest.fixture
def garage():
    """A charger with a car that charges with three phases."""
    return Switching()


def final(effects):
    """Return the one result of the switch."""
    (answer,) = [a for a in answers(effects) if a["final"] and a["command"] == "phases"]
    return answer


def test_a_charge_is_paused_switched_and_resumed_below_its_limit(garage):
    """Pause, 0 A, phase mode, read back, wait, resume, limit: in this order, with one result."""
    effects = garage.until(4)

    told = [a for a in answers(garage.effects) if a["command"] == "phases"]
    assert [(a["state"], a["detail"]) for a in told] == [
        ("accepted", "paused"),
        ("accepted", "no current flows (0 A)"),
        ("accepted", "phase mode 1 was set"),
        ("accepted", "phase mode 1 was read back"),
        ("accepted", "waited 30 s"),
        ("accepted", "resumed at 6 A"),
        ("confirmed", "phase mode 1, limit 10 A"),
    ]
    assert final(effects)["reason"] is None
    assert [call.request.body for call in calls_of(garage.effects)] == [
        None,
        b'{"phaseMode":1}',
        b'{"amps":6,"minutes":0}',
        b'{"amps":10,"minutes":0}',
    ]


def test_the_phase_mode_waits_for_0_a(garage):
    """While power is shown nothing is switched, and in the end the switch is given up."""
    call = garage.until(0)
    effects = garage.carry_out(call, shows={48: 0.0, 109: 2})
    effects += garage.wait(ZERO_TIMEOUT_S + 60)

    paths = {call.request.path.rsplit("/", 1)[1] for call in calls_of(garage.effects)}
    assert "set_phase_mode" not in paths
    answer = final(garage.effects)
    assert (answer["state"], answer["reason"]) == ("failed", "not_paused")
    assert answer["detail"] == "0 A was not seen in time; the charger is paused"


def test_between_phase_mode_and_resume_it_waits(garage):
    """The charger is left alone for half a minute."""
    call = garage.until(1)
    began_s = garage.mono_s
    effects = garage.carry_out(call, shows={38: 1})
    effects = garage.next_effects(effects)

    assert garage.mono_s - began_s >= SETTLE_S


def test_a_car_that_sleeps_is_resumed_by_the_vendors_command(garage):
    """Where a low limit alone does not let the car draw, resume follows, and then the limit."""
    call = garage.until(2)
    effects = garage.carry_out(call, shows={48: 6.0})
    effects += garage.wait(20)
    call, name = garage.next_call(effects)
    assert name == "resume"
    effects = garage.carry_out(call, shows={48: 32.0, 109: 3})
    effects = garage.next_effects(effects)
    call, name = garage.next_call(effects)
    assert (name, call.request.body) == ("limit", b'{"amps":10,"minutes":0}')
    assert final(garage.carry_out(call, shows={48: 10.0}))["state"] == "confirmed"


@pytest.mark.parametrize(
    ("shown", "calls", "detail"),
    [
        (
            {48: 0.0, 109: 2, 120: 0.0},
            ["pause", "mode"],
            "phase mode 3; it was paused before and stays so",
        ),
        ({48: 16.0, 109: 1, 120: 0.0}, ["mode"], "phase mode 3"),
        ({48: 16.0, 109: 4, 120: 0.0}, ["pause", "mode", "limit"], "phase mode 3, limit 16 A"),
    ],
)
def test_what_did_not_charge_is_not_resumed(garage, shown, calls, detail):
    """A charger that was paused, empty or idle is switched, and ends as it was."""
    garage.show(shown)
    shows = {"pause": {48: 0.0}, "mode": {38: 3}, "limit": {48: 16.0}}
    made, answer = garage.finish(garage.send("phases", b"3"), lambda name, _: shows[name])

    assert [name for name, _ in made] == calls
    assert (answer["state"], answer["detail"]) == ("confirmed", detail)


@pytest.mark.parametrize("is_late", [False, True], ids=["while it waits", "after the resume"])
def test_a_car_that_leaves_leaves_what_was_asked_for(garage, is_late):
    """The phase mode is set and so is the limit; there is no charge to resume, and no failure."""
    call = garage.until(1)
    effects = garage.carry_out(call, shows={38: 1})
    if is_late:
        call, _ = garage.next_call(garage.next_effects(effects))
        effects = garage.carry_out(call, shows={48: 6.0})
    effects += garage.show({109: 1})
    made, answer = garage.finish(effects, lambda *_: {48: 10.0})

    assert made == [("limit", b'{"amps":10,"minutes":0}')]
    assert (answer["state"], answer["detail"]) == ("confirmed", "phase mode 1, limit 10 A")


@pytest.mark.parametrize(
    ("payload", "state", "calls"), [(b"1", "noop", 0), (b'{"phases":1,"amps":10}', "confirmed", 1)]
)
def test_what_has_its_phases_already_is_not_paused(garage, payload, state, calls):
    """Nothing but the limit is sent, where there is one."""
    garage.show({38: 1, 110: 10})
    effects = garage.send("phases", payload)
    for call in calls_of(effects):
        effects = garage.carry_out(call, shows={48: 10.0})

    assert final(effects)["state"] == state
    assert len(calls_of(garage.effects)) == calls


def test_three_phases_in_use_are_switched_though_the_mode_says_one(garage):
    """A mode that was set during a charge is not in force yet."""
    garage.show({38: 1, 110: 30})

    assert garage.next_call(garage.send("phases", b"1"))[1] == "pause"


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_a_no_of_the_cloud_leaves_the_charger_paused(garage, stage):
    """Whatever step fails: the charger is paused, and the one result says so."""
    call = garage.until(stage)
    effects = garage.fail(call, CloudRejected("no", status=400, reason="bad_request"))
    if stage > 1:
        call, name = garage.next_call(effects)
        assert name == "pause"
        effects = garage.carry_out(call, shows={48: 0.0, 109: 2})

    answer = final(effects)
    assert (answer["state"], answer["reason"]) == ("failed", "bad_request")
    assert answer["detail"].endswith("; the charger is paused")


def test_a_charger_that_says_no_is_left_paused(garage):
    """The phase mode is rejected: so is the command, and the charger stays paused."""
    call = garage.until(1)
    garage.answer(call, b'{"device":"EH123456","commandId":38,"ticks":99}')
    answer = final(garage.respond(99, 38, accepted=False))

    assert answer["state"] == "rejected"
    assert answer["detail"].endswith("; the charger is paused")


def test_a_pause_that_cannot_be_had_is_said(garage):
    """The cloud refuses every pause: nothing was switched, and the result tells what to do."""
    no = CloudRejected("no", status=400, reason="bad_request")
    effects = garage.fail(garage.until(0), no)
    answer = final(garage.fail(calls_of(effects)[0], no))

    assert answer["state"] == "failed"
    assert answer["detail"].endswith("; the charger could not be paused: pause it")


@pytest.mark.parametrize("stage", [1, 2])
def test_a_command_of_another_controller_ends_it(garage, stage):
    """Another controller's command ends the switch, and the charger is paused."""
    garage.carry_out(garage.until(stage), shows={})
    garage.respond(4711, 48)
    (response,) = garage.foreign
    effects = garage.take(garage.journal.foreign(response, garage.now))
    made, answer = garage.finish(effects, lambda *_: {48: 0.0, 109: 2})

    assert made == ([] if stage == 1 else [("pause", None)])
    assert answer["reason"] == "foreign_command"
    assert answer["detail"].endswith("; the charger is paused")


def test_a_load_balancer_does_not_end_it(garage):
    """The circuit's limit moves every few seconds in a house with one."""
    garage.carry_out(garage.until(1), shows={})
    garage.respond(4711, 22)
    (response,) = garage.foreign
    garage.take(garage.journal.foreign(response, garage.now))

    assert garage.journal._switches._switches[ID].ended is None


@pytest.mark.parametrize("newer", ["pause", "stop"])
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_newer_command_that_ends_the_charge_ends_the_switch(garage, newer, stage):
    """No step follows it; the charger is paused, and then the newer command is sent."""
    call = garage.until(stage)
    effects = garage.send(newer)
    assert not calls_of(effects)
    effects = garage.carry_out(call, shows={})
    made, answer = garage.finish(effects, lambda *_: {48: 0.0, 109: 2, 120: 0.0})
    garage.wait(3)
    assert [name for name, _ in made if name == "pause"] == ["pause"] * (stage != 1)
    assert answer["reason"] == "newer_command"
    newest = calls_of(garage.effects)[-1].request.path
    assert newest.endswith("stop_charging" if newer == "stop" else "pause_charging")


def test_nothing_else_is_sent_meanwhile(garage):
    """A limit waits behind the switch, and is sent when it ended."""
    call = garage.until(1)
    assert not calls_of(garage.send("dynamic_charger_current", b'{"value":20,"ttl_s":600}'))
    effects = garage.carry_out(call, shows={38: 1})
    made, _ = garage.finish(
        effects, lambda _, call: {48: 6.0 if b":6" in call.request.body else 10.0, 109: 3}
    )

    assert [body for _, body in made] == [b'{"amps":6,"minutes":0}', b'{"amps":10,"minutes":0}']
    garage.wait(5)
    assert calls_of(garage.effects)[-1].request.body == b'{"amps":20,"minutes":0}'


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
@pytest.mark.parametrize("is_answered", [False, True])
def test_a_crash_at_every_step_leaves_the_charger_paused(garage, stage, is_answered):
    """The next process sends a pause and nothing else, and gives the one result."""
    call = garage.until(stage)
    if is_answered:
        garage.carry_out(call, shows={})
        if stage == 3:  # that was the last step
            assert final(garage.effects)["state"] == "confirmed"
            return
    before = len(garage.effects)
    effects = garage.restart()
    call, name = garage.next_call(effects)
    assert name == "pause"
    effects = garage.carry_out(call, shows={48: 0.0, 109: 2})

    answer = final(effects)
    assert (answer["state"], answer["reason"]) == ("failed", "interrupted")
    assert answer["detail"].endswith("; the charger is paused")
    garage.wait(120)
    sent = [call.request.path.rsplit("/", 1)[1] for call in calls_of(garage.effects[before:])]
    assert [path for path in sent if path in CALLS.values()] == ["pause_charging"]


def test_every_step_is_on_disk_before_it_is_sent(garage):
    """The request of a step follows its row, and the row of the switch precedes both."""
    garage.until(3)

    for index, effect in enumerate(garage.effects):
        if effect in calls_of([effect]) and "commands" in effect.request.path:
            rows = [e.row for e in garage.effects[:index] if isinstance(e, SaveCommand)]
            assert rows[-1].state == "leaving"
            assert any(row.command == "phases" and row.state == "running" for row in rows)


def test_its_time_counts_until_the_first_request(garage):
    """A switch lasts longer than it may wait; one that never began is expired."""
    garage.send("reboot", b'{"ttl_s":600}')  # keeps the charger busy
    (reboot,) = calls_of(garage.effects)
    garage.send("phases", b'{"phases":1,"amps":10,"ttl_s":5}')
    garage.wait(6)

    assert final(garage.effects)["state"] == "expired"
    assert calls_of(garage.effects) == [reboot]


def test_a_cloud_out_of_reach_changes_nothing(garage):
    """No pause is tried for minutes, and none is sent when the cloud is back."""
    effects = garage.send("phases", b'{"phases":1,"amps":10,"ttl_s":20}')
    for _ in range(30):
        for call in calls_of(effects):
            garage.fail(call, CloudUnavailable("down"))
        effects = garage.pass_s(1.0)

    answer = final(garage.effects)
    assert (answer["state"], answer["reason"]) == ("failed", "cloud_unavailable")
    assert answer["detail"].endswith("; nothing was changed")


def test_a_charger_that_does_not_stay_paused_is_paused_again(garage):
    """A limit that comes back by itself ends the switch, and the charger is paused."""
    call = garage.until(1)
    effects = garage.carry_out(call, shows={38: 1})
    garage.wait(5)
    effects = garage.show({48: 32.0, 109: 3})
    call, name = garage.next_call(effects)
    assert name == "pause"
    answer = final(garage.carry_out(call, shows={48: 0.0, 109: 2}))

    assert answer["reason"] == "not_paused"


@pytest.mark.parametrize(("came_s", "is_paused"), [(0.3, False), (-0.1, True)])
def test_within_the_second_of_the_last_pause_the_order_of_arrival_counts(garage, came_s, is_paused):
    """A limit with the stamp of that second that comes behind the pause is another controller's."""
    garage.carry_out(garage.until(1), shows={38: 1})
    garage.wait(5)
    garage.mono_s += 0.4
    call, name = garage.next_call(garage.show({48: 32.0, 109: 3}))
    assert name == "pause"
    paused = garage.now.wall
    came = paused + timedelta(seconds=came_s)
    garage.values.held[48] = (16.0, paused.replace(microsecond=0), came)
    effects = garage.carry_out(call, shows={109: 2})

    if is_paused:
        assert "the charger is paused" in final(effects)["detail"]
    else:
        assert garage.next_call(effects)[1] == "pause"


@pytest.mark.parametrize(
    ("is_shown", "pauses"), [(True, ["pause"]), (False, ["pause", "pause", "pause"])]
)
def test_a_pause_confirmed_by_a_response_without_known_ticks_has_to_be_shown(
    garage, is_shown, pauses
):
    """The cloud's answer got lost: the response may be to a command of another controller."""
    garage.carry_out(garage.until(1), shows={38: 1})
    garage.wait(5)
    effects, made = garage.show({48: 8.0, 109: 3}), []
    for _ in range(60):
        for call in calls_of(effects):
            made.append(garage.next_call([call])[1])
            garage.mono_s += 1
            garage.fail(call, OutcomeUnknown("no answer"))
            garage.respond(4711 + len(made), 48)
            garage.show({109: 2})
            if is_shown:
                garage.show({48: 0.0})
        effects = garage.pass_s(1.0)

    assert made == pauses
    assert final(garage.effects)["detail"].endswith("is paused" if is_shown else "pause it")


def test_without_the_stream_it_reads_what_the_charger_shows(garage):
    """Before the first step, for 0 A and for the phase mode: by REST, not by what is held."""
    garage.journal.stream(garage.now, is_up=False)
    call, name = garage.next_call(garage.send("phases", b'{"phases":1,"amps":10}'))

    assert name.startswith("observations?ids=")
    garage.show({48: 16.0, 109: 3})
    effects = garage.answer(call, b"[]", status=200)
    call, name = garage.next_call(effects)
    assert name == "pause"
    garage.carry_out(call, shows={48: 0.0, 109: 2, 120: 0.0})
    effects = garage.wait(15)
    assert garage.next_call(effects)[1].startswith("observations?ids=")


def test_a_second_asker_hears_of_the_newest_step(garage):
    """The same id twice is one switch, and both callers have its progress."""
    garage.send("phases", b'{"phases":1,"amps":10,"id":"a"}')
    garage.carry_out(calls_of(garage.effects)[0], shows={48: 0.0, 109: 2, 120: 0.0})
    effects = garage.send("phases", b'{"phases":1,"amps":10,"id":"a"}')

    assert answers(effects)[-1]["detail"] == "paused"


def test_a_flash_budget_that_is_spent_refuses_it_before_anything_is_sent(garage):
    """A charger is not paused for a phase mode that cannot be written."""
    for number in range(100):
        garage.journal._send_policy.count_flash_write(ID, "phase_mode", 900.0 + number)
    effects = garage.send("phases", b"3")

    assert final(effects)["reason"] == "flash_budget"
    assert not calls_of(effects)


def test_constants_are_what_people_do_by_hand():
    """About half a minute between phase mode and resume."""
    assert phase_switch.SETTLE_S == 30.0


def test_a_power_of_before_the_pause_counts_late(garage):
    """It may be that of a car that had just begun; where it stays, nothing flows."""
    garage.show({120: 0.02})
    garage.wait(10)
    call = call_of(garage.send("phases", b"1"))
    garage.carry_out(call, shows={48: 0.0, 109: 2})

    assert not calls_of(garage.wait(10))
    call, name = garage.next_call(garage.next_effects([]))
    assert name.startswith("observations?ids=")
    effects = garage.answer(call, b"[]", status=200)
    assert garage.next_call(garage.next_effects(effects))[1] == "mode"

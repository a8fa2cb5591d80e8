from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.simulator.commands import RESUMES_AFTER_S
from bridge.simulator.readings import Update
from bridge.simulator.scenario import Scenario
from bridge.simulator.sessions import Car
from bridge.simulator.world import World
from tests.simulator.lab import FIRST, NOON, SECOND, THIRD, Lab, responses, values


def story(seed: int) -> list[object]:
    """Live through three hours and return everything that happened."""
    bench = Lab(World(Scenario(seed=seed, authorize_after_s=30), NOON))
    told = bench.wait(1800)
    bench.world.command(FIRST, "reboot", {})
    return told + bench.wait(3 * 3600)


@settings(max_examples=5)
@given(st.integers(0, 2**32))
def test_the_same_seed_tells_the_same_story(seed):
    """Two worlds of one seed and the same steps agree in everything they say."""
    assert story(seed) == story(seed)


def test_another_seed_tells_another_story():
    """The seed matters."""
    assert story(1) != story(2)


def test_speed_makes_more_happen_between_the_same_stamps(lab):
    """At speed 60 a minute holds an hour of charging; stamps stay with the wall clock."""
    bench = lab(authorization_required=False, speed=60)
    bench.first.plug_in(Car(wants_kwh=99))
    told = bench.wait(60)
    latest = max(one.reading.measured_at for one in told if isinstance(one, Update))

    assert bench.first.session_kwh > 9
    assert latest <= bench.now


def test_requests_in_quick_succession_do_not_make_every_charger_live(lab):
    """Time that was too short to live through is not lost, and what is due then happens."""
    bench = lab(authorization_required=False)
    lived_s = bench.first.world_s
    done = []
    bench.world.later(0.004, lambda: done.append(True))

    for _ in range(9):
        bench.wait(0.001)
    assert bench.first.world_s == lived_s
    assert done == [True]

    bench.wait(0.001)
    assert bench.first.world_s == pytest.approx(lived_s + 0.01)


def test_a_command_is_taken_answered_and_carried_out(lab):
    """202 with ticks first; the CommandResponse with the same ticks and the effect follow."""
    bench = lab()
    bench.first.plug_in(Car())
    bench.happened()
    answer = bench.world.command(FIRST, "start_charging", {})
    assert answer.status == 202
    assert bench.happened() == []

    told = bench.wait(1)
    (response,) = responses(told)
    assert answer.document == {"device": FIRST, "commandId": 25, "ticks": response.ticks}
    assert response.accepted
    assert response.command_id == 25
    assert response.delivered_at - response.sent_at >= timedelta(seconds=0.3)
    assert 6 in values(told, 109)


def test_ticks_are_those_of_the_wall_clock():
    """100 ns since the year one, as in a log of the field (evcc#8572)."""
    at = datetime(2023, 6, 21, 7, 41, 45, 93092, tzinfo=UTC)
    world = World(Scenario(chargers=1, traffic=False), at)
    receipt = world.command(FIRST, "reboot", {}).document

    assert receipt["ticks"] == 638229301050930920


def test_ticks_never_repeat(lab):
    """Commands of one moment can be told apart."""
    world = lab().world
    ticks = [world.command(FIRST, "reboot", {}).document["ticks"] for _ in range(3)]

    assert ticks == sorted(set(ticks))


def test_an_offline_charger_never_answers(lab):
    """The cloud takes the command all the same (evcc#28077)."""
    bench = lab(offline=(1,))
    answer = bench.world.command(FIRST, "reboot", {})
    key = (FIRST, 1, answer.document["ticks"])

    assert answer.status == 202
    assert responses(bench.wait(60)) == []
    assert bench.world.result_code(bench.world.commands[key]) == 1
    bench.wait(600)
    assert bench.world.result_code(bench.world.commands[key]) == 2


def test_a_charger_may_say_no(lab):
    """A rejected command answers accepted false and does nothing."""
    bench = lab()
    bench.first.plug_in(Car())
    bench.first.reject_next = True
    bench.world.command(FIRST, "pause_charging", {})
    told = bench.wait(1)

    assert [one.accepted for one in responses(told)] == [False]
    assert bench.first.number(48) == 32


@pytest.mark.parametrize("name", ["pause_charging", "resume_charging"])
def test_without_a_car_there_is_nothing_to_pause(lab, name):
    """The vendor's business error 410."""
    answer = lab().world.command(FIRST, name, {})

    assert answer.status == 400
    assert answer.document["errorCode"] == 410
    assert answer.document["errorCodeName"] == "ChargerDisconnected"


def test_a_resume_overwrites_a_limit_sent_right_behind_it(lab):
    """The limit goes to its maximum a moment after the answer."""
    bench = lab(authorization_required=False)
    bench.first.plug_in(Car())
    bench.world.command(FIRST, "resume_charging", {})
    bench.world.command(FIRST, "set_dynamic_charger_current", {"amps": 10, "minutes": 0})
    bench.wait(0.5)
    assert bench.first.number(48) == 10

    bench.wait(RESUMES_AFTER_S)
    assert bench.first.number(48) == 32


def test_settings_answer_with_one_receipt_per_change(lab):
    """An array as long as the number of changes; an empty one when nothing changes."""
    bench = lab()
    body = {"ledStripBrightness": 20, "smartButtonEnabled": True, "authorizationRequired": True}
    answer = bench.world.set_settings(FIRST, body)
    assert [one["commandId"] for one in answer.document] == [40, 5]

    bench.wait(1)
    answer = bench.world.set_settings(FIRST, body)
    assert (answer.status, answer.document) == (202, [])


def test_wrong_settings_are_refused_as_a_whole(lab):
    """One unknown key and nothing is sent."""
    answer = lab().world.set_settings(FIRST, {"ledStripBrightness": 20, "colour": 3})

    assert answer.status == 400
    assert list(answer.document["errors"]) == ["colour"]


def test_unknown_field_names_of_the_dynamic_current_are_swallowed(lab):
    """2xx, and nothing happens."""
    bench = lab()
    answer = bench.world.command(FIRST, "set_dynamic_charger_current", {"current": 10})

    assert answer.status == 200
    told = bench.wait(2)
    assert responses(told) == []
    assert values(told, 48) == []


def test_the_circuit_is_shared(lab):
    """The primary answers with command 22 and all chargers of the circuit follow."""
    bench = lab(chargers=4)
    answer = bench.world.set_circuit_current(8101, (10.0, 10.0, 10.0), 5)
    told = bench.wait(1)

    assert answer.document["device"] == FIRST
    assert [one.command_id for one in responses(told)] == [22]
    assert values(told, 111) == [10, 10, 10]
    assert bench.world.circuit_of(THIRD) == 8101
    assert bench.world.circuit_of("EH000004") == 8102
    assert list(bench.world.circuit_ids()) == [8101, 8102]
    assert bench.world.set_circuit_current(9999, (1.0, 1.0, 1.0), 0).status == 404
    assert bench.world.circuit(1) == []


def test_circuit_settings_are_200_and_still_answered(lab):
    """An empty 200 at once, a CommandResponse later."""
    bench = lab()
    answer = bench.world.set_circuit_settings(8101, {"maxCircuitCurrentP1": 20})
    told = bench.wait(1)

    assert answer.status == 200
    assert [one.command_id for one in responses(told)] == [24]
    assert values(told, 22) == [20, 20, 20]
    assert bench.world.set_circuit_settings(1, {}).status == 404


@pytest.mark.parametrize(("level", "flags"), [(1, (0, 0)), (2, (1, 0)), (3, (0, 1))])
def test_the_access_level_sets_both_switches(lab, level, flags):
    """Open, account or whitelist: 42 and 15 follow."""
    bench = lab()
    bench.world.set_access(FIRST, level)
    bench.wait(1)

    assert (bench.first.number(42), bench.first.number(15)) == flags


def test_a_plan_is_stored_reported_and_deleted(lab):
    """Commands 60 and 61, and observation 62 with the stored text."""
    bench = lab()
    plan = {"enabled": True, "timezone": "UTC", "periods": []}
    assert bench.world.set_plan(FIRST, "daily", None).status == 404
    bench.world.set_plan(FIRST, "daily", plan)
    told = bench.wait(1)
    assert [one.command_id for one in responses(told)] == [60]
    assert '"daily"' in values(told, 62)[0]

    bench.world.set_plan(FIRST, "daily", None)
    told = bench.wait(1)
    assert [one.command_id for one in responses(told)] == [61]
    assert values(told, 62) == ["{}"]


def test_unknown_chargers_and_commands_are_404(lab):
    """Nobody else's charger, no removed command."""
    world = lab().world

    assert world.command("EH999999", "reboot", {}).status == 404
    assert world.command(FIRST, "poll_lifetimeenergy", {}).status == 404
    assert world.set_settings("EH999999", {}).status == 404
    assert world.set_access("EH999999", 1).status == 404


def test_offline_chargers_may_come_back_by_themselves(lab):
    """After offline_for_s the burst comes without a hand."""
    bench = lab(offline=(2,), offline_for_s=60, offline_sessions=3)
    told = bench.wait(120)

    assert len(values([one for one in told if one.charger_id == SECOND], 129)) == 3


def test_a_new_charger_joins_a_running_world(lab):
    """A charger that is added lives from now on."""
    bench = lab()
    bench.wait(60)
    bench.world.add("EH000042")

    assert bench.world.chargers["EH000042"].at == bench.now


def test_time_does_not_run_backwards(lab):
    """A step into the past changes nothing."""
    bench = lab(authorization_required=False)
    bench.first.plug_in(Car())
    bench.wait(60)
    bench.world.step(NOON)

    assert bench.world.now == bench.now

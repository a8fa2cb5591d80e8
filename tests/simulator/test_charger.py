import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.simulator.scenario import Scenario
from bridge.simulator.sessions import Car
from bridge.simulator.world import World
from tests.simulator.lab import FIRST, LEDS, NOON, Lab, values


def shown(charger) -> tuple[int, int, int]:
    """Read op mode, LED and reason."""
    return tuple(int(charger.number(one)) for one in (109, 46, 96))


@pytest.mark.parametrize("pending", [2, 7])
def test_a_session_from_plug_in_to_report(lab, pending):
    """Pending authorization, start, charging, unplugged: what is shown and told at each turn."""
    bench = lab(pending_op_mode=pending)
    charger = bench.first
    charger.plug_in(Car())
    assert shown(charger) == (pending, 25, 55)

    bench.happened()
    charger.authorize("TAG1", 6)
    started = json.loads(values(bench.happened(), 223)[0])
    assert shown(charger)[:2] == (6, 23)

    told = bench.wait(600)
    assert shown(charger)[:2] == (3, 24)
    assert max(values(told, 120)) > 10
    assert charger.value(100) == "C"

    charger.unplug()
    told = bench.happened()
    report = json.loads(values(told, 129)[0])
    assert shown(charger) == (1, 18, 50)
    assert values(told, 120) == [0]
    assert report["Id"] == started["Id"]
    assert (report["Auth"], report["AuthReason"]) == ("TAG1", 6)
    assert report["MeterValueStart"] == started["MeterValue"]
    assert report["EnergyKwh"] == pytest.approx(
        report["MeterValueStop"] - report["MeterValueStart"], abs=1e-6
    )
    assert report["EnergyKwh"] > 1


def test_a_full_car_is_completed(lab):
    """Once the car has what it wants, power stops and the op mode says so."""
    bench = lab(authorization_required=False)
    bench.first.plug_in(Car(wants_kwh=0.5))
    bench.wait(600)

    assert shown(bench.first) == (4, 23, 79)
    assert bench.first.number(120) == 0


def test_a_pause_lasts_until_the_next_car(lab):
    """A dynamic limit of 0 pauses; plugging in again resets it."""
    bench = lab(authorization_required=False)
    charger = bench.first
    charger.plug_in(Car())
    bench.wait(60)
    charger.set_dynamic_current(0, 0)
    assert shown(charger) == (2, 23, 52)

    charger.unplug()
    charger.plug_in(Car())
    assert charger.number(48) == 32


def test_a_dynamic_limit_runs_out(lab):
    """A limit with minutes falls back when they are over."""
    bench = lab(authorization_required=False)
    bench.first.plug_in(Car())
    bench.first.set_dynamic_current(10, 2)
    bench.first.set_circuit_current((9, 9, 9), 3)
    bench.wait(110)
    assert bench.first.number(48) == 10

    bench.wait(20)
    assert bench.first.number(48) == 32
    assert bench.first.number(111) == 9

    bench.wait(60)
    assert bench.first.number(111) == 16


def test_stopping_asks_for_authorization_again(lab):
    """Deauthorized, the session is reported and the charger passes through 8 to pending."""
    bench = lab()
    charger = bench.first
    charger.plug_in(Car())
    charger.authorize("TAG1", 6)
    bench.wait(60)
    charger.deauthorize()
    assert shown(charger) == (8, 23, 55)
    assert values(bench.happened(), 129)

    bench.wait(10)
    assert shown(charger) == (7, 25, 55)


def test_smart_mode_is_blue_and_the_button_can_die(lab):
    """Touching toggles smart mode (22 while charging) unless the button is dead."""
    bench = lab(authorization_required=False)
    charger = bench.first
    charger.plug_in(Car())
    bench.wait(60)
    charger.touch()
    assert shown(charger)[:2] == (3, 22)

    charger.touch_alive = False
    charger.touch()
    assert charger.flag(102)


def test_a_tag_is_read_and_authorizes(lab):
    """A tag is told forwards and backwards, and lets the waiting car charge."""
    bench = lab()
    bench.first.plug_in(Car())
    bench.happened()
    bench.first.show_tag("0411223344")
    told = bench.happened()

    assert values(told, 128) == ["0411223344"]
    assert values(told, 108) == ["4433221104"]
    assert json.loads(values(told, 223)[0])["AuthReason"] == 1


def test_a_tag_that_the_cloud_does_not_know_authorizes_nothing(lab):
    """It is told and looked up, and the car waits on until somebody authorizes it."""
    bench = lab(tags_known=False)
    charger = bench.first
    charger.plug_in(Car())
    bench.happened()
    charger.show_tag("0411223344")
    assert values(bench.happened(), 128) == ["0411223344"]
    assert shown(charger) == (7, 26, 55)

    bench.wait(10)
    assert shown(charger) == (7, 25, 55)
    charger.authorize("somebody", 6)
    assert charger.session is not None


def test_the_chargers_own_list_does_not_ask_the_cloud(lab):
    """Local authorization takes a tag that the cloud does not know."""
    bench = lab(tags_known=False, authorization_required=False)
    bench.first.change(15, True)
    bench.first.plug_in(Car())
    bench.first.show_tag("0411223344")

    assert bench.first.session is not None
    assert bench.first.session.auth == "0411223344"


def test_pairing_takes_a_tag(lab):
    """In pairing mode the tag is told as paired and authorizes nothing."""
    bench = lab()
    bench.first.pair(30)
    assert shown(bench.first)[1] == 29
    bench.first.show_tag("0411223344")

    assert values(bench.happened(), 69) == ["0411223344"]
    assert shown(bench.first)[1] == 18


def test_pairing_ends_by_itself(lab):
    """After its time the LED is idle again."""
    bench = lab()
    bench.first.pair(30)
    bench.wait(40)

    assert shown(bench.first)[1] == 18


def test_offline_is_silence(lab):
    """Without its cloud a charger says nothing; the cloud says 250 false, later 109 = 0."""
    bench = lab(authorization_required=False)
    charger = bench.first
    charger.plug_in(Car())
    bench.wait(30)
    charger.go_offline()
    told = bench.happened() + bench.wait(30)
    mine = {one.observation_id for one in told if one.charger_id == FIRST}
    assert mine == {250, 251}

    assert values(bench.wait(60), 109) == [0]


def test_a_reboot_resets_what_is_volatile(lab):
    """After the restart the dynamic limits are back and charging goes on."""
    bench = lab(authorization_required=False)
    charger = bench.first
    charger.plug_in(Car())
    charger.set_dynamic_current(10, 0)
    bench.wait(30)
    charger.reboot()
    assert values(bench.happened(), 250) == [False]

    told = bench.wait(60)
    assert values(told, 250) == [True]
    assert values(told, 89) == [20]
    assert charger.number(48) == 32
    assert shown(charger)[0] == 3


def test_an_error_is_red(lab):
    """A failed charger shows op mode 5 and a red strip, and recovers."""
    bench = lab()
    bench.first.fail(57)
    assert shown(bench.first) == (5, 16, 56)
    bench.first.fail(0)
    assert shown(bench.first) == (1, 18, 50)


ACTIONS = {
    "plug": lambda c: c.plug_in(Car(wants_kwh=0.3)),
    "unplug": lambda c: c.unplug(),
    "authorize": lambda c: c.authorize("TAG", 1),
    "stop": lambda c: c.deauthorize(),
    "pause": lambda c: c.set_dynamic_current(0, 0),
    "limit": lambda c: c.set_dynamic_current(8, 1),
    "resume": lambda c: c.set_dynamic_current(32, 0),
    "touch": lambda c: c.touch(),
    "pair": lambda c: c.pair(20),
    "reboot": lambda c: c.reboot(),
    "offline": lambda c: c.go_offline(),
    "back": lambda c: c.reconnect(),
    "fail": lambda c: c.fail(9),
    "mend": lambda c: c.fail(0),
    "lock out": lambda c: (c.change(31, False), c.show()),
    "let in": lambda c: (c.change(31, True), c.show()),
    "plan": lambda c: c.set_plan("daily", {"enabled": True, "periods": []}),
    "no plan": lambda c: c.set_plan("daily", None),
}


@given(
    st.lists(st.tuples(st.sampled_from(sorted(ACTIONS)), st.integers(0, 120)), max_size=25),
    st.booleans(),
)
def test_whatever_happens_led_and_op_mode_agree(script, required):
    """Over any sequence of actions and waits, the shown state is consistent."""
    scenario = Scenario(chargers=1, traffic=False, authorization_required=required)
    bench = Lab(World(scenario, NOON))
    charger = bench.first
    for name, seconds in script:
        ACTIONS[name](charger)
        bench.wait(seconds)
        op_mode, led, reason = shown(charger)
        assert op_mode == 0 or led in LEDS[op_mode]
        assert reason != 55 or led == 25 or op_mode in (0, 8)
        assert op_mode == 3 or charger.number(120) == 0 or not charger.reachable

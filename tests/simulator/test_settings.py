import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.simulator import settings
from bridge.simulator.scenario import Scenario
from bridge.simulator.world import World
from tests.simulator.lab import NOON, Lab, values


@pytest.mark.parametrize(
    "body",
    [
        {"localAuthorizationRequired": True},
        {"authorizationRequired": 1},
        {"offlineChargingMode": 3},
        {"ledStripBrightness": 101},
        {"maxChargerCurrent": "16"},
        {"phaseMode": 0},
    ],
)
def test_what_the_vendor_does_not_know_is_named(body):
    """Unknown keys and wrong values are in the errors map."""
    assert settings.problems(body).keys() == body.keys()


@pytest.mark.parametrize(
    ("key", "value", "observation_id"),
    [
        ("enabled", False, 31),
        ("enableIdleCurrent", True, 37),
        ("lockCablePermanently", True, 30),
        ("smartButtonEnabled", True, 44),
        ("phaseMode", 3, 38),
        ("smartCharging", True, 102),
        ("localAuthorizeOfflineEnabled", False, 16),
        ("allowOfflineTxForUnknownId", True, 17),
        ("offlineChargingMode", 2, 45),
        ("remoteStartRequired", True, 43),
        ("ledStripBrightness", 20, 40),
        ("maxChargerCurrent", 20, 47),
        ("dynamicChargerCurrent", 12, 48),
    ],
)
def test_a_setting_is_read_back_in_its_observation(lab, key, value, observation_id):
    """Each key moves its own observation, once."""
    bench = lab()
    assert settings.changed(bench.first, {key: value}) == {key: value}
    settings.apply(bench.first, key, value)

    assert values(bench.happened(), observation_id) == [value]
    assert settings.changed(bench.first, {key: value}) == {}


def test_a_setting_without_observation_is_kept(lab):
    """LimitToSinglePhaseCharging has no readback but is remembered."""
    bench = lab()
    settings.apply(bench.first, "limitToSinglePhaseCharging", True)

    assert settings.current(bench.first, "limitToSinglePhaseCharging") is True


def test_switching_smart_charging_off_kills_the_button(lab):
    """After the setting said no, a touch does nothing; after yes it works again."""
    bench = lab()
    settings.apply(bench.first, "smartCharging", False)
    bench.first.touch()
    assert not bench.first.flag(102)

    settings.apply(bench.first, "smartCharging", True)
    bench.first.touch()
    assert not bench.first.flag(102)
    bench.first.touch()
    assert bench.first.flag(102)


SWITCHES = ("authorizationRequired", "localPreAuthorizeEnabled")


@given(st.lists(st.tuples(st.sampled_from(SWITCHES), st.booleans()), max_size=12))
def test_the_access_modes_exclude_each_other(writes):
    """Whatever is written in whatever order, 42 and 15 are never both true."""
    bench = Lab(World(Scenario(chargers=1, traffic=False), NOON))
    for key, value in writes:
        settings.apply(bench.first, key, value)
        assert bench.first.flag(settings.SETTINGS[key].observation_id) is value
        assert not (bench.first.flag(42) and bench.first.flag(15))


def test_both_readbacks_move(lab):
    """Switching one mode on reports the other one going off."""
    bench = lab()
    settings.apply(bench.first, "localPreAuthorizeEnabled", True)
    told = bench.happened()

    assert values(told, 15) == [True]
    assert values(told, 42) == [False]

import json
from datetime import timedelta

from bridge.simulator.observation_table import CHARGER_OBSERVATIONS
from tests.simulator.lab import FIRST, NOON, SECOND, THIRD


def test_more_than_a_hundred_old_observations_are_there(lab):
    """A replay is long, every id is a known one, and no stamp lies in the future."""
    readings = lab().first.readings

    assert len(readings) > 100
    assert readings.keys() <= CHARGER_OBSERVATIONS.keys()
    assert all(one.measured_at <= NOON for one in readings.values())
    assert any(NOON - one.measured_at > timedelta(days=1) for one in readings.values())


def test_an_idle_charger_was_heard_lately(lab):
    """Something is younger than twenty minutes, so that nobody calls it silent."""
    readings = lab().first.readings

    assert min(NOON - one.measured_at for one in readings.values()) < timedelta(minutes=15)


def test_values_fit_their_types(lab):
    """Every value fits the type it is sent with."""
    python = {2: bool, 3: float, 4: int, 5: str, 6: str}
    for observation_id, reading in lab().first.readings.items():
        assert type(reading.value) is python[reading.data_type], observation_id


def test_access_is_mixed_unless_told(lab):
    """First the cloud's authorization, then open, then the local list."""
    chargers = lab().world.chargers

    assert [(chargers[one].flag(42), chargers[one].flag(15)) for one in (FIRST, SECOND, THIRD)] == [
        (True, False),
        (False, False),
        (False, True),
    ]
    assert lab(authorization_required=True).world.chargers[SECOND].flag(42)


def test_past_sessions_lead_up_to_the_next(lab):
    """The last report, its counter and the meter fit what comes next."""
    charger = lab().first
    last = json.loads(charger.value(129))

    assert last["Id"] == charger.next_session - 1
    assert abs(last["MeterValueStop"] - charger.meter_kwh) < 1e-3

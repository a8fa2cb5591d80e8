"""An Equalizer's observations: each is judged before anybody publishes one."""

from bridge.core.easee.equalizer import NOT_PERSONAL, PERSONAL
from bridge.simulator.observation_table import EQUALIZER_OBSERVATIONS, DataType


def test_every_text_is_judged():
    """Each text has a reason, in one table or the other; a number only where it is personal."""
    texts = {one.id for one in EQUALIZER_OBSERVATIONS.values() if one.data_type is DataType.STRING}

    assert not PERSONAL.keys() & NOT_PERSONAL.keys()
    assert texts | {19} == (PERSONAL.keys() | NOT_PERSONAL.keys())
    assert all([*PERSONAL.values(), *NOT_PERSONAL.values()])


def test_what_names_a_household_is_personal():
    """Address, meter, networks, and what ties them to a charger."""
    assert set(PERSONAL) == {20, 26, 51, 55, 56, 69, 91}

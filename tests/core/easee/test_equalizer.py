"""An Equalizer's observations: each is judged, and has a name of its own."""

from bridge.core.easee.equalizer import EQUALIZER, EQUALIZER_IDS, FIRMWARE_ID, equalizer_spec_of
from bridge.core.easee.observation_spec import Visibility


def test_what_names_a_household_is_personal_and_no_entity():
    """Address, meter, networks, and what ties them to a charger."""
    personal = [spec for spec in EQUALIZER.values() if spec.personal]

    assert {spec.id for spec in personal} == {20, 26, 51, 55, 56, 69, 91}
    assert {spec.visibility for spec in personal} == {Visibility.HIDDEN}
    assert all(spec.privacy for spec in EQUALIZER.values())


def test_names_are_unique_and_follow_from_the_vendors():
    """One topic for each observation."""
    names = [spec.name for spec in EQUALIZER.values()]

    assert len(set(names)) == len(names) == len(EQUALIZER_IDS) == 73
    assert equalizer_spec_of(40).name == "active_power_import"
    assert equalizer_spec_of(45).name == "cumulative_active_power_import"
    assert equalizer_spec_of(36).name == "voltage_nl3"
    assert equalizer_spec_of(FIRMWARE_ID).name == "software_release"


def test_readings_of_the_meter_count_for_the_energy_dashboard():
    """Import and export only grow, in kWh."""
    growing = [spec.id for spec in EQUALIZER.values() if spec.state_class == "total_increasing"]

    assert growing == [45, 46]
    assert {EQUALIZER[number].unit for number in growing} == {"kWh"}


def test_an_unknown_id_has_a_row_without_a_name_of_the_vendors():
    """It is named by its number, also where a charger has an observation of this number."""
    assert equalizer_spec_of(109).name == "observation_109"
    assert equalizer_spec_of(109) is equalizer_spec_of(109)

"""Which conductor is connected to which terminal, and what each phase carries."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.easee import phases
from bridge.core.easee.enumerations import GRID_TYPE, OUTPUT_PHASE
from bridge.core.easee.phases import IT, PHASES, TN, WIRINGS, current, power, voltage, wiring_of

MEASURED = {
    **{182 + index: amperes for index, amperes in enumerate((1.0, 16.0, 12.0, 8.0))},
    194: 230.0,
    195: 231.0,
    196: 232.0,
    197: 233.0,
}


def test_every_grid_type_is_decided_on():
    """Each code of the vendor has one wiring, or is one that tells nothing or an error."""
    codes = [code for wiring in WIRINGS for code in wiring.grid_types]

    assert len(codes) == len(set(codes))
    assert set(codes) | {-1, 0, 50, 51, 52} == set(GRID_TYPE)
    assert (phases.TN_OUTPUTS | phases.IT_OUTPUTS | {0}) == set(OUTPUT_PHASE)
    assert {code for code, label in OUTPUT_PHASE.items() if "it_" in label} == phases.IT_OUTPUTS
    for wiring in WIRINGS:
        labels = [GRID_TYPE[code] for code in wiring.grid_types]
        assert all(("it_" in label) is wiring.is_it for label in labels)


@pytest.mark.parametrize(
    ("grid_type", "output", "name"),
    [
        (1, None, "TN, three phases"),
        (1, 12, "TN, three phases"),
        (3, 10, "TN, one phase"),
        (31, 10, "TN, one phase, N on T3"),
        (30, None, "TN, two phases, L1 and L3"),
        (4, 30, "IT, three phases"),
        (34, 22, "IT, three phases"),
        (5, 11, "IT, one phase"),
        (None, 30, "TN, three phases"),
        (0, 14, "TN, three phases"),
        (-1, 15, "IT, three phases"),
        (None, None, None),
        (None, 0, None),
        (0, 99, None),
        (50, 30, None),
        (51, 10, None),
        (99, 30, None),
        (1, 11, None),
        (4, 10, None),
    ],
)
def test_the_wiring(grid_type, output, name):
    """The grid type decides, then the output phase; a contradiction and an error are unknown."""
    wiring = wiring_of(grid_type, output)

    assert (None if wiring is None else wiring.name) == name


def of_phases(function, *arguments):
    """Return the value of each phase."""
    return [function(*arguments, phase, MEASURED.get) for phase in PHASES]


def test_a_tn_grid():
    """T3, T4 and T5 are L1, L2 and L3, and each voltage is that to N at T2."""
    assert of_phases(current, TN) == [16.0, 12.0, 8.0]
    assert of_phases(voltage, TN) == [230.0, 231.0, 232.0]
    assert of_phases(power, TN, 30) == [3.68, 2.772, 1.856]


def test_a_conductor_that_is_not_there():
    """It carries nothing, and has no voltage."""
    one = wiring_of(3, 10)

    assert of_phases(current, one) == [16.0, 0, 0]
    assert of_phases(voltage, one) == [230.0, None, None]
    assert of_phases(power, one, 10) == [3.68, 0, 0]


def test_an_it_grid():
    """T2, T3 and T4 are L1, L2 and L3, and each voltage is that to the next conductor."""
    assert of_phases(current, IT) == [1.0, 16.0, 12.0]
    assert of_phases(voltage, IT) == [230.0, 233.0, 231.0]
    assert of_phases(power, IT, 22) == [None, None, None]
    assert of_phases(power, IT, None) == [None, None, None]
    assert of_phases(power, IT, 0) == [0, 0, 0]


@pytest.mark.parametrize(
    ("output", "pair", "volts"), [(11, (1, 2), 230.0), (13, (3, 1), 231.0), (15, (2, 3), 233.0)]
)
def test_a_car_between_two_conductors(output, pair, volts):
    """The two halves add up to current times voltage of the pair; the third has no power."""
    amperes = {182: 0.0, 183: 0.0, 184: 0.0}
    for phase in pair:
        amperes[181 + phase] = 20.0
    found = [power(IT, output, phase, (MEASURED | amperes).get) for phase in PHASES]

    assert sum(found) == pytest.approx(20 * volts / 1000)
    assert [phase for phase in PHASES if found[phase - 1]] == sorted(pair)


@given(
    st.sampled_from([None, *GRID_TYPE, 77]),
    st.sampled_from([None, *OUTPUT_PHASE, 77]),
    st.dictionaries(
        st.sampled_from(sorted(MEASURED)), st.floats(0, 400) | st.booleans() | st.text(max_size=3)
    ),
)
def test_whatever_is_measured_a_phase_is_a_number_or_unknown(grid_type, output, measured):
    """No text, no switch and no negative power comes out, and nothing raises."""
    wiring = wiring_of(grid_type, output)
    for phase in PHASES if wiring is not None else ():
        found = (
            current(wiring, phase, measured.get),
            voltage(wiring, phase, measured.get),
            power(wiring, output, phase, measured.get),
        )
        for value in found:
            assert value is None or (type(value) in (int, float) and value >= 0)

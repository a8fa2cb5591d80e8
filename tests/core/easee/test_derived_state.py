from datetime import UTC, datetime, timedelta

import pytest

from bridge.core.easee.derived_state import DERIVED, UNTOLD
from bridge.core.value_format import format_scalar

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
# Enabled, open to everybody, and a limit of 16 A.
ALLOWED = {31: True, 42: False, 15: False, 48: 16.0}
DERIVE = {topic.name: topic.derive for topic in DERIVED}
WORDS = [topic for topic in DERIVED if topic.values]


class Readings(dict):
    """Observations by id; values, or pairs of a value and the seconds after noon."""

    def value(self, observation_id):
        found = self.get(observation_id)
        return found[0] if isinstance(found, tuple) else found

    def measured_at(self, observation_id):
        found = self.get(observation_id)
        if found is None:
            return None
        return NOON + timedelta(seconds=found[1] if isinstance(found, tuple) else 0)


@pytest.mark.parametrize(
    ("name", "readings", "expected"),
    [
        ("op_mode", {}, UNTOLD),
        ("op_mode", {96: 55}, UNTOLD),
        ("op_mode", {109: 3}, "charging"),
        ("op_mode", {109: 7}, "awaiting_authorization"),
        ("op_mode", {109: 2, 96: 55}, "awaiting_authorization"),
        ("op_mode", {109: 2, 96: 52}, "awaiting_start"),
        ("op_mode", {109: 6, 96: 55}, "ready_to_charge"),
        ("op_mode", {109: 8}, "deauthorizing"),
        ("op_mode", {109: 157}, None),
        ("op_mode", {109: 1.5}, None),
        ("awaiting_authorization", {}, UNTOLD),
        ("awaiting_authorization", {109: 7}, True),
        ("awaiting_authorization", {109: 2, 96: 55}, True),
        ("awaiting_authorization", {109: 2}, False),
        ("awaiting_authorization", {109: 3, 96: 55}, False),
        ("no_current_reason", {}, UNTOLD),
        ("no_current_reason", {96: 55}, "pending_authorization"),
        ("no_current_reason", {96: 12}, None),
        ("no_current_reason", {96: 0.5}, None),
        ("led", {}, UNTOLD),
        ("led", {46: 25}, "awaiting_authorization"),
        ("led", {46: 22}, "smart_charging"),
        ("led", {46: 48}, None),
        ("led", {46: "25"}, "awaiting_authorization"),
        ("led", {46: "x"}, None),
        ("op_mode", {109: "3"}, "charging"),
        ("op_mode", {109: 3.5}, None),
        ("access_mode", {42: "true"}, "cloud_authorization"),
        ("led_color", {46: 22}, "blue"),
        ("led_pattern", {46: 22}, "pulsing"),
        ("led_color", {46: 29}, None),
        ("led_pattern", {46: 48}, None),
        ("access_mode", {}, UNTOLD),
        ("access_mode", {15: False}, UNTOLD),
        ("access_mode", {15: True}, "local_authorization"),
        ("access_mode", {42: True}, "cloud_authorization"),
        ("access_mode", {42: False}, "open"),
        ("access_mode", {42: False, 15: False}, "open"),
        ("access_mode", {42: False, 15: True}, "local_authorization"),
        ("access_mode", {42: True, 15: False}, "cloud_authorization"),
        ("access_mode", {42: (True, 1), 15: (True, 2)}, "local_authorization"),
        ("access_mode", {42: (True, 2), 15: (True, 1)}, "cloud_authorization"),
        ("access_mode", {42: (True, 1), 15: (True, 1)}, "cloud_authorization"),
        ("offline_policy", {}, UNTOLD),
        ("offline_policy", {16: True}, "whitelist"),
        ("offline_policy", {17: True}, "allow_all"),
        ("offline_policy", {16: True, 17: True}, "allow_all"),
        ("offline_policy", {16: True, 17: False}, "whitelist"),
        ("offline_policy", {16: False, 17: False}, "none"),
        ("offline_policy", {16: False}, "none"),
        ("offline_policy", {17: True, 45: 0}, "allow_all"),
        ("offline_policy", {17: True, 45: 1}, "whitelist"),
        ("offline_policy", {17: True, 45: 2}, "none"),
        ("offline_policy", {16: False, 17: False, 45: 0}, "none"),
        ("offline_policy", {16: True, 45: 9}, "whitelist"),
        ("offline_policy", {45: 0}, "allow_all"),
        ("offline_policy", {45: 1}, "whitelist"),
        ("offline_policy", {45: 2}, "none"),
        ("offline_policy", {45: 9}, None),
        ("offline_policy", {16: 1, 17: 0}, "whitelist"),
        ("offline_policy", {16: "Yes"}, UNTOLD),
        ("charging_allowed", {}, UNTOLD),
        ("charging_allowed", {31: True, 48: 16.0}, UNTOLD),
        ("charging_allowed", {31: True, 42: False}, UNTOLD),
        ("charging_allowed", {42: False, 48: 16.0}, UNTOLD),
        ("charging_allowed", {31: True, 42: False, 48: 16.0}, True),
        ("charging_allowed", {31: False}, False),
        ("charging_allowed", {48: 0}, False),
        ("charging_allowed", {48: 5.9}, False),
        ("charging_allowed", {48: 6.0, **ALLOWED}, True),
        ("charging_allowed", {**ALLOWED, 47: 5}, False),
        ("charging_allowed", {**ALLOWED, 111: 0.0, 112: 0.0, 113: 0.0}, False),
        ("charging_allowed", {**ALLOWED, 111: 16.0, 112: 0.0, 113: 0.0}, True),
        ("charging_allowed", {**ALLOWED, 22: 0.0, 23: 0.0, 24: 0.0}, False),
        ("charging_allowed", {**ALLOWED, 42: True}, UNTOLD),
        ("charging_allowed", {**ALLOWED, 42: True, 109: 1}, False),
        ("charging_allowed", {**ALLOWED, 42: True, 109: 2, 96: 55}, False),
        ("charging_allowed", {**ALLOWED, 42: True, 109: 2, 96: 52}, True),
        ("charging_allowed", {**ALLOWED, 42: True, 109: 3}, True),
        ("charging_allowed", {**ALLOWED, 42: True, 109: 7}, False),
        ("charging_allowed", {**ALLOWED, 42: True, 109: 8}, False),
        ("charging_allowed", {**ALLOWED, 42: True, 109: 0}, UNTOLD),
        ("charging_allowed", {**ALLOWED, 15: True, 109: 7}, False),
        ("charging_allowed", {**ALLOWED, 109: 7}, True),
    ],
)
def test_derived_state(name, readings, expected):
    """Each combination of observations means what the contract says, or nothing yet."""
    assert DERIVE[name](Readings(readings)) == expected


def test_every_derived_topic_names_its_sources():
    """A topic follows exactly the observations that can change it in the table above."""
    assert {topic.name: topic.sources for topic in WORDS} == {
        "op_mode": (109, 96),
        "no_current_reason": (96,),
        "led": (46,),
        "led_color": (46,),
        "led_pattern": (46,),
        "awaiting_authorization": (109, 96),
        "access_mode": (42, 15),
        "offline_policy": (16, 17, 45),
        "charging_allowed": (31, 42, 15, 109, 96, 48, 47, 22, 23, 24, 111, 112, 113),
        "control_owner": (96, 62),
    }


@pytest.mark.parametrize("topic", WORDS, ids=lambda topic: topic.name)
def test_every_derived_topic_names_all_its_values(topic):
    """Whatever the observations say, the value is one of the words that are announced."""
    codes = [*range(-2, 110), True, False, "x"]
    for source in topic.sources:
        for first in codes:
            for second in (0, 1, 2, 55, True, False):
                readings = {**dict.fromkeys(topic.sources, second), source: first}
                value = topic.derive(Readings(readings))
                assert value in (UNTOLD, None) or format_scalar(value).decode() in topic.values


TN_THREE = {21: 1, 110: 30, 183: 16, 184: 12.5, 185: 0, 194: 230, 195: 231, 196: 232}


@pytest.mark.parametrize(
    ("name", "readings", "expected"),
    [
        ("current_l1", TN_THREE, 16),
        ("current_l2", TN_THREE, 12.5),
        ("voltage_l3", TN_THREE, 232),
        ("power_l1", TN_THREE, 3.68),
        ("power_l2", TN_THREE, 2.888),
        ("power_l3", TN_THREE, 0),
        ("current_l1", {183: 16}, None),
        ("current_l1", {21: "1", 183: 16}, 16),
        ("current_l1", {21: 1}, None),
        ("power_l1", {21: 1, 183: 16}, None),
        ("power_l1", {110: 11, 182: 16, 194: 230}, 1.84),
    ],
)
def test_values_by_phase(name, readings, expected):
    """The values of a phase follow the wiring; unknown wiring and unknown measurements are None."""
    value = DERIVE[name](Readings(readings))

    assert value == expected
    assert not isinstance(value, float) or not value.is_integer()


def test_a_quantity_depends_on_every_observation_it_is_derived_from():
    """Each observation that changes a value of a phase is named in its sources."""
    every = {21, 110, *range(182, 186), *range(190, 200)}
    for topic in DERIVED:
        if topic.values:
            continue
        for grid in (0, 1, 2, 3, 4, 5, 30, 31):
            for output in (0, 10, 11, 13, 15, 22, 30):
                readings = {number: 10 + number / 100 for number in every}
                readings |= {21: grid, 110: output}
                value = topic.derive(Readings(readings))
                for number in every - set(topic.sources):
                    other = Readings({**readings, number: 99})
                    assert topic.derive(other) == value, (topic.name, grid, output, number)

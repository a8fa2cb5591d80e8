from datetime import UTC, datetime, timedelta

import pytest

from bridge.core.chargers.derived import DERIVED

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
DERIVE = {topic.name: topic.derive for topic in DERIVED}


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
        ("op_mode", {}, None),
        ("op_mode", {96: 55}, None),
        ("op_mode", {109: 3}, b"charging"),
        ("op_mode", {109: 7}, b"awaiting_authorization"),
        ("op_mode", {109: 2, 96: 55}, b"awaiting_authorization"),
        ("op_mode", {109: 2, 96: 52}, b"awaiting_start"),
        ("op_mode", {109: 6, 96: 55}, b"ready_to_charge"),
        ("op_mode", {109: 8}, b"deauthorizing"),
        ("op_mode", {109: 157}, b"null"),
        ("op_mode", {109: 1.5}, b"null"),
        ("awaiting_authorization", {}, None),
        ("awaiting_authorization", {109: 7}, b"true"),
        ("awaiting_authorization", {109: 2, 96: 55}, b"true"),
        ("awaiting_authorization", {109: 2}, b"false"),
        ("awaiting_authorization", {109: 3, 96: 55}, b"false"),
        ("no_current_reason", {}, None),
        ("no_current_reason", {96: 55}, b"pending_authorization"),
        ("no_current_reason", {96: 12}, b"null"),
        ("no_current_reason", {96: 0.5}, b"null"),
        ("led", {}, None),
        ("led", {46: 25}, b"awaiting_authorization"),
        ("led", {46: 22}, b"smart_charging"),
        ("led", {46: 48}, b"null"),
        ("led", {46: "25"}, b"awaiting_authorization"),
        ("led", {46: "x"}, b"null"),
        ("op_mode", {109: "3"}, b"charging"),
        ("op_mode", {109: 3.5}, b"null"),
        ("access_mode", {42: "true"}, b"cloud_authorization"),
        ("led_color", {46: 22}, b"blue"),
        ("led_pattern", {46: 22}, b"pulsing"),
        ("led_color", {46: 29}, b"null"),
        ("led_pattern", {46: 48}, b"null"),
        ("access_mode", {}, None),
        ("access_mode", {15: False}, None),
        ("access_mode", {15: True}, b"local_authorization"),
        ("access_mode", {42: True}, b"cloud_authorization"),
        ("access_mode", {42: False}, b"open"),
        ("access_mode", {42: False, 15: False}, b"open"),
        ("access_mode", {42: False, 15: True}, b"local_authorization"),
        ("access_mode", {42: True, 15: False}, b"cloud_authorization"),
        ("access_mode", {42: (True, 1), 15: (True, 2)}, b"local_authorization"),
        ("access_mode", {42: (True, 2), 15: (True, 1)}, b"cloud_authorization"),
        ("access_mode", {42: (True, 1), 15: (True, 1)}, b"cloud_authorization"),
        ("offline_policy", {}, None),
        ("offline_policy", {16: True}, b"whitelist"),
        ("offline_policy", {17: True}, b"allow_all"),
        ("offline_policy", {16: True, 17: True}, b"allow_all"),
        ("offline_policy", {16: True, 17: False}, b"whitelist"),
        ("offline_policy", {16: False, 17: False}, b"none"),
        ("offline_policy", {16: False}, b"none"),
        ("offline_policy", {17: True, 45: 0}, b"allow_all"),
        ("offline_policy", {17: True, 45: 1}, b"whitelist"),
        ("offline_policy", {17: True, 45: 2}, b"none"),
        ("offline_policy", {16: False, 17: False, 45: 0}, b"none"),
        ("offline_policy", {16: True, 45: 9}, b"whitelist"),
        ("offline_policy", {45: 0}, b"allow_all"),
        ("offline_policy", {45: 1}, b"whitelist"),
        ("offline_policy", {45: 2}, b"none"),
        ("offline_policy", {45: 9}, b"null"),
        ("offline_policy", {16: 1, 17: 0}, b"whitelist"),
        ("offline_policy", {16: "Yes"}, None),
    ],
)
def test_derived_state(name, readings, expected):
    """Each combination of observations means what the contract says, or nothing yet."""
    assert DERIVE[name](Readings(readings)) == expected


def test_every_derived_topic_names_its_sources():
    """A topic follows exactly the observations that can change it in the table above."""
    assert {topic.name: topic.sources for topic in DERIVED} == {
        "op_mode": (109, 96),
        "no_current_reason": (96,),
        "led": (46,),
        "led_color": (46,),
        "led_pattern": (46,),
        "awaiting_authorization": (109, 96),
        "access_mode": (42, 15),
        "offline_policy": (16, 17, 45),
    }


@pytest.mark.parametrize("topic", DERIVED, ids=lambda topic: topic.name)
def test_every_derived_topic_names_all_its_values(topic):
    """Whatever the observations say, the payload is one of the words that are announced."""
    codes = [*range(-2, 110), True, False, "x"]
    for source in topic.sources:
        for first in codes:
            for second in (0, 1, 2, 55, True, False):
                readings = {**dict.fromkeys(topic.sources, second), source: first}
                payload = topic.derive(Readings(readings))
                assert payload is None or payload.decode() in (*topic.values, "null")

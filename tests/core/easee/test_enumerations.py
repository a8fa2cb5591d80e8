import re

import pytest

from bridge.core.easee import enumerations
from bridge.core.easee.enumerations import (
    LED_COLORS,
    LED_MODE,
    LED_PATTERNS,
    NO_CURRENT_REASON,
    OP_MODE,
    LedMode,
    auth_reason_name,
    command_name,
)

TABLES = {
    name: table
    for name, table in vars(enumerations).items()
    if isinstance(table, dict) and not name.startswith("_") and name != "LED_MODE"
}


@pytest.mark.parametrize("name", TABLES)
def test_labels_are_snake_case(name):
    """Every label can stand in a topic, a flow and a file name."""
    assert all(re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", label) for label in TABLES[name].values())


def test_op_modes_are_the_contracts():
    """The op modes are the nine words that flows rely on, in the order of their codes."""
    assert [OP_MODE[code] for code in range(9)] == [
        "offline",
        "disconnected",
        "awaiting_start",
        "charging",
        "completed",
        "error",
        "ready_to_charge",
        "awaiting_authorization",
        "deauthorizing",
    ]


def test_every_published_reason_has_a_label():
    """No reason code that the vendor documents is printed as null, and no two share a label."""
    codes = {*range(12), *range(25, 31), *range(50, 58), *range(75, 82), 100}

    assert set(NO_CURRENT_REASON) == codes
    assert len(set(NO_CURRENT_REASON.values())) == len(codes)
    assert NO_CURRENT_REASON[55] == "pending_authorization"


def test_every_led_mode_is_described_in_the_contracts_words():
    """Raw LED codes 0 to 47 have a meaning; color and pattern use the contract's words only."""
    assert sorted(LED_MODE) == list(range(48))
    for mode in LED_MODE.values():
        assert mode.color in (None, *LED_COLORS)
        assert mode.pattern in (None, *LED_PATTERNS)
        assert (mode.color is None) == (mode.pattern is None)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (0, LedMode("off", "off", "off")),
        (9, LedMode("updating", "green", "flashing")),
        (16, LedMode("error", "red", "steady")),
        (17, LedMode("permanent_error", "red", "flashing")),
        (18, LedMode("idle", "white", "steady")),
        (21, LedMode("smart_connected", "blue", "steady")),
        (22, LedMode("smart_charging", "blue", "pulsing")),
        (24, LedMode("charging", "white", "pulsing")),
        (25, LedMode("awaiting_authorization", "white", "flashing")),
        (26, LedMode("verifying_tag", "white", "fast_flashing")),
    ],
)
def test_led_modes_people_see(code, expected):
    """The strip is described as a person in front of the charger sees it."""
    assert LED_MODE[code] == expected


def test_unknown_codes_keep_their_number():
    """A reason or command nobody has described is named after its number."""
    names = [auth_reason_name(n) for n in (3, 4, 0, 6)]

    assert names == ["offline_whitelist", "offline_allow_all", "auth_reason_0", "auth_reason_6"]
    assert (command_name(48), command_name(7)) == ("set_dynamic_charger_current", "command_7")

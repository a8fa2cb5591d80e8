"""Writes of a host as commands."""

import json

import pytest

from bridge.conventions.sparkplug.commands import MAX_COMMANDS, commands_of
from bridge.conventions.sparkplug.payload import DataType, Metric, Payload
from bridge.core.easee.command_payloads import read_payload
from bridge.core.requests import IncomingCommand
from bridge.errors import CommandRefused

ONE = "EH123456"
AT = 1_700_000_000_000


def asked(*metrics, names=None, at=AT):
    """Return the commands of a message."""
    return list(commands_of(Payload(at, metrics), ONE, names or {}))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("start", True, "PRESS"),
        ("lock_cable_permanently", False, False),
        ("dynamic_charger_current", 16.0, 16),
        ("dynamic_charger_current", 7.5, 7.5),
        ("led_strip_brightness", 40, 40),
        ("phase_mode", "locked_to_three_phase", "locked_to_three_phase"),
        ("dynamic_charger_current", "16", 16),
    ],
)
def test_a_value_is_what_the_native_topic_takes(name, value, expected):
    """The envelope has it with an id, and the reader of commands reads both."""
    (command,) = asked(Metric(f"Command/{name}", None, AT + 1, None, value))
    payload = read_payload(command.payload)

    assert (command.charger_id, command.command) == (ONE, name)
    assert (payload.value, payload.id) == (expected, f"{name}:{AT + 1}")


def test_an_alias_stands_for_its_name():
    """That of the device the message is for."""
    assert (
        asked(Metric("", 65539, AT, None, True), names={65539: "Command/start"})[0].command
        == "start"
    )
    assert asked(Metric("", 65540, AT, None, True), names={65539: "Command/start"}) == []


def test_an_object_keeps_its_keys_and_an_id_of_its_own():
    """A plan or a limit for each phase is a text of JSON."""
    text = '{"phase1":10,"phase2":11,"phase3":12}'
    (command,) = asked(Metric("Command/dynamic_circuit_current", None, AT, DataType.STRING, text))
    (named,) = asked(
        Metric("Command/start", None, AT, DataType.STRING, '{"value":"PRESS","id":"mine"}')
    )

    assert json.loads(command.payload) == {
        **json.loads(text),
        "id": f"dynamic_circuit_current:{AT}",
    }
    assert json.loads(named.payload)["id"] == "mine"


def test_a_false_on_a_button_asks_for_nothing():
    """It is how a host resets it; nor does a write without a value, or to what is no command."""
    assert asked(Metric("Command/start", None, AT, None, False)) == []
    assert asked(Metric("Command/start", None, AT, None, None)) == []
    assert asked(Metric("total_power", None, AT, None, 3.0)) == []


def test_a_write_without_any_timestamp_has_no_id():
    """Two of them are two commands."""
    (command,) = asked(Metric("Command/start", None, None, None, True), at=None)

    assert command == IncomingCommand(ONE, "start", b'{"value":"PRESS"}')


def test_the_payload_s_timestamp_stands_in_for_the_metric_s():
    """Not every host gives a metric one."""
    (command,) = asked(Metric("Command/start", None, None, None, True))

    assert json.loads(command.payload)["id"] == f"start:{AT}"


def test_an_unknown_command_goes_on_to_be_refused():
    """Where commands are checked, and answered."""
    (command,) = asked(Metric("Command/fly", None, AT, None, True))

    assert (command.command, json.loads(command.payload)["value"]) == ("fly", True)


def test_a_message_has_so_many_commands_at_most():
    """Each of them is stored."""
    many = [Metric("Command/start", None, AT + n, None, True) for n in range(MAX_COMMANDS + 5)]

    assert len(asked(*many)) == MAX_COMMANDS


def test_a_text_that_nests_without_end_is_refused_and_no_error():
    """By the reader of commands, like any other text."""
    (command,) = asked(Metric("Command/weekly_charge_plan", None, AT, None, "[" * 50_000))

    with pytest.raises(CommandRefused):
        read_payload(command.payload)


def test_an_empty_object_presses_a_button():
    """As on the native topic."""
    (command,) = asked(Metric("Command/start", None, AT, None, "{}"))

    assert command.payload == b"{}"

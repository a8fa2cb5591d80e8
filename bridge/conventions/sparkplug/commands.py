"""Commands that a host writes to a device.

Rules:

1. A write to ``Command/<name>`` is the command of that name, with the same checks as any other. A
   false written to a button resets it at the host and asks for nothing.
2. Name and timestamp of a write are the id of the command: the same message twice is carried out
   once. A write without a timestamp has none.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from bridge.conventions.sparkplug.metrics import COMMAND
from bridge.conventions.sparkplug.payload import MetricValue, Payload
from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.easee.command_payloads import MAX_ID_LENGTH
from bridge.core.requests import IncomingCommand
from bridge.core.value_format import format_json

# A host writes a few metrics at once; each of them becomes a command that is stored.
MAX_COMMANDS: Final = 32


def commands_of(
    payload: Payload, charger_id: str, names: dict[int, str]
) -> Iterator[IncomingCommand]:
    """Yield the commands of a DCMD.

    Args:
        payload: It.
        charger_id: The device of its topic; not checked here.
        names: Alias to name, of the device.
    """
    count = 0
    for metric in payload.metrics:
        name = metric.name or names.get(metric.alias or 0, "")
        if not name.startswith(COMMAND) or count >= MAX_COMMANDS:
            continue
        command = name.removeprefix(COMMAND)
        spelled = _spelled(command, metric.value)
        if spelled is not None:
            count += 1
            timestamp = metric.timestamp or payload.timestamp
            given = f"{command}:{timestamp}"[-MAX_ID_LENGTH:] if timestamp else None
            yield IncomingCommand(charger_id, command, _envelope(*spelled, given))


def _is_button(command: str) -> bool:
    control = CATALOGUE[command].control if command in CATALOGUE else ""
    return not isinstance(control, str) and control.kind == "button"


def _spelled(command: str, value: MetricValue | None) -> tuple[bytes, object] | None:
    """Return a value as JSON and what it means, or None where nothing is asked."""
    if value is None or (_is_button(command) and value is False):
        return None
    if _is_button(command) and value is True:
        value = "PRESS"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str):
        text = value.encode("utf-8", "replace").strip()
        try:
            return text, msgspec.json.decode(text)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            pass
    return format_json(value), value


def _envelope(spelled: bytes, meaning: object, given: str | None) -> bytes:
    """Return the payload of a command with the id that it is given; an object is its own."""
    named = b"" if given is None else b',"id":%b' % format_json(given)
    if not isinstance(meaning, dict):
        return b'{"value":%b%b}' % (spelled, named)
    if "id" in meaning or not meaning:
        return spelled
    return spelled[:-1] + named + b"}"

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
from bridge.conventions.sparkplug.payload import Metric, MetricValue, Payload
from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.easee.command_payloads import MAX_ID_LENGTH
from bridge.core.requests import IncomingCommand
from bridge.core.value_format import json_document

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
        content = _content(command, metric.value)
        if content is not None:
            count += 1
            yield IncomingCommand(charger_id, command, _envelope(content, command, metric, payload))


def _is_button(command: str) -> bool:
    control = CATALOGUE[command].control if command in CATALOGUE else ""
    return not isinstance(control, str) and control.kind == "button"


def _content(command: str, value: MetricValue | None) -> object:
    """Return the value as the native topic takes it, or None where nothing is asked."""
    if _is_button(command) and isinstance(value, bool):
        return "PRESS" if value else None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return value


def _envelope(content: object, command: str, metric: Metric, payload: Payload) -> bytes:
    timestamp = metric.timestamp or payload.timestamp
    document = dict(content) if isinstance(content, dict) else {"value": content}
    if timestamp:
        document.setdefault("id", f"{command}:{timestamp}"[-MAX_ID_LENGTH:])
    return json_document(document)

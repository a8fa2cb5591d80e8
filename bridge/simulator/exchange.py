"""Commands of the partner's exchange: routing key and body, as the vendor's documents have them.

Only the commands are known whose arguments are documented. The charger refuses any other.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from bridge.simulator.commands import COMMANDS, Command

COMMAND = "C"
# By number: the REST command that does the same, and the names of its arguments in their order.
NUMBERS: Mapping[int, tuple[str, tuple[str, ...]]] = {
    1: ("reboot", ()),
    4: ("update_firmware", ()),
    48: ("set_dynamic_charger_current", ("amps", "minutes")),
    63: ("override_schedule", ()),
}


@dataclass(frozen=True, slots=True)
class Order:
    """A command that came through the exchange.

    Attributes:
        charger_id: Whom it is for.
        command_id: The vendor's number.
        ticks: Its name.
        body: As the REST command has it.
        until: It is not carried out later; None: it does not say.
    """

    charger_id: str
    command_id: int
    ticks: int
    body: Mapping[str, object]
    until: datetime | None


def read_order(routing_key: str, body: bytes) -> Order | None:
    """Read a command; None where it is none."""
    parts = routing_key.split(".")
    try:
        document = json.loads(body)
        charger_id, kind, number, ticks = parts
        arguments = {int(each["Id"]): str(each["Value"]) for each in document["Arguments"]}
        until = document.get("ExpiresAt")
        command_id = int(number)
        if kind != COMMAND or int(document["Id"]) != command_id:
            return None
        names = NUMBERS.get(command_id, ("", ()))[1]
        return Order(
            charger_id,
            command_id,
            int(ticks),
            {name: float(arguments[at]) for at, name in enumerate(names, 1) if at in arguments},
            None if until is None else datetime.fromisoformat(until).astimezone(UTC),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def by_number(order: Order) -> Command | None:
    """Return the command of an order; None where there is none or its arguments are not valid."""
    known = NUMBERS.get(order.command_id)
    if known is None:
        return None
    command = COMMANDS[known[0]]
    return None if command.problems(order.body) else command

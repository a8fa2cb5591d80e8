"""The model of the demo's view, built from MQTT messages; no I/O."""

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

NEWEST_COMMANDS = 5
# With a car that is let in: here pausing, resuming and a limit have an effect.
CONTROLLABLE = ("charging", "awaiting_start", "ready_to_charge")
# A longer payload is a document; its fields are not for a table.
MAX_VALUE_LENGTH = 6
NO_ANSWER_YET = "sent"
# Only an Equalizer reports it.
HOUSE_LOAD: Final = "active_power_import"


@dataclass(slots=True)
class ChargerRow:
    """One charger or Equalizer as known from its topics; None for unknown values.

    Attributes:
        availability: ``online`` or ``offline``.
        state: Last level of ``state/<name>`` to its payload.
    """

    availability: str = "?"
    state: dict[str, str] = field(default_factory=dict)

    def get(self, name: str) -> str:
        """Return a state value for showing; a dash when it is not known."""
        value = self.state.get(name, "")
        return "-" if value in ("", "null") else value

    def number(self, name: str, decimals: int) -> str:
        """Return a number for showing, with so many decimals; a dash when it is not known."""
        try:
            return f"{float(self.state.get(name, '')):.{decimals}f}"
        except ValueError:
            return "-"

    @property
    def is_equalizer(self) -> bool:
        """Return whether it reports the load of a house, which no charger does."""
        return HOUSE_LOAD in self.state

    @property
    def is_controllable(self) -> bool:
        """Return whether a command has a visible effect."""
        return self.availability == "online" and self.state.get("op_mode") in CONTROLLABLE


@dataclass(slots=True)
class CommandRow:
    """One command or query, and the newest answer to it.

    Attributes:
        charger_id: Whom it is for.
        name: Its name.
        value: Its payload where that is short.
        state: ``sent``, or that of the newest answer.
        reason: Why not, where the answer tells.
        is_final: Nothing more comes.
    """

    charger_id: str
    name: str
    value: str = ""
    state: str = NO_ANSWER_YET
    reason: str = ""
    is_final: bool = False


@dataclass(slots=True)
class Board:
    """Everything the view knows.

    Attributes:
        base: The base topic.
        bridge: ``bridge/<name>`` to payload.
        chargers: Rows by serial, in order of appearance.
        commands: The newest commands, newest first.
        messages: How many arrived.
    """

    base: str
    bridge: dict[str, str] = field(default_factory=dict)
    chargers: dict[str, ChargerRow] = field(default_factory=dict)
    commands: deque[CommandRow] = field(default_factory=lambda: deque(maxlen=NEWEST_COMMANDS))
    messages: int = 0
    _offered: str = ""

    def take(self, topic: str, payload: bytes) -> str | None:
        """Handle one message; return a line to print, or None."""
        text = payload.decode("utf-8", "replace")
        self.messages += 1
        levels = topic.removeprefix(f"{self.base}/").split("/")
        match levels:
            case ["bridge", name]:
                self.bridge[name] = text
            case [charger_id, "availability"]:
                self._row(charger_id).availability = text
            case [charger_id, "state", name]:
                self._row(charger_id).state[name] = text
            case [charger_id, "set" | "get", name] if text:
                self.commands.appendleft(CommandRow(charger_id, name, _value(text)))
            case [charger_id, "result", name]:
                self._answered(charger_id, name, text)
        told = levels[0] == "bridge" and levels[-1] in ("state", "cloud")
        happened = levels[1:2] in (["session"], ["result"], ["event"]) and levels[-1] != "current"
        if told or happened or _headline(levels):
            return f"{topic} {text}"
        return None

    def offered(self, usual: str) -> str:
        """Return the charger that commands are best tried on; it stays while it can be.

        Args:
            usual: While no charger can be.
        """
        held = self.chargers.get(self._offered)
        if held is None or not held.is_controllable:
            able = [serial for serial, row in self.chargers.items() if row.is_controllable]
            # The charging ones first, and in the order of their serials.
            able.sort(key=lambda one: (self.chargers[one].get("op_mode") != "charging", one))
            self._offered = able[0] if able else self._offered or usual
        return self._offered

    def _row(self, charger_id: str) -> ChargerRow:
        return self.chargers.setdefault(charger_id, ChargerRow())

    def _answered(self, charger_id: str, name: str, text: str) -> None:
        """Assign a result to the oldest command that waits for it."""
        answer = _document(text)
        waiting = (
            row
            for row in reversed(self.commands)
            if (row.charger_id, row.name) == (charger_id, name) and not row.is_final
        )
        row = next(waiting, None)
        if row is None:
            row = CommandRow(charger_id, name)
            self.commands.appendleft(row)
        row.state = str(answer.get("state") or "?")
        row.reason = str(answer.get("reason") or "")
        row.is_final = answer.get("final") is True


def _document(text: str) -> Mapping[str, Any]:
    """Read a JSON object; anything else is an empty one."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _value(text: str) -> str:
    """Return the value of a command for showing."""
    value = _document(text).get("value", text)
    shown = value if isinstance(value, str) else json.dumps(value)
    return shown if len(shown) <= MAX_VALUE_LENGTH and shown.isprintable() else "JSON"


def _headline(levels: list[str]) -> bool:
    return levels[1:] in (["availability"], ["state", "op_mode"], ["state", "led"])

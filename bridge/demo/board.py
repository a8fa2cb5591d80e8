"""What the view shows, collected from MQTT messages. Pure: a message in, a changed board."""

from collections import deque
from dataclasses import dataclass, field

NEWEST = 10
# Topics that carry the same news twice would only fill the list.
QUIET = ("/observation/",)


@dataclass(slots=True)
class ChargerRow:
    """One charger as its topics tell it; None where nothing was said yet.

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


@dataclass(slots=True)
class Board:
    """Everything the view knows.

    Attributes:
        base: The base topic.
        bridge: ``bridge/<name>`` to payload.
        chargers: Rows by serial, in order of appearance.
        newest: The newest topics and payloads, newest first.
        messages: How many arrived.
    """

    base: str
    bridge: dict[str, str] = field(default_factory=dict)
    chargers: dict[str, ChargerRow] = field(default_factory=dict)
    newest: deque[tuple[str, str]] = field(default_factory=lambda: deque(maxlen=NEWEST))
    messages: int = 0

    def take(self, topic: str, payload: bytes) -> str | None:
        """Take one message; return a line worth printing, or None."""
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
        if any(word in topic for word in QUIET):
            return None
        self.newest.appendleft((topic, text))
        told = levels[0] == "bridge" and levels[-1] in ("state", "cloud")
        happened = levels[1:2] in (["session"], ["result"], ["event"]) and levels[-1] != "current"
        if told or happened or _headline(levels):
            return f"{topic} {text}"
        return None

    def _row(self, charger_id: str) -> ChargerRow:
        return self.chargers.setdefault(charger_id, ChargerRow())


def _headline(levels: list[str]) -> bool:
    return levels[1:] in (["availability"], ["state", "op_mode"], ["state", "led"])

"""evcc's charger of type ``custom`` with its MQTT plug-in, as its documentation describes them.

A getter has the newest payload of its topic, an error before the first and, with a ``timeout``,
when that is older. ``jq`` is applied to the payload as JSON, ``scale`` to numbers. Booleans are
read as Go's ``strconv.ParseBool`` reads them. A setter writes its value, or its payload with the
value in the place of ``${name}`` or of Go's ``{{if .name}}…{{else}}…{{end}}``.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

STATES = frozenset("ABCDEF")
TRUE, FALSE = ({"1", "t", "T", "TRUE", "true", "True"}, {"0", "f", "F", "FALSE", "false", "False"})
GETTERS = frozenset({"source", "topic", "scale", "jq", "timeout"})
SETTERS = frozenset({"source", "topic", "payload", "retained"})
SET_BY = {"enable": "enable", "maxcurrent": "maxcurrent", "phases1p3p": "phases"}
PARTS = re.compile(r"\.(?P<key>\w*)(?: *(?P<sign>[<>=!]=?) *(?P<than>-?\d+(?:\.\d+)?))?")
CHOICE = re.compile(r"\{\{ *if \.(\w+) *\}\}(.*?)\{\{ *else *\}\}(.*?)\{\{ *end *\}\}")
SIGNS: Mapping[str, Callable[[float, float], bool]] = {
    ">": lambda a, b: a > b,
    "<": lambda a, b: a < b,
    ">=": lambda a, b: a >= b,
    "<=": lambda a, b: a <= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}


class EvccError(Exception):
    """What evcc reports instead of a value."""


def jq(text: str, payload: str) -> str:
    """Apply a filter of the subset ``.``, ``.key`` and a comparison with a number."""
    found = PARTS.fullmatch(text.strip())
    if found is None:
        raise EvccError(f"not in the subset of jq: {text}")
    try:
        value = json.loads(payload)
    except ValueError as exc:
        raise EvccError(f"no JSON: {payload}") from exc
    if found["key"]:
        value = value.get(found["key"]) if isinstance(value, dict) else None
    if found["sign"]:
        value = value is not None and SIGNS[found["sign"]](value, float(found["than"]))
    return value if isinstance(value, str) else json.dumps(value)


def written(payload: str, name: str, value: bool | int) -> str:
    """Return what a setter publishes."""
    text = json.dumps(value)
    if not payload:
        return text
    chosen = CHOICE.sub(lambda found: found[2] if found[1] == name and value else found[3], payload)
    return chosen.replace(f"${{{name}}}", text)


@dataclass(frozen=True)
class Evcc:
    """One custom charger.

    Attributes:
        config: Its block of ``evcc.yaml``.
        newest: A topic to its newest payload and the seconds since it came; None before it.
        publish: Publishes a payload on a topic.
    """

    config: Mapping[str, Any]
    newest: Callable[[str], tuple[bytes, float] | None]
    publish: Callable[[str, str], None]

    @classmethod
    def of_page(
        cls,
        text: str,
        newest: Callable[[str], tuple[bytes, float] | None],
        publish: Callable[[str, str], None],
    ) -> "Evcc":
        """Read a page's configuration, and refuse keys that the plug-in does not know."""
        [config] = yaml.safe_load(text)["chargers"]
        charger = cls(config, newest, publish)
        if config["type"] != "custom" or not {"status", "enabled", "enable", "maxcurrent"} <= (
            config.keys()
        ):
            raise EvccError("a custom charger needs status, enabled, enable and maxcurrent")
        if "phases1p3p" in config and config.get("tos") is not True:
            raise EvccError("phases1p3p needs tos: true")
        for name, plugins in config.items():
            for plugin in plugins if isinstance(plugins, list) else [plugins]:
                allowed = SETTERS if name in SET_BY else GETTERS
                if isinstance(plugin, dict) and (
                    plugin["source"] != "mqtt" or plugin.keys() - allowed
                ):
                    raise EvccError(f"{name}: not what the plug-in knows: {plugin}")
        return charger

    def text(self, plugin: Mapping[str, Any]) -> str:
        """Return the text of a getter."""
        held = self.newest(plugin["topic"])
        if held is None or (plugin.get("timeout") and held[1] > seconds(plugin["timeout"])):
            raise EvccError(f"outdated: {plugin['topic']}")
        payload = held[0].decode()
        return jq(plugin["jq"], payload) if "jq" in plugin else payload

    def number(self, plugin: Mapping[str, Any]) -> float:
        """Return the number of a getter."""
        text = self.text(plugin)
        try:
            return float(text) * plugin.get("scale", 1)
        except ValueError as exc:
            raise EvccError(f"no number: {text}") from exc

    @property
    def status(self) -> str:
        """Return the state of the control pilot."""
        text = self.text(self.config["status"])
        if text not in STATES:
            raise EvccError(f"no status: {text}")
        return text

    @property
    def enabled(self) -> bool:
        """Return whether the charger is enabled."""
        text = self.text(self.config["enabled"])
        if text not in TRUE | FALSE:
            raise EvccError(f"no boolean: {text}")
        return text in TRUE

    @property
    def power_w(self) -> float:
        """Return the power in W."""
        return self.number(self.config["power"])

    @property
    def energy_kwh(self) -> float:
        """Return the meter in kWh."""
        return self.number(self.config["energy"])

    @property
    def currents_a(self) -> list[float]:
        """Return the three currents in A."""
        return [self.number(plugin) for plugin in self.config["currents"]]

    def set(self, name: str, value: bool | int) -> None:
        """Write an attribute."""
        plugin = self.config[name]
        self.publish(plugin["topic"], written(plugin.get("payload", ""), SET_BY[name], value))


def seconds(text: str) -> float:
    """Read a duration as Go spells it."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text)
    if found is None:
        raise EvccError(f"no duration: {text}")
    return float(found[1]) * {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}[found[2]]

"""Things and items for openHAB's MQTT binding: one thing per charger, and one for an Equalizer.

Rules:

1. Only what the binding can do by itself: bare values on topics of their own, and no transformation
   that would have to be installed.
2. A channel shows what the charger reports. What may be commanded has a command topic, never
   retained.
3. No password is written: the broker's bridge is made by hand or gets its login in openHAB.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from bridge.conventions.homeassistant.entities import display_name
from bridge.conventions.homeassistant.entity_table import (
    DERIVED_QUANTITIES,
    DERIVED_SHOWN,
    DERIVED_VALUES,
    EQUALIZER_SHOWN,
    is_switch,
)
from bridge.core.addressees import EQUALIZER as EQUALIZER_KIND
from bridge.core.easee.command_catalogue import CATALOGUE, allowed, controls
from bridge.core.easee.equalizer import EQUALIZER
from bridge.core.easee.observation_registry import REGISTRY
from bridge.core.easee.observation_spec import TEXTS, DataType, ObservationSpec, Visibility
from bridge.core.easee.schedules import KINDS
from bridge.core.easee.selection import Selection
from bridge.core.topics import Topics
from bridge.exports.tag_list import ANY_EQUALIZER
from bridge.settings import Settings

_HEAD: Final = """\
// Things and items for openHAB, made by `charger-bridge topics --format openhab`.
// The first part goes into things/charger.things, the second into items/charger.items."""

# openHAB's dimension and unit of what the vendor measures in; a plain number otherwise.
_DIMENSIONS: Final[Mapping[str | None, tuple[str, str]]] = {
    "kW": ("Number:Power", "kW"),
    "kWh": ("Number:Energy", "kWh"),
    "A": ("Number:ElectricCurrent", "A"),
    "V": ("Number:ElectricPotential", "V"),
    "mV": ("Number:ElectricPotential", "mV"),
    "degC": ("Number:Temperature", "°C"),
    "%": ("Number:Dimensionless", "%"),
    "s": ("Number:Time", "s"),
    "ms": ("Number:Time", "ms"),
    "h": ("Number:Time", "h"),
}
UNSEEN: Final = frozenset({Visibility.RARE, Visibility.HIDDEN})
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel and its item.

    Attributes:
        id: Last part of its UID.
        type: The binding's channel type.
        item: openHAB's item type; empty for a trigger, which has none.
        label: What people see.
        options: Configuration of the channel.
        note: What its numbers mean, for a comment; may be empty.
        is_action: Its item must not take the command for its state.
    """

    id: str
    type: str
    item: str
    label: str
    options: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    note: str = ""
    is_action: bool = False


def things_and_items(settings: Settings) -> str:
    """Write the things and the items of a configuration.

    Args:
        settings: The configuration. Without ``easee.chargers`` they are about ``SERIAL``, to be
            replaced.
    """
    chargers = settings.easee.chargers or ("SERIAL",)
    each = {charger: tuple(channels(settings, charger)) for charger in chargers}
    equalizer = tuple(equalizer_channels(settings))
    tls = str(settings.mqtt.tls.enabled).lower()
    broker = f"host={_quoted(settings.mqtt.host)}, port={settings.mqtt.port}, secure={tls}"
    lines = (
        _HEAD,
        "",
        "// ---- things/charger.things",
        "// Add username and password if the broker requires them.",
        f'Bridge mqtt:broker:charger "MQTT broker" [ {broker} ] {{',
        *(line for charger, found in each.items() for line in _thing(settings, charger, found)),
        f"    // An Equalizer: replace {ANY_EQUALIZER}, or remove it where there is none.",
        *_thing(settings, ANY_EQUALIZER, equalizer),
        "}",
        "",
        "// ---- items/charger.items",
        *(line for charger, found in each.items() for line in _items(settings, charger, found)),
        f"// Of the Equalizer: replace {ANY_EQUALIZER}, or remove these where there is none.",
        *_items(settings, ANY_EQUALIZER, equalizer),
    )
    return "\n".join(lines)


def channels(settings: Settings, charger: str) -> Iterator[Channel]:
    """List the channels of a charger, what is shown first."""
    topics = Topics(settings.mqtt.base_topic, settings.mqtt.reply_prefixes)
    may = dict(controls(settings.commands.allow))
    commands = {control.shows: name for name, control in may.items() if control.shows}
    selection = Selection.of(settings.publish)
    for name, (level, label) in DERIVED_SHOWN.items():
        if level not in UNSEEN and selection.has_derived(name):
            command = commands.get(name)
            target = None if command is None else topics.command(charger, command)
            yield _derived(topics.state(charger, name), name, label, target)
    for spec in REGISTRY.values():
        is_shown = spec.visibility in (Visibility.MAIN, Visibility.DIAGNOSTIC)
        if settings.publish.scalar and is_shown and selection.has(spec):
            command = commands.get(spec.name)
            target = None if command is None else topics.command(charger, command)
            yield _observation(topics.state(charger, spec.name), spec, target)
    for name, control in may.items():
        if not control.shows:
            options = {"commandTopic": topics.command(charger, name), "allowedStates": "PRESS"}
            yield Channel(name, "string", "String", control.title, options, is_action=True)
    yield Channel(
        "schedules", "string", "String", "Schedules", {"stateTopic": topics.schedule(charger)}
    )
    for which in KINDS:
        name = f"{which}_schedule"
        if allowed(CATALOGUE[name], settings.commands.allow):
            switched = _switch({"commandTopic": topics.command(charger, name)})
            label = f"{which.capitalize()} schedule"
            yield Channel(name, "switch", "Switch", label, switched, is_action=True)
    for kind, label in (
        ("smart_button", "Smart button"),
        ("authorization_requested", "Authorization requested"),
        ("error_event", "Error"),
    ):
        topic = topics.event(charger, kind.removesuffix("_event"))
        yield Channel(kind, "trigger", "", label, {"stateTopic": topic})


def equalizer_channels(settings: Settings) -> Iterator[Channel]:
    """List the channels of an Equalizer."""
    topics = Topics(settings.mqtt.base_topic, settings.mqtt.reply_prefixes)
    selection = Selection.of(settings.publish)
    may = dict(controls(settings.commands.allow, EQUALIZER_KIND))
    commands = {control.shows: name for name, control in may.items()}
    for name, (_, label) in EQUALIZER_SHOWN.items():
        if selection.has_derived(name):
            command = commands.get(name)
            target = None if command is None else topics.command(ANY_EQUALIZER, command)
            yield _derived(topics.state(ANY_EQUALIZER, name), name, label, target)
    for spec in filter(selection.has, EQUALIZER.values()):
        if settings.publish.scalar and spec.visibility in (Visibility.MAIN, Visibility.DIAGNOSTIC):
            yield _observation(topics.state(ANY_EQUALIZER, spec.name), spec, None)


def _derived(topic: str, name: str, label: str, target: str | None) -> Channel:
    options = {"stateTopic": topic} | ({} if target is None else {"commandTopic": target})
    if (quantity := DERIVED_QUANTITIES.get(name)) is not None:
        return _number(name, quantity.unit, label, options)
    if is_switch(DERIVED_VALUES[name]):
        return Channel(name, "switch", "Switch", label, _switch(options))
    return Channel(name, "string", "String", label, options)


def _observation(topic: str, spec: ObservationSpec, target: str | None) -> Channel:
    options = {"stateTopic": topic} | ({} if target is None else {"commandTopic": target})
    label = display_name(spec)
    note = ", ".join(f"{code} {text}" for code, text in spec.labels.items())
    if spec.kind is DataType.BOOLEAN:
        return Channel(spec.name, "switch", "Switch", label, _switch(options))
    if spec.kind in TEXTS:
        return Channel(spec.name, "string", "String", label, options, note)
    return _number(spec.name, spec.unit, label, options, note)


def _number(
    name: str, measured_in: str | None, label: str, options: dict[str, str], note: str = ""
) -> Channel:
    item, unit = _DIMENSIONS.get(measured_in, ("Number", ""))
    if unit:
        options["unit"] = unit
    return Channel(name, "number", item, label, options, note)


def _switch(options: Mapping[str, str]) -> Mapping[str, str]:
    return {**options, "on": "true", "off": "false"}


def _thing(settings: Settings, charger: str, found: tuple[Channel, ...]) -> Iterator[str]:
    topics = Topics(settings.mqtt.base_topic)
    options = {
        "availabilityTopic": topics.availability(charger),
        "payloadAvailable": "online",
        "payloadNotAvailable": "offline",
    }
    yield f"    Thing topic {charger} {_label(settings, charger)} {_bracketed(options)} {{"
    yield "        Channels:"
    for channel in found:
        if channel.note:
            yield f"            // {channel.note}"
        label = _quoted(channel.label)
        yield (
            f"            Type {channel.type} : {channel.id} {label} {_bracketed(channel.options)}"
        )
    yield "    }"


def _label(settings: Settings, charger: str) -> str:
    return _quoted(settings.easee.name_of(charger) or f"Easee {charger}")


def _items(settings: Settings, charger: str, found: tuple[Channel, ...]) -> Iterator[str]:
    group = f"Charger_{charger}"
    yield f"Group {group} {_label(settings, charger)}"
    for channel in found:
        if channel.item:
            # An action's item would otherwise show what was pressed last, for ever.
            extra = ', autoupdate="false"' if channel.is_action else ""
            unit = channel.options.get("unit")
            extra += f', unit="{unit}"' if unit else ""
            place = f'channel="mqtt:topic:charger:{charger}:{channel.id}"'
            yield (
                f"{channel.item} {group}_{channel.id} {_quoted(channel.label)} ({group})"
                f" {{ {place}{extra} }}"
            )
    yield ""


def _bracketed(options: Mapping[str, str]) -> str:
    return "[ " + ", ".join(f"{key}={_quoted(text)}" for key, text in options.items()) + " ]"


def _quoted(text: str) -> str:
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'

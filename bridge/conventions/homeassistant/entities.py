"""Builds the entities of one charger from registry and catalogue.

Rules:

1. An entity's key is its platform and the name of what it shows or does. Unique ids are made of it,
   so it never changes.
2. What is not known is shown as unknown. ``null``, an empty text and a code without a label become
   ``None``, which Home Assistant takes for that; nothing old is left standing.
"""

import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from bridge.conventions.homeassistant.entity_table import (
    DERIVED_QUANTITIES,
    DERIVED_SHOWN,
    DERIVED_VALUES,
    ENABLED,
    EQUALIZER_SHOWN,
    ICONS,
    UNITS,
    is_switch,
    unit_config,
)
from bridge.conventions.homeassistant.schedule_entities import schedule_entities
from bridge.core.addressees import EQUALIZER as EQUALIZER_KIND
from bridge.core.easee.command_catalogue import CATALOGUE, allowed, controls
from bridge.core.easee.controls import Control
from bridge.core.easee.derived_state import FIRMWARE_UPDATE, DerivedTopic
from bridge.core.easee.equalizer import EQUALIZER
from bridge.core.easee.observation_registry import REGISTRY
from bridge.core.easee.observation_spec import TEXTS, DataType, ObservationSpec, Visibility
from bridge.core.easee.selection import EVERYTHING, Selection
from bridge.core.topics import Topics
from bridge.settings import CommandSettings

# Home Assistant refuses a longer state.
MAX_STATE_LENGTH = 255
_TEXT = f"{{{{ value[:{MAX_STATE_LENGTH}] if value else 'None' }}}}"
_KNOWN = "{{ value if value not in ['', 'null'] else 'None' }}"
_SHOUTED = re.compile(
    r"\b([tlp][1-5]|n|ev|lte|ota|pcb|udp|ap|fw|id|tx|rssi|rtt|rsrp|rsrq|sinr)\b", re.ASCII
)


class Entity(msgspec.Struct, frozen=True):
    """One entity of one charger.

    Attributes:
        key: Unique within the charger and for good, e.g. ``"sensor_total_power"``.
        platform: Home Assistant's, e.g. ``"sensor"``.
        config: Everything else it is told, besides ids, device and availability.
    """

    key: str
    platform: str
    config: Mapping[str, object]


def entities(
    charger_id: str,
    topics: Topics,
    commands: CommandSettings,
    selection: Selection = EVERYTHING,
) -> tuple[Entity, ...]:
    """List what a charger has, in an order that never changes.

    Args:
        charger_id: Its serial.
        topics: The topic tree.
        commands: What may be asked of it: a control that would be refused is not offered, and what
            it would show is shown without it.
        selection: The values that are published: an entity of any other would stay unknown.
    """
    may = dict(controls(commands.allow))
    covered = _covered(may)
    own = _Charger(charger_id, topics)
    found = (
        *own.derived(covered, DERIVED_SHOWN),
        *own.about_op_mode(),
        *own.observations(covered, REGISTRY.values()),
        *own.sessions(),
        *own.events(),
        *(own.control(name, control, commands.max_current_a) for name, control in may.items()),
        own.firmware(is_installable="update_firmware" in may),
        *own.schedules(commands),
    )
    return tuple(_presented(one) for one in found if own.is_published(one, selection))


def equalizer_entities(
    serial: str,
    topics: Topics,
    commands: CommandSettings,
    selection: Selection = EVERYTHING,
) -> tuple[Entity, ...]:
    """List what an Equalizer has, in an order that never changes.

    Args:
        serial: Of the Equalizer.
        topics: The topic tree.
        commands: What may be asked of it, as for a charger.
        selection: The values that are published.
    """
    may = dict(controls(commands.allow, EQUALIZER_KIND))
    covered = _covered(may)
    own = _Charger(serial, topics)
    found = (
        *own.derived(covered, EQUALIZER_SHOWN),
        *own.observations(covered, filter(selection.has, EQUALIZER.values())),
        *(own.control(name, control, commands.max_current_a) for name, control in may.items()),
    )
    return tuple(map(_with_icon, (one for one in found if own.is_published(one, selection))))


def _covered(may: Mapping[str, Control]) -> set[str]:
    """Return what controls show, so that nothing else has to."""
    return {control.shows for control in may.values() if control.replaces}


class _Charger(msgspec.Struct, frozen=True):
    """Makes the entities of one charger, or of another device with observations."""

    charger_id: str
    topics: Topics

    def _state(self, name: str) -> str:
        return self.topics.state(self.charger_id, name)

    def is_published(self, entity: Entity, selection: Selection) -> bool:
        """Return whether the value that an entity shows is published, if it shows one."""
        topic = str(entity.config.get("state_topic", ""))
        state = self._state("")
        return not topic.startswith(state) or selection.has_named(topic.removeprefix(state))

    # -- what is shown ------------------------------------------------------------------------

    def derived(
        self, covered: Iterable[str], shown: Mapping[str, tuple[Visibility, str]]
    ) -> Iterator[Entity]:
        for name, (level, spoken) in shown.items():
            if level is Visibility.HIDDEN or name in covered:
                continue
            values = DERIVED_VALUES[name]
            head = {"name": spoken, "state_topic": self._state(name), **_leveled(level)}
            if (quantity := DERIVED_QUANTITIES.get(name)) is not None:
                yield _entity("sensor", name, head | _quantity(quantity))
            elif is_switch(values):
                yield _entity("binary_sensor", name, head | {"value_template": _on_off()})
            else:
                yield _entity("sensor", name, head | _one_of(values, _KNOWN))

    def about_op_mode(self) -> Iterator[Entity]:
        yield self._about_op_mode(
            "car_connected", "Car connected", "plug", {"disconnected": "OFF"}, "ON"
        )
        yield self._about_op_mode("error", "Error", "problem", {"error": "ON"}, "OFF")

    def _about_op_mode(
        self, key: str, name: str, device_class: str, told: Mapping[str, str], otherwise: str
    ) -> Entity:
        words = {"offline": "None", "null": "None", **told}
        if key == "car_connected":
            words["error"] = "None"
        config = {
            "name": name,
            "device_class": device_class,
            "state_topic": self._state("op_mode"),
            "value_template": _looked_up(words, otherwise),
        }
        return _entity("binary_sensor", key, config)

    def observations(
        self, covered: Iterable[str], specs: Iterable[ObservationSpec]
    ) -> Iterator[Entity]:
        for spec in specs:
            if spec.visibility is not Visibility.HIDDEN and spec.name not in covered:
                yield self._observation(spec)

    def _observation(self, spec: ObservationSpec) -> Entity:
        head: dict[str, object] = {
            "name": display_name(spec),
            "state_topic": self._state(spec.name),
            **_leveled(spec.visibility),
        }
        extra = _extra(spec)
        if spec.kind is DataType.BOOLEAN:
            is_inverted = spec.device_class == "lock"
            template = {"value_template": _on_off(is_inverted=is_inverted)}
            return _entity("binary_sensor", spec.name, {**head, **template, **extra})
        if spec.labels:
            labels = {str(code): label for code, label in spec.labels.items()}
            options = tuple(dict.fromkeys(labels.values()))
            return _entity(
                "sensor", spec.name, head | _one_of(options, _looked_up(labels)) | dict(extra)
            )
        if spec.kind in TEXTS or spec.is_code:
            return _entity("sensor", spec.name, {**head, "value_template": _TEXT, **extra})
        return _entity("sensor", spec.name, {**head, **unit_config(spec.unit), **extra})

    def sessions(self) -> Iterator[Entity]:
        last = self.topics.session(self.charger_id, "last")
        current = self.topics.session(self.charger_id, "current")
        energy = {**UNITS["kWh"], "suggested_display_precision": 2}
        moment = {"device_class": "timestamp"}
        for key, name, topic, field, extra in (
            ("session_started", "Session started", current, "started_at", moment),
            ("last_session_energy", "Last session energy", last, "energy_kwh", energy),
            ("last_session_started", "Last session started", last, "started_at", moment),
            ("last_session_ended", "Last session ended", last, "ended_at", moment),
        ):
            config = {"name": name, "state_topic": topic, "value_template": _member(field), **extra}
            if extra is energy:
                config["json_attributes_topic"] = topic
            yield _entity("sensor", key, config)

    def events(self) -> Iterator[Entity]:
        for kind, name, level, extra in (
            (
                "smart_button",
                "Smart button pressed",
                Visibility.MAIN,
                {"device_class": "button"},
            ),
            ("authorization_requested", "Authorization requested", Visibility.MAIN, {}),
            ("error", "Error reported", Visibility.DIAGNOSTIC, {}),
            ("foreign_command", "Changed by others", Visibility.RARE, {}),
        ):
            config = {
                "name": name,
                "state_topic": self.topics.event(self.charger_id, kind),
                "event_types": [kind],
                "value_template": "{{ dict(value_json, event_type=value_json.event) | to_json }}",
                **_leveled(level),
                **extra,
            }
            yield _entity("event", kind, config)

    # -- what can be asked for ----------------------------------------------------------------

    def control(self, command: str, control: Control, max_current_a: int) -> Entity:
        config: dict[str, object] = {
            "name": control.title,
            "command_topic": self.topics.command(self.charger_id, command),
            "retain": False,
            "qos": 1,
        }
        if control.is_config:
            config["entity_category"] = "config"
        if not control.is_enabled:
            config["enabled_by_default"] = False
        if control.shows:
            config |= {"state_topic": self._state(control.shows), "optimistic": False}
        match control.kind:
            case "button":
                config["payload_press"] = "PRESS"
            case "switch":
                config |= {"payload_on": "true", "payload_off": "false"}
                config |= {"state_on": "ON", "state_off": "OFF", "value_template": _on_off()}
            case "number":
                low, high = control.bounds(max_current_a)
                config |= _range(low, high, control.unit)
                config["value_template"] = _within(low, high)
            case "select":
                labels = {str(code): label for code, label in control.labels.items()}
                config["options"] = list(labels.values())
                config["value_template"] = _looked_up(labels)
        if control.is_typed:
            config["mode"] = "box"
        if control.device_class:
            config["device_class"] = control.device_class
        return _entity(control.kind, command, config)

    def schedules(self, commands: CommandSettings) -> Iterator[Entity]:
        may = [spec.name for spec in CATALOGUE.values() if allowed(spec, commands.allow)]
        found = schedule_entities(self.charger_id, self.topics, may, commands.max_current_a)
        return (_entity(platform, name, config) for platform, name, config in found)

    def firmware(self, *, is_installable: bool) -> Entity:
        """Return the update entity; without the command it only shows both versions."""
        config: dict[str, object] = {
            "name": "Firmware",
            "device_class": "firmware",
            "entity_category": "config" if is_installable else "diagnostic",
            "state_topic": self._state(FIRMWARE_UPDATE),
            "title": "Easee firmware",
        }
        if is_installable:
            config["command_topic"] = self.topics.command(self.charger_id, "update_firmware")
            config |= {"payload_install": "PRESS", "retain": False, "qos": 1}
        return _entity("update", "firmware", config)


def _presented(entity: Entity) -> Entity:
    """Return an entity with its icon, disabled by default unless a driver looks at it."""
    config = dict(entity.config)
    config.pop("enabled_by_default", None)
    if entity.key not in ENABLED:
        config["enabled_by_default"] = False
    return _with_icon(Entity(entity.key, entity.platform, config))


def _with_icon(entity: Entity) -> Entity:
    """Return an entity with its icon, where its class has none that fits."""
    if entity.key not in ICONS:
        return entity
    return Entity(entity.key, entity.platform, {**entity.config, "icon": ICONS[entity.key]})


def _entity(platform: str, name: str, config: Mapping[str, object]) -> Entity:
    return Entity(_key(platform, name), platform, config)


@functools.cache
def _key(platform: str, name: str) -> str:
    """Return an entity's key: the same for every charger, and stable while it is announced."""
    return f"{platform}_{name}"


def _leveled(level: Visibility) -> dict[str, object]:
    match level:
        case Visibility.DIAGNOSTIC:
            return {"entity_category": "diagnostic"}
        case Visibility.RARE:
            return {"entity_category": "diagnostic", "enabled_by_default": False}
        case _:
            return {}


def _extra(spec: ObservationSpec) -> dict[str, object]:
    """Return what a row says of its entity beyond unit, labels and kind."""
    told = {
        "device_class": spec.device_class or None,
        "state_class": spec.state_class or None,
        "suggested_display_precision": spec.digits,
    }
    return {key: value for key, value in told.items() if value is not None}


def _quantity(derived: DerivedTopic) -> dict[str, object]:
    """Return the configuration of a derived quantity; unknown is shown as unknown."""
    config = {**unit_config(derived.unit), "value_template": _KNOWN}
    if derived.unit is not None:
        config["state_class"] = derived.state_class
    if derived.digits is not None:
        config["suggested_display_precision"] = derived.digits
    return config


def display_name(spec: ObservationSpec) -> str:
    """Return a row's title, or its name as a person reads it: ``Temp input T2``."""
    if spec.title:
        return spec.title
    text = _SHOUTED.sub(lambda found: found[0].upper(), spec.name.replace("_", " "))
    text = text.replace("wi fi", "WiFi").replace("wifi", "WiFi")
    return text[0].upper() + text[1:]


# -- templates --------------------------------------------------------------------------------


def _looked_up(words: Mapping[str, str], otherwise: str = "None") -> str:
    table = json.dumps(words, separators=(", ", ": ")).replace('"', "'")
    return f"{{{{ {table}.get(value, '{otherwise}') }}}}"


def _on_off(*, is_inverted: bool = False) -> str:
    on, off = ("OFF", "ON") if is_inverted else ("ON", "OFF")
    return f"{{{{ {{'true': '{on}', 'false': '{off}'}}.get(value | lower, 'None') }}}}"


def _one_of(options: tuple[str, ...], template: str) -> dict[str, object]:
    return {"device_class": "enum", "options": list(options), "value_template": template}


def _member(name: str) -> str:
    return f"{{{{ value_json.{name} if value_json is defined else 'None' }}}}"


def _range(low: int, high: int, unit: str | None) -> dict[str, object]:
    """Return the bounds of a number; a state class is not for what can be set."""
    told = {key: value for key, value in unit_config(unit).items() if key != "state_class"}
    step = {"min": low, "max": high, "step": 1}
    return step | {key: told[key] for key in sorted(told, reverse=True)}


def _within(low: int, high: int) -> str:
    """Return a template that shows a number outside the allowed range as unknown.

    The charger's limit may exceed what the configuration allows to set. Home Assistant refuses
    to show that, and a smaller number in its place would not be true.
    """
    inside = f"{low} <= value | float(-1) <= {high}"
    return f"{{{{ value if {inside} else 'None' }}}}"

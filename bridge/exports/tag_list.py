"""The tag list: every topic of a charger or Equalizer as a row of CSV, e.g. for Loxone."""

import csv
import io
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields

from bridge.core.addressees import CHARGER, EQUALIZER, Kind
from bridge.core.easee.command_catalogue import CATALOGUE, allowed
from bridge.core.easee.derived_state import (
    DERIVED,
    TOUCH_BUTTON,
    TOUCH_BUTTON_VALUES,
    DerivedTopic,
)
from bridge.core.easee.equalizer import EQUALIZER as EQUALIZERS
from bridge.core.easee.equalizer_derived import EQUALIZER_DERIVED
from bridge.core.easee.observation_registry import REGISTRY
from bridge.core.easee.observation_spec import DataType, ObservationSpec
from bridge.core.easee.selection import Selection
from bridge.core.topics import Topics
from bridge.settings import Settings

_TYPES = {DataType.BOOLEAN: "boolean", DataType.DOUBLE: "number", DataType.INTEGER: "integer"}
# What a list of any charger has in the place of a serial: replace it.
ANY_CHARGER = "SERIAL"
ANY_EQUALIZER = "EQUALIZER_SERIAL"


@dataclass(frozen=True, slots=True)
class Tag:
    """One row; the names of the fields are the heads of the columns.

    Attributes:
        charger: Its serial.
        tag: Unique within a charger.
        topic: The whole topic.
        access: ``read`` or ``write``.
        type: ``number``, ``integer``, ``boolean``, ``text`` or ``json``.
        unit: As the vendor measures; empty when there is none.
        retained: ``yes`` where the broker keeps the newest value.
        values: What it can be, where that is a list; codes with their meaning.
        description: One line.
    """

    charger: str
    tag: str
    topic: str
    access: str
    type: str
    unit: str
    retained: str
    values: str
    description: str


def tag_list(settings: Settings) -> str:
    """Write the tag list of a configuration as CSV with a head line (RFC 4180).

    Args:
        settings: The configuration. Without ``easee.chargers`` the rows are about ``SERIAL``.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(field.name for field in fields(Tag))
    writer.writerows(map(astuple, tags(settings)))
    return text.getvalue().rstrip("\r\n")


def tags(settings: Settings) -> Iterator[Tag]:
    """List what may be read, then what may be written, charger by charger."""
    topics = Topics(settings.mqtt.base_topic, settings.mqtt.reply_prefixes)
    selection, scalar = Selection.of(settings.publish), settings.publish.scalar
    for charger in settings.easee.chargers or (ANY_CHARGER,):
        yield _availability(topics, charger)
        yield from (one for one in _derived(topics, charger) if selection.has_derived(one.tag))
        if scalar:
            shown = filter(selection.has, REGISTRY.values())
            yield from (_observation(topics, charger, spec) for spec in shown)
        yield from _commands(topics, charger, settings.commands.allow, CHARGER)
    yield _availability(topics, ANY_EQUALIZER)
    settings_of = (one for one in EQUALIZER_DERIVED if selection.has_derived(one.name))
    yield from (_derived_tag(topics, ANY_EQUALIZER, one) for one in settings_of)
    if scalar:
        shown = filter(selection.has, EQUALIZERS.values())
        yield from (_observation(topics, ANY_EQUALIZER, spec) for spec in shown)
    yield from _commands(topics, ANY_EQUALIZER, settings.commands.allow, EQUALIZER)


def _availability(topics: Topics, serial: str) -> Tag:
    return Tag(
        serial,
        "availability",
        topics.availability(serial),
        "read",
        "text",
        "",
        "yes",
        "online offline",
        "Whether its values can be relied on",
    )


def _commands(topics: Topics, serial: str, allow: tuple[str, ...], kind: Kind) -> Iterator[Tag]:
    for spec in CATALOGUE.values():
        if kind in spec.of and allowed(spec, allow):
            facts = ("write", "text", "", "no", spec.takes.text, spec.description)
            yield Tag(serial, f"set_{spec.name}", topics.command(serial, spec.name), *facts)


def _derived(topics: Topics, charger: str) -> Iterator[Tag]:
    yield from (_derived_tag(topics, charger, one) for one in DERIVED)
    listed, about = " ".join(TOUCH_BUTTON_VALUES), "whether the touch button does anything"
    topic = topics.state(charger, TOUCH_BUTTON)
    yield Tag(charger, TOUCH_BUTTON, topic, "read", "text", "", "yes", listed, about)


def _derived_tag(topics: Topics, serial: str, one: DerivedTopic) -> Tag:
    kind = "boolean" if "true" in one.values else "text" if one.values else one.kind
    topic, listed = topics.state(serial, one.name), " ".join(one.values)
    meaning = one.meaning.replace("`", "")
    return Tag(serial, one.name, topic, "read", kind, one.unit or "", "yes", listed, meaning)


def _observation(topics: Topics, charger: str, spec: ObservationSpec) -> Tag:
    is_json = spec.unit == "json"
    return Tag(
        charger,
        spec.name,
        topics.state(charger, spec.name),
        "read",
        "json" if is_json else _TYPES.get(spec.kind, "text"),
        "" if is_json else spec.unit or "",
        "no" if spec.personal else "yes",
        " ".join(f"{code}={label}" for code, label in spec.labels.items()),
        spec.description,
    )

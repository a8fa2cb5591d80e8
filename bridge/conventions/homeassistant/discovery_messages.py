"""Builds the discovery messages of a charger: one for the device, or one per entity.

Rules:

1. Both forms give the same device and the same unique ids, so that one can follow the other.
2. Nothing personal: the serial is the only identifying value in them.
3. An entity is available while the bridge runs, the cloud delivers and the charger is heard from;
   staleness is told by these, not by an expiry, which a retained value would undo.
"""

import functools
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from bridge.conventions.homeassistant.entities import Entity
from bridge.core.easee.enumerations import PRODUCT
from bridge.core.records.discovery_record import PublishedDiscovery
from bridge.core.topics import HomeAssistantTopics, Topics

ORIGIN: Final = "charger-bridge"
# In the place of a serial: the gateway itself.
GATEWAY: Final = "bridge"
# What says that the cloud delivers, in the words of `bridge/cloud`.
_CLOUD_UP: Final = "{{ 'online' if value in ('connected', 'degraded') else 'offline' }}"
_NOT_IN_AN_ID: Final = re.compile(r"[^A-Za-z0-9_-]", re.ASCII)
_encode = msgspec.json.Encoder().encode


class DeviceInfo(msgspec.Struct, frozen=True):
    """What is known of a charger or Equalizer besides its values.

    Attributes:
        charger_id: Its serial.
        product: The vendor's product code; None while unknown.
        firmware: Its release; empty while unknown.
        name: What people call it; empty for its serial.
        is_equalizer: It is an Equalizer, not a charger.
        page: Address of the status page, of the gateway; empty for none.
    """

    charger_id: str
    product: int | None = None
    firmware: str = ""
    name: str = ""
    is_equalizer: bool = False
    page: str = ""


class Description(msgspec.Struct, frozen=True):
    """Everything that is to be said of one charger: topic to document, and what it stands for."""

    documents: Mapping[str, Mapping[str, object]]
    published: Mapping[str, PublishedDiscovery]


def node_of(topics: Topics, charger_id: str) -> str:
    """Return a charger's name in topics and unique ids, unique among bridges on one broker."""
    return f"{_NOT_IN_AN_ID.sub('_', topics.base)}_{charger_id}"


def describe(
    device_info: DeviceInfo,
    entities: tuple[Entity, ...],
    *,
    form: str,
    topics: Topics,
    places: HomeAssistantTopics,
    version: str,
) -> Description:
    """Return the discovery of one charger.

    Args:
        device_info: What is known of it.
        entities: What it has.
        form: ``"device"`` or ``"component"``.
        topics: The topic tree.
        places: Where Home Assistant looks.
        version: Of this program.
    """
    node = node_of(topics, device_info.charger_id)
    head: dict[str, object] = {
        "device": _device(device_info, node, topics),
        "origin": {"name": ORIGIN, "sw_version": version},
        "qos": 1,
    }
    if device_info.charger_id != GATEWAY:  # its entities are available each in its own way
        head["availability"] = _availability(topics, device_info.charger_id)
        head["availability_mode"] = "all"
    own = {
        entity.key: {"unique_id": f"{node}_{entity.key}", **entity.config} for entity in entities
    }
    if form == "component":
        by_topic = {places.component(e.platform, node, e.key): e.key for e in entities}
        return Description(
            {topic: head | own[key] for topic, key in by_topic.items()},
            {topic: PublishedDiscovery(device_info.charger_id) for topic in by_topic},
        )
    platforms = _platforms(tuple((entity.key, entity.platform) for entity in entities))
    components = {key: {"platform": platforms[key], **config} for key, config in own.items()}
    topic = places.device(node)
    return Description(
        {topic: head | {"components": components}},
        {topic: PublishedDiscovery(device_info.charger_id, platforms)},
    )


@functools.lru_cache(maxsize=16)
def _platforms(parts: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    """Return the platform by key, one table for all chargers that are alike: each is 7 KB."""
    return MappingProxyType(dict(parts))


def encoded(document: Mapping[str, object], retired: Mapping[str, str]) -> bytes:
    """Encode a document; removed components are listed with their platform only.

    That is how Home Assistant is told to forget them.
    """
    if retired:
        components = document["components"]
        assert isinstance(components, dict)  # noqa: S101 - only the device form retires components
        gone = {key: {"platform": platform} for key, platform in retired.items()}
        document = {**document, "components": gone | components}
    return _encode(document)


def _device(device_info: DeviceInfo, node: str, topics: Topics) -> dict[str, object]:
    if device_info.charger_id == GATEWAY:
        return _gateway_device(device_info, node, topics)
    device: dict[str, object] = {
        "identifiers": [node],
        "name": device_info.name or f"Easee {device_info.charger_id}",
        "manufacturer": "Easee",
        "serial_number": device_info.charger_id,
    }
    product = PRODUCT.get(device_info.product or 0)
    if device_info.is_equalizer:
        device["model"] = "Easee Equalizer"
    elif product is not None:
        device["model"] = f"Easee {product.capitalize()}"
    if device_info.firmware:
        device["sw_version"] = device_info.firmware
    return device | {"via_device": node_of(topics, GATEWAY)}


def _gateway_device(device_info: DeviceInfo, node: str, topics: Topics) -> dict[str, object]:
    """Describe the gateway itself; its base topic is in the name where it is not the usual one."""
    base = topics.base
    device: dict[str, object] = {
        "identifiers": [node],
        "name": ORIGIN if base == Topics().base else f"{ORIGIN} {base}",
        "manufacturer": ORIGIN,
        "model": "MQTT gateway for Easee",
        "sw_version": device_info.firmware,
    }
    return device | ({"configuration_url": device_info.page} if device_info.page else {})


def _availability(topics: Topics, charger_id: str) -> list[dict[str, str]]:
    return [
        {"topic": topics.bridge_state},
        {"topic": topics.bridge_cloud, "value_template": _CLOUD_UP},
        {"topic": topics.availability(charger_id)},
    ]

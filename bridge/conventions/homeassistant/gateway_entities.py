"""Builds the entities of the gateway itself: its state, the cloud, alerts, and its version.

Rules:

1. The state is shown also while the gateway is offline; everything else is unavailable then.
2. Alerts are listed by their kinds. Their texts are on ``bridge/alert/#`` and on the status page.
"""

from collections.abc import Mapping
from typing import Final

from bridge.conventions.homeassistant.entities import Entity
from bridge.core.topics import Topics
from bridge.settings import HttpSettings

CLOUD_STATES: Final = ("connected", "degraded", "disconnected", "auth_failed", "blocked")
# Listening there, the page has no address of its own that others could use.
ANY_ADDRESS: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not listened on


def gateway_entities(topics: Topics) -> tuple[Entity, ...]:
    """List what is told of the gateway, in an order that never changes.

    Args:
        topics: The topic tree.
    """
    alive = {"availability": [{"topic": topics.bridge_state}]}
    diagnostic = {**alive, "entity_category": "diagnostic"}
    health, info = topics.bridge_health, topics.bridge_info
    return (
        _entity(
            "binary_sensor",
            "state",
            {
                "name": "State",
                "device_class": "connectivity",
                "state_topic": topics.bridge_state,
                "payload_on": "online",
                "payload_off": "offline",
            },
        ),
        _entity(
            "sensor",
            "cloud",
            {
                **alive,
                "name": "Cloud",
                "device_class": "enum",
                "options": list(CLOUD_STATES),
                "state_topic": topics.bridge_cloud,
                "icon": "mdi:cloud-outline",
            },
        ),
        _entity(
            "binary_sensor",
            "problem",
            {
                **alive,
                "name": "Problem",
                "device_class": "problem",
                "state_topic": health,
                "value_template": "{{ 'OFF' if value_json.verdict == 'ok' else 'ON' }}",
            },
        ),
        _entity(
            "sensor",
            "alerts",
            {
                **alive,
                "name": "Alerts",
                "state_topic": health,
                "value_template": "{{ value_json.alerts | count }}",
                "json_attributes_topic": health,
                "json_attributes_template": "{{ {'kinds': value_json.alerts} | to_json }}",
                "icon": "mdi:alert-outline",
            },
        ),
        _entity(
            "sensor",
            "chargers_online",
            {
                **alive,
                "name": "Chargers online",
                "state_topic": health,
                "value_template": "{{ value_json.chargers_online }}",
                "state_class": "measurement",
                "icon": "mdi:ev-station",
            },
        ),
        _entity(
            "sensor",
            "version",
            {
                **diagnostic,
                "name": "Version",
                "state_topic": info,
                "value_template": "{{ value_json.version }}",
                "icon": "mdi:tag-outline",
            },
        ),
        _entity(
            "sensor",
            "started_at",
            {
                **diagnostic,
                "name": "Started",
                "device_class": "timestamp",
                "state_topic": info,
                "value_template": "{{ value_json.started_at }}",
            },
        ),
    )


def page_address(http: HttpSettings) -> str:
    """Return the address of the status page; empty where there is none that can be named."""
    if not (http.enabled and http.page):
        return ""
    host = http.names[0] if http.names else http.host
    if host in ANY_ADDRESS:
        return ""
    return f"http://{f'[{host}]' if ':' in host else host}:{http.port}/"


def _entity(platform: str, key: str, config: Mapping[str, object]) -> Entity:
    return Entity(f"{platform}_{key}", platform, config)

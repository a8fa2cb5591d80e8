"""Entities of the schedules: what is in force, and controls of the daily and the delayed one.

Rules:

1. All of them read ``schedule/current``: they show what the cloud holds, never what was typed.
2. A control sends one value; the bridge keeps the rest of the schedule. A time goes with Home
   Assistant's own time zone: it was typed as a local one.
3. A schedule of several periods has no one start or stop: these are shown as unknown. The weekly
   schedule has a switch only.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from bridge.core.easee.command_payloads import MIN_CURRENT_A
from bridge.core.easee.schedules import DIRECT_OCPP, KINDS, NONE
from bridge.core.topics import Topics

_OTHERS: Final = ("offPeak", "tariff", DIRECT_OCPP, NONE)
# Empty is unknown: Home Assistant checks what is shown, too.
_CLOCK: Final = "^(([01][0-9]|2[0-3]):[0-5][0-9])?$"
_CLOCK_LENGTH: Final = 5
_ZONE: Final = '"timezone": "{{ now().tzinfo }}"'

# Platform, key and configuration of an entity.
Described = tuple[str, str, dict[str, object]]


def schedule_entities(
    charger_id: str, topics: Topics, commands: Iterable[str], max_current_a: int
) -> Iterator[Described]:
    """List the entities of a charger's schedules.

    Args:
        charger_id: Its serial.
        topics: The topic tree.
        commands: Names of the commands that are allowed.
        max_current_a: ``commands.max_current_a``.
    """
    shown: dict[str, object] = {"state_topic": topics.schedule(charger_id)}
    words = (*KINDS, *_OTHERS)
    yield (
        "sensor",
        "schedule_in_force",
        {
            "name": "Schedule in force",
            **shown,
            "device_class": "enum",
            "options": list(words),
            "value_template": _of("value_json.in_force", f"value_json.in_force in {list(words)}"),
            "entity_category": "diagnostic",
        },
    )
    for edge, name in (
        ("next_start", "Next scheduled start"),
        ("next_stop", "Next scheduled stop"),
    ):
        yield (
            "sensor",
            f"schedule_{edge}",
            {
                "name": name,
                **shown,
                "device_class": "timestamp",
                "value_template": _of(f"value_json.{edge}", f"value_json.{edge}"),
                "entity_category": "diagnostic",
                "enabled_by_default": False,
            },
        )
    allowed = set(commands)
    for kind in KINDS:
        command = f"{kind}_schedule"
        if command in allowed:
            target = topics.command(charger_id, command)
            head = {**shown, "command_topic": target, "retain": False, "qos": 1}
            yield from _controls(kind, head | {"entity_category": "config"}, max_current_a)


def _controls(kind: str, head: dict[str, object], max_current_a: int) -> Iterator[Described]:
    title, command = f"{kind.capitalize()} schedule", f"{kind}_schedule"
    yield (
        "switch",
        command,
        {
            "name": title,
            **head,
            "optimistic": False,
            "payload_on": "true",
            "payload_off": "false",
            "state_on": "ON",
            "state_off": "OFF",
            "value_template": (
                f"{{{{ 'None' if value_json is not defined else 'ON' if value_json.{kind} and"
                f" value_json.{kind}.enabled else 'OFF' }}}}"
            ),
        },
    )
    if kind == "weekly":
        return
    # The delayed one is rarely used beside the daily one.
    head = head if kind == "daily" else {**head, "enabled_by_default": False}
    for key in ("start", "stop") if kind == "daily" else ("start",):
        yield (
            "text",
            f"{command}_{key}",
            {
                "name": f"{title} {key}",
                **head,
                "pattern": _CLOCK,
                "min": 0,
                "max": _CLOCK_LENGTH,
                "command_template": f'{{"{key}": "{{{{ value }}}}", {_ZONE}}}',
                "value_template": _of_period(kind, key, ""),
            },
        )
    yield (
        "number",
        f"{command}_amps",
        {
            "name": f"{title} current",
            **head,
            "optimistic": False,
            "device_class": "current",
            "unit_of_measurement": "A",
            "min": MIN_CURRENT_A,
            "max": max_current_a,
            "step": 1,
            "mode": "box",
            "command_template": '{"amps": {{ value | int }}}',
            "value_template": _of_period(kind, "amps", "None"),
        },
    )


def _of(value: str, condition: str) -> str:
    return f"{{{{ {value} if value_json is defined and {condition} else 'None' }}}}"


def _of_period(kind: str, key: str, unknown: str) -> str:
    """Return a template of one value of the only period of a schedule."""
    schedule = f"value_json.{kind}"
    is_one = f"{schedule} and {schedule}.periods | length == 1"
    value = f"{schedule}.periods[0].{key}"
    return (
        f"{{{{ {value} if value_json is defined and {is_one} and {value} is defined"
        f" else '{unknown}' }}}}"
    )

"""Decides when discovery is published and cleared.

Rules:

1. A description is written when its content changed, when a charger appears, after the broker was
   reached, and after Home Assistant said that it came up, then after a delay of its own so that
   not everything speaks at once.
2. What the broker keeps of us is remembered over a restart, so that it can be taken away by a
   process that would never have written it: another form, another prefix, switched off.
3. Where the form changed, Home Assistant is told to hand its entities over before the new form
   comes, and the old one is emptied only after that: names and history stay. Each step waits for
   the broker's acknowledgements, and then for Home Assistant to be through with it: a description
   that comes while it still works on the one before is dropped there.
   Where the broker does not take a device in one message, and does take its parts, it gets these.
4. One device is described at a time, with a turn of the core for everything else in between: a
   description is 80 KB and two milliseconds. First each is described to find out what changed,
   then what changed is described again and published, one after the other.
5. A charger that left is not announced again, and its description stays as long as its values stay
   at the broker. Nothing is taken away before it is known which chargers there are.
"""

import hashlib
import hmac
import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec
from msgspec.structs import replace

from bridge.conventions.homeassistant.discovery_messages import (
    GATEWAY,
    Description,
    DeviceInfo,
    describe,
    encoded,
)
from bridge.conventions.homeassistant.entities import entities, equalizer_entities
from bridge.conventions.homeassistant.gateway_entities import gateway_entities, page_address
from bridge.core.delivery.outbox import REFUSED, SET_ASIDE, TOO_LARGE
from bridge.core.domain_events import (
    NOTHING,
    ChargerForgotten,
    ChargersAdded,
    ChargersListed,
    ChargersRemoved,
    EqualizerFirmware,
    EqualizersChanged,
    Input,
    ObservationApplied,
    OtherMessageReceived,
    Outputs,
    SettingsChanged,
)
from bridge.core.easee import roles
from bridge.core.easee.rest_responses import ChargerList
from bridge.core.easee.selection import Selection
from bridge.core.effects import Effect, LogEntry, SavePublishedDiscovery
from bridge.core.events import MqttAcked, MqttConnected, MqttDisconnected, Started, Tick
from bridge.core.messages import Publish, packet_bytes
from bridge.core.records.discovery_record import PublishedDiscovery
from bridge.core.records.moment import Timestamp
from bridge.core.subjects import Subject
from bridge.core.topics import HomeAssistantTopics, Topics
from bridge.settings import Settings

# Long enough for the first observations to arrive, so that one message says everything.
SETTLE_S = 3.0
# Home Assistant sends its birth message to all clients at once when it starts.
BIRTH_FIRST_S = 1.0
BIRTH_SPREAD_S = 4.0
# It unloads 200 entities in about a second on a fast machine.
HANDED_OVER_S = 5.0
BIRTH = b"online"
# The form in which each entity has a message of its own.
PARTS: Final = "component"
MIGRATE: Final = b'{"migrate_discovery":true}'

Step = list[Publish]


class Plan(msgspec.Struct):
    """What is left of a round of descriptions.

    Attributes:
        unseen: Devices that are not described yet.
        wanted: What the broker should have, of those that are.
        changed: Devices whose descriptions are to be published, in order.
        messages: How many are to be published.
        old: Topics that are emptied at the end.
        is_compared: Every device was described, and the end is known.
        is_handed_over: Home Assistant needs time before and after the new form.
    """

    unseen: deque[str]
    wanted: dict[str, PublishedDiscovery] = msgspec.field(default_factory=dict)
    changed: deque[str] = msgspec.field(default_factory=deque)
    messages: int = 0
    old: tuple[str, ...] = ()
    is_compared: bool = False
    is_handed_over: bool = False


class DiscoveryPublisher:
    """Publishes Home Assistant discovery of the chargers and Equalizers."""

    name = "homeassistant"
    interests = frozenset(
        {
            Started,
            MqttConnected,
            MqttDisconnected,
            OtherMessageReceived,
            ObservationApplied,
            ChargersListed,
            ChargersAdded,
            ChargersRemoved,
            ChargerForgotten,
            EqualizersChanged,
            EqualizerFirmware,
            SettingsChanged,
        }
    )

    def __init__(self, settings: Settings, *, version: str, salt: bytes) -> None:
        """Start without published discovery.

        Args:
            settings: The whole configuration.
            version: Of this program.
            salt: This installation's own; spreads the delays of installations.
        """
        own = settings.homeassistant
        self._is_on = own.enabled
        self._form = own.form
        self._commands = settings.commands
        self._selection = Selection.of(settings.publish)
        self._names = dict(settings.easee.names)
        # Of several partitions each describes its devices; who speaks for all, the gateway.
        cluster = settings.cluster
        self._has_gateway = cluster.partition is None
        self._has_devices = not (cluster.is_divided and self._has_gateway)
        self._topics = Topics.of(settings)
        self._places = HomeAssistantTopics(own.discovery_prefix, own.status_topic)
        self._version = version
        self._page = page_address(settings.http)
        self._salt = salt
        self._births = 0
        self._device_infos: dict[str, DeviceInfo] = {}
        self._products: dict[str, int] = {}
        # Chargers that left, and whose values are at the broker still.
        self._away: set[str] = set()
        # Whether the chargers are known well enough to say that one is none of ours.
        self._is_settled = bool(settings.easee.chargers) or not self._is_on
        self._kept: dict[str, PublishedDiscovery] = {}
        # Digests: a device's description is 80 KB, and only whether it changed is ever asked.
        self._sent: dict[str, bytes] = {}
        self._retired: dict[str, dict[str, str]] = {}
        self._migrated: set[str] = set()
        self._is_connected = False
        self._due_s: float | None = None
        self._plan: Plan | None = None
        self._pause_s = 0.0
        self._next_step_s: float | None = None
        self._awaited: set[tuple[str, bytes]] = set()
        self._broker_takes_bytes = math.inf  # by CONNACK
        self._learned_bytes = math.inf  # by what it did not take

    def handle(self, event: Input, now: Timestamp) -> Outputs:  # noqa: C901, PLR0912 - one case per event
        """Handle what changes discovery, acknowledgements of the broker, and ticks."""
        match event:
            case ObservationApplied(observation) if observation.spec.id == roles.FIRMWARE:
                self.firmware(observation.charger_id, str(observation.value), now)
            case MqttAcked(message, reason_code):
                return self.acked(message, reason_code, now)
            case OtherMessageReceived(message):
                self.handles(message.topic, message.payload, now)
            case ChargersListed(listed, decides):
                self.listed(listed, now, decides=decides)
            case ChargersAdded(charger_ids):
                self.add_chargers(charger_ids, now)
            case ChargersRemoved(charger_ids):
                self.leave(charger_ids)
            case EqualizersChanged(added=added, removed=removed):
                self.leave(removed)
                self.add_chargers(added, now, are_equalizers=True)
            case EqualizerFirmware(serial, release):
                self.firmware(serial, release, now)
            case ChargerForgotten(charger_id):
                self.forget(charger_id, now)
            case SettingsChanged(settings):
                self.reconfigure(settings, now)
            case MqttConnected():
                self.connected(now, event.largest_packet_bytes)
            case MqttDisconnected():
                self.disconnected()
            case Started(announced=announced, left=left):
                self.started(announced)
                self.leave(left)
            case Tick():
                return self.tick(now)
        return NOTHING

    @property
    def subscriptions(self) -> tuple[str, ...]:
        """Return the subscribed topics of Home Assistant."""
        return (self._places.status,) if self._is_on else ()

    # -- what happens -------------------------------------------------------------------------

    def started(self, kept: Mapping[str, PublishedDiscovery]) -> None:
        """Restore what an earlier process left at the broker."""
        self._kept = dict(kept)

    def add_chargers(
        self, charger_ids: tuple[str, ...], now: Timestamp, *, are_equalizers: bool = False
    ) -> None:
        """Add chargers, or Equalizers."""
        if not self._has_devices:
            return
        self._away.difference_update(charger_ids)
        for charger_id in charger_ids:
            device_info = DeviceInfo(
                charger_id,
                self._products.get(charger_id),
                name=self._names.get(charger_id, ""),
                is_equalizer=are_equalizers,
            )
            self._device_infos.setdefault(charger_id, device_info)
        self._want(now.mono_s + SETTLE_S)

    def listed(self, found: ChargerList, now: Timestamp, *, decides: bool) -> None:
        """Handle the account's list.

        Args:
            found: The chargers of the list.
            now: When it came.
            decides: No chargers are configured: the list determines which there are.
        """
        self._products = dict(found.products)
        for charger_id, device_info in self._device_infos.items():
            self._know(
                replace(device_info, product=found.products.get(charger_id, device_info.product)),
                now,
            )
        if decides and not self._is_settled:
            self._is_settled = True
            self._want(now.mono_s + SETTLE_S)

    def leave(self, charger_ids: Iterable[str]) -> None:
        """Stop publishing these chargers; their discovery at the broker stays for now."""
        for charger_id in charger_ids:
            self._device_infos.pop(charger_id, None)
            self._products.pop(charger_id, None)
            self._away.add(charger_id)

    def forget(self, charger_id: str, now: Timestamp) -> None:
        """Clear the discovery of a removed charger."""
        self._away.discard(charger_id)
        self._want(now.mono_s)

    def reconfigure(self, settings: Settings, now: Timestamp) -> None:
        """Set the allowed commands and the names of chargers."""
        self._commands = settings.commands
        self._names = dict(settings.easee.names)
        for charger_id, device_info in self._device_infos.items():
            self._know(replace(device_info, name=self._names.get(charger_id, "")), now)
        self._want(now.mono_s)

    def firmware(self, charger_id: str, release: str, now: Timestamp) -> None:
        """Set a charger's firmware release."""
        device_info = self._device_infos.get(charger_id)
        if device_info is not None:
            self._know(replace(device_info, firmware=release), now)

    def handles(self, topic: str, payload: bytes, now: Timestamp) -> bool:
        """Handle a message if it is Home Assistant's; return whether it was.

        A birth message that the broker kept is taken too: nothing tells it from one that was just
        published to be kept.
        """
        if topic not in self.subscriptions:
            return False
        if payload == BIRTH:
            self._births += 1
            self._sent.clear()
            self._want(now.mono_s + BIRTH_FIRST_S + BIRTH_SPREAD_S * self._draw(), later=True)
        return True

    def connected(self, now: Timestamp, largest_packet_bytes: int | None = None) -> None:
        """Publish everything again: the broker may have lost it.

        Args:
            now: When.
            largest_packet_bytes: The broker takes no larger packets; None: it named no limit.
        """
        self._is_connected = True
        self._broker_takes_bytes = largest_packet_bytes or math.inf
        self._sent.clear()
        self._want(now.mono_s + SETTLE_S)

    def disconnected(self) -> None:
        """Reset what was in progress; it starts again with the next connection."""
        self._is_connected = False
        self._plan = None
        self._next_step_s = None
        self._awaited.clear()

    def acked(self, message: Publish, reason_code: int, now: Timestamp) -> Iterator[Effect]:
        """Handle the broker's acknowledgement of a discovery message."""
        mark = (message.topic, message.payload)
        if mark not in self._awaited:
            return
        self._awaited.discard(mark)
        if reason_code < REFUSED:
            yield from self._took(message)
        elif reason_code in (TOO_LARGE, SET_ASIDE) and _size(message) <= self._largest_bytes:
            self._learned_bytes = _size(message) - 1
            self._want(now.mono_s)
        if not self._awaited and self._plan is not None:
            self._next_step_s = now.mono_s + self._pause_s

    def tick(self, now: Timestamp) -> Iterator[Effect]:
        """Publish what is due."""
        due_s = self.deadline_s()
        if due_s is None or now.mono_s < due_s:
            return
        if self._plan is None:
            self._due_s = None
            self._plan = Plan(self._devices())
        self._next_step_s = None
        yield from self._next_step(self._plan, now)

    def deadline_s(self) -> float | None:
        """Return when :meth:`tick` is due; None while acknowledgements are awaited."""
        if not self._is_connected or self._awaited:
            return None
        return self._due_s if self._next_step_s is None else self._next_step_s

    def explain(self, subject: Subject, now: Timestamp) -> Iterator[str]:
        """Say what the broker has of a topic of the discovery, and what is waited for."""
        topic = "/".join(filter(None, (subject.device, subject.branch, subject.name)))
        if topic == self._places.status:
            yield f"Home Assistant said {self._births} times that it came up"
        elif not topic.startswith(f"{self._places.prefix}/"):
            return
        elif not self._is_on:
            yield "discovery is switched off (homeassistant.enabled)"
        elif (kept := self._kept.get(topic)) is None:
            yield f"nothing is described there; the form is {self._form} (homeassistant.form)"
        elif topic in self._sent:
            yield f"the broker acknowledged the description of {kept.charger_id}"
        else:
            yield f"the description of {kept.charger_id} is to be published"
        if not self._is_connected:
            yield "the broker is not connected"
        elif not self._is_settled:
            yield "the account's list of chargers is waited for"
        elif self._awaited:
            yield f"{len(self._awaited)} descriptions wait for the broker's acknowledgement"
        elif self._due_s is not None:
            yield f"descriptions are published in {max(self._due_s - now.mono_s, 0):.0f} s"

    # -- how ----------------------------------------------------------------------------------

    def _know(self, device_info: DeviceInfo, now: Timestamp) -> None:
        if self._device_infos[device_info.charger_id] != device_info:
            self._device_infos[device_info.charger_id] = device_info
            self._want(now.mono_s + SETTLE_S)

    def _want(self, at_s: float, *, later: bool = False) -> None:
        """Schedule a check of everything; an earlier one stays, unless ``later``."""
        if self._is_on or self._kept:
            soonest = self._due_s is None or later or at_s < self._due_s
            self._due_s = at_s if soonest else self._due_s

    def _draw(self) -> float:
        """Return a number in [0, 1): different for each birth message and installation."""
        digest = hmac.digest(self._salt, b"birth %d" % self._births, "sha256")
        return int.from_bytes(digest[:4], "big") / 2**32

    def _devices(self) -> deque[str]:
        """Return what is to be described: first the gateway, the devices behind it refer to it."""
        if not self._is_on:
            return deque()
        return deque((*((GATEWAY,) if self._has_gateway else ()), *sorted(self._device_infos)))

    def _next_step(self, plan: Plan, now: Timestamp) -> Iterator[Effect]:
        """Describe the next device, or send the next messages and await their acknowledgement."""
        if plan.unseen:
            self._look_at(plan.unseen.popleft(), plan)
            self._next_step_s = now.mono_s
            return
        if not plan.is_compared:
            step = self._compared(plan)
            if step:
                yield from self._sent_out(step, HANDED_OVER_S)
                return
        while plan.changed:
            step = self._changes_of(plan.changed.popleft(), plan)
            if plan.messages:
                yield SavePublishedDiscovery(dict(self._kept))
                yield LogEntry("info", "homeassistant.announced", {"messages": plan.messages})
                plan.messages = 0
            if step:
                is_last = plan.is_handed_over and not plan.changed
                yield from self._sent_out(step, HANDED_OVER_S if is_last else 0.0)
                return
        self._plan = None
        yield from self._sent_out([self._emptied(topic) for topic in plan.old], 0.0)

    def _sent_out(self, step: Step, pause_s: float) -> Iterator[Effect]:
        """Send messages; the next ones follow so long after their acknowledgement."""
        self._awaited = {(message.topic, message.payload) for message in step}
        self._pause_s = pause_s
        yield from step

    def _look_at(self, device: str, plan: Plan) -> None:
        """Describe a device, and note what it changes."""
        if device != GATEWAY and device not in self._device_infos:
            return  # it left meanwhile
        description = self._described(device)
        step = self._announcements(description)
        plan.wanted |= description.published
        if step:
            plan.changed.append(device)
            plan.messages += len(step)

    def _compared(self, plan: Plan) -> Step:
        """Compare what is wanted with what the broker has; return what is to be handed over."""
        plan.is_compared = True
        seen = {published.charger_id for published in plan.wanted.values()}
        # A device that came meanwhile is described in a round of its own.
        unseen = self._device_infos.keys() - seen if self._is_on else set()
        plan.old = tuple(
            topic
            for topic, kept in self._kept.items()
            if topic not in plan.wanted and kept.charger_id not in unseen and self._may_go(kept)
        )
        step = self._handing_over(plan.old, plan.wanted)
        plan.is_handed_over = bool(step)
        for topic, published in plan.wanted.items():
            if published.charger_id in plan.changed:
                self._kept[topic] = published
        return step

    def _changes_of(self, device: str, plan: Plan) -> Step:
        """Describe a device again, and return what is to be published of it."""
        if device != GATEWAY and device not in self._device_infos:
            return []
        description = self._described(device)
        step = self._announcements(description)
        if any(self._kept.get(topic) != one for topic, one in description.published.items()):
            self._kept |= description.published
            plan.messages = plan.messages or len(step)
        return step

    def _emptied(self, topic: str) -> Publish:
        return Publish(topic, b"", owner=self.name)

    @property
    def _largest_bytes(self) -> float:
        return min(self._broker_takes_bytes, self._learned_bytes)

    def _gateway(self) -> Description:
        """Describe the gateway itself."""
        return describe(
            DeviceInfo(GATEWAY, firmware=self._version, page=self._page),
            gateway_entities(self._topics),
            form=self._form,
            topics=self._topics,
            places=self._places,
            version=self._version,
        )

    def _described(self, charger_id: str) -> Description:
        """Describe a device in the form that was asked for, or in parts where only these fit."""
        if charger_id == GATEWAY:
            return self._gateway()
        description = self._in_form(charger_id, self._form)
        if self._form == PARTS or self._fits(description):
            return description
        parts = self._in_form(charger_id, PARTS)
        return parts if self._fits(parts) else description

    def _in_form(self, charger_id: str, form: str) -> Description:
        device_info = self._device_infos[charger_id]
        return describe(
            device_info,
            equalizer_entities(charger_id, self._topics, self._commands, self._selection)
            if device_info.is_equalizer
            else entities(charger_id, self._topics, self._commands, self._selection),
            form=form,
            topics=self._topics,
            places=self._places,
            version=self._version,
        )

    def _fits(self, description: Description) -> bool:
        return self._largest_bytes == math.inf or all(
            _size(Publish(topic, encoded(document, {}))) <= self._largest_bytes
            for topic, document in description.documents.items()
        )

    def _may_go(self, kept: PublishedDiscovery) -> bool:
        is_known = self._is_settled or kept.charger_id in self._device_infos
        return is_known and kept.charger_id not in self._away

    def _handing_over(self, old: Iterable[str], wanted: Mapping[str, PublishedDiscovery]) -> Step:
        """Return the step that keeps entities whose discovery moves to another topic.

        Not retained: should we end right after it, the old description is still there.
        """
        forms = {kept.charger_id: bool(kept.components) for kept in wanted.values()}
        moving = []
        for topic in old:
            kept = self._kept[topic]
            other_form = forms.get(kept.charger_id, bool(kept.components)) != bool(kept.components)
            if other_form and topic not in self._migrated:
                self._migrated.add(topic)
                moving.append(Publish(topic, MIGRATE, retained=False, owner=self.name))
        return moving

    def _announcements(self, description: Description) -> Step:
        """Return the messages of a description that the broker does not have."""
        step, wanted = [], description.published
        for topic, document in description.documents.items():
            before = self._kept.get(topic, wanted[topic]).components
            retired = self._retired.setdefault(topic, {})
            now_there = wanted[topic].components
            retired |= {key: before[key] for key in before.keys() - now_there.keys()}
            payload = encoded(document, {k: p for k, p in retired.items() if k not in now_there})
            if self._sent.get(topic) != _digest(payload):
                step.append(Publish(topic, payload, owner=self.name))
        return step

    def _took(self, message: Publish) -> Iterator[Effect]:
        if message.payload == MIGRATE:
            return
        if message.payload:
            self._sent[message.topic] = _digest(message.payload)
            return
        self._kept.pop(message.topic, None)
        self._sent.pop(message.topic, None)
        self._retired.pop(message.topic, None)
        self._migrated.discard(message.topic)
        if all(payload for _topic, payload in self._awaited):
            yield SavePublishedDiscovery(dict(self._kept))
            yield LogEntry("info", "homeassistant.removed", {"left": len(self._kept)})


def _size(message: Publish) -> int:
    return packet_bytes(message, properties=True)


def _digest(payload: bytes) -> bytes:
    return hashlib.sha256(payload).digest()

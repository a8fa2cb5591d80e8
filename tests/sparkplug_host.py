"""A Sparkplug host, written to the specification: it believes nothing that breaks a rule."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from bridge.conventions.sparkplug.payload import (
    DataType,
    Metric,
    Payload,
    decode,
    encode,
    encode_metric,
)

BIRTH_KINDS = ("NBIRTH", "DBIRTH")


@dataclass
class Member:
    """What the host knows of the node or of a device."""

    is_alive: bool = False
    names: dict[int, str] = field(default_factory=dict)
    types: dict[str, int] = field(default_factory=dict)
    values: dict[str, object] = field(default_factory=dict)
    times: dict[str, int] = field(default_factory=dict)
    quality: dict[str, int] = field(default_factory=dict)
    properties: dict[str, dict[str, object]] = field(default_factory=dict)


@dataclass
class Report:
    """A session report as it arrived."""

    charger_id: str
    fields: dict[str, object]
    is_historical: bool

    @property
    def key(self) -> object:
        """Its key."""
        return self.fields["Session/key"]


class SparkplugHost:
    """One host that follows one node.

    Attributes:
        violations: Each rule of the specification that a message broke.
        gaps: How often a sequence number was missing.
        reports: Every session report, in the order of arrival.
        events: Kind and device of every message that was believed.
        node, devices: What is known.
    """

    def __init__(self, group: str, node: str, ask: Callable[[str, bytes], object]) -> None:
        """Start without knowing the node.

        Args:
            group: Of the node.
            node: Its name.
            ask: Publishes a command: topic and payload.
        """
        self.group, self.name, self._ask = group, node, ask
        self.violations: list[str] = []
        self.reports: list[Report] = []
        self.results: list[tuple[str, str, object, dict[str, object]]] = []
        self.events: list[tuple[str, str]] = []
        self.gaps = 0
        self.node = Member()
        self.devices: dict[str, Member] = {}
        self.bdseq: int | None = None
        self._next = 0
        self._is_following = False
        self._newest_ms: dict[str, int] = {}

    # -- asking ----------------------------------------------------------------------------------

    def rebirth(self, now_ms: int = 1) -> None:
        """Request a rebirth."""
        metric = Metric("Node Control/Rebirth", None, now_ms, DataType.BOOLEAN, True)
        self._send(f"spBv1.0/{self.group}/NCMD/{self.name}", metric, now_ms)

    def write(self, device: str, name: str, value: object, now_ms: int = 1) -> None:
        """Write a metric of a device, by its alias where it has one."""
        member = self.devices[device]
        alias = next((one for one, known in member.names.items() if known == name), None)
        kind = DataType(member.types[name])
        metric = Metric("" if alias else name, alias, now_ms, kind, value)
        self._send(f"spBv1.0/{self.group}/DCMD/{self.name}/{device}", metric, now_ms)

    def _send(self, topic: str, metric: Metric, now_ms: int) -> None:
        self._ask(topic, encode(now_ms, [encode_metric(metric)], None))

    # -- listening -------------------------------------------------------------------------------

    def feed(self, topic: str, data: bytes) -> None:
        """Handle a message of the node."""
        namespace, group, kind, node, *rest = topic.split("/")
        if (namespace, group, node) != ("spBv1.0", self.group, self.name) or kind.endswith("CMD"):
            return
        device = rest[0] if rest else ""
        if (kind[0] == "D") != bool(device):
            self._broken(f"{kind} with device {device!r}")
        payload = decode(data)
        if kind == "NDEATH":
            self._node_death(payload)
            return
        if not self._in_order(kind, payload):
            return
        self.events.append((kind, device))
        member = self.node if not device else self.devices.setdefault(device, Member())
        if kind in BIRTH_KINDS:
            self._birth(kind, member, payload)
        elif kind == "DDEATH":
            if not member.is_alive:
                self._broken("DDEATH of a device that is not born")
            member.is_alive = False
        elif kind in ("NDATA", "DDATA"):
            self._data(device, member, payload)
        else:
            self._broken(f"message type {kind}")

    def _broken(self, what: str) -> None:
        self.violations.append(what)

    def _node_death(self, payload: Payload) -> None:
        if payload.seq is not None or [one.name for one in payload.metrics] != ["bdSeq"]:
            self._broken("NDEATH carries more than bdSeq")
        if payload.metrics[0].value == self.bdseq:
            self.events.append(("NDEATH", ""))
            self._is_following = False
            self.node.is_alive = False
            for member in self.devices.values():
                member.is_alive = False

    def _in_order(self, kind: str, payload: Payload) -> bool:
        """Return whether a message is the next one; after a gap only a birth of the node is."""
        if payload.timestamp is None:
            self._broken(f"{kind} without a timestamp")
        if kind == "NBIRTH":
            if payload.seq != 0:
                self._broken(f"NBIRTH with seq {payload.seq}")
            self._is_following, self._next = True, 1
            return True
        if not self._is_following:
            self.rebirth()
            return False
        if payload.seq != self._next:
            self.gaps += 1
            self._is_following = False
            self.rebirth()
            return False
        self._next = (self._next + 1) % 256
        return True

    def _birth(self, kind: str, member: Member, payload: Payload) -> None:
        aliases = [one.alias for one in payload.metrics if one.alias is not None]
        others = {
            alias
            for other in (self.node, *self.devices.values())
            if other is not member
            for alias in other.names
        }
        if len(set(aliases)) < len(aliases) or others & set(aliases):
            self._broken(f"{kind}: an alias is not unique")
        for one in payload.metrics:
            if not one.name or one.datatype is None or one.timestamp is None:
                self._broken(f"{kind}: {one.name or one.alias} lacks name, type or timestamp")
        names = [one.name.lower() for one in payload.metrics]
        if len(set(names)) < len(names):
            self._broken(f"{kind}: two names differ in their case only")
        member.__init__()
        member.is_alive = True
        member.names = {one.alias: one.name for one in payload.metrics if one.alias is not None}
        member.types = {one.name: one.datatype or 0 for one in payload.metrics}
        self._ordered(payload.metrics)
        for one in payload.metrics:
            self._store(member, one.name, one)
        if kind == "NBIRTH":
            self._node_birth(member, payload)

    def _node_birth(self, member: Member, payload: Payload) -> None:
        self.devices.clear()
        found = {one.name: one for one in payload.metrics}
        control = found.get("Node Control/Rebirth")
        if control is None or control.value is not False or control.alias is not None:
            self._broken("NBIRTH without a plain Node Control/Rebirth")
        if "bdSeq" not in found:
            self._broken("NBIRTH without bdSeq")
        self.bdseq = member.values["bdSeq"]

    def _data(self, device: str, member: Member, payload: Payload) -> None:
        if not member.is_alive:
            self._broken("data of what is not born")
            return
        fields: dict[str, object] = {}
        self._ordered(one for one in payload.metrics if not one.is_historical)
        for one in payload.metrics:
            if one.timestamp is None or (one.alias is None) != bool(one.name):
                self._broken("data without a timestamp, or not with either name or alias")
            if one.name and member.names:
                self._broken("data with a name, where the birth has aliases")
            name = one.name or member.names.get(one.alias or 0)
            if name not in member.types:
                self._broken(f"{name or one.alias} was not born")
                continue
            if name.startswith("Session/"):
                fields[name] = one.value
            if not one.is_historical:
                self._store(member, name, one)
            if name.startswith("Result/"):
                properties = {key: value for key, _, value in one.properties}
                self.results.append((device, name, one.value, properties))
        if fields:
            self.reports.append(Report(device, fields, payload.metrics[0].is_historical))

    def _ordered(self, metrics: Iterable[Metric]) -> None:
        times = [one.timestamp or 0 for one in metrics if one.name not in BOUND]
        if times != sorted(times):
            self._broken("metrics are not in chronological order")

    def _store(self, member: Member, name: str, metric: Metric) -> None:
        member.values[name] = metric.value
        member.times[name] = metric.timestamp or 0
        properties = {key: value for key, _, value in metric.properties}
        member.properties.setdefault(name, {}).update(properties)
        if "Quality" in properties:
            if properties["Quality"] not in (0, 192, 500):
                self._broken(f"quality {properties['Quality']}")
            member.quality[name] = int(str(properties["Quality"]))


# What every NBIRTH begins with.
BOUND = ("bdSeq", "Node Control/Rebirth")

"""The edge node: what goes out over its connection, in order, with sequence numbers.

Rules:

1. A message is made when it is sent, so its sequence number is one more than that of the message
   before it, and it carries the newest values.
2. A session begins with the birth of the node and of every device, also of those that are not
   available; their deaths follow. Nothing goes out before, and nothing without the primary host.
3. A device is born again when it has a new metric, and the whole node when the host asks for it or
   begins another session. What changes while a device is dead is in its next birth.
4. A report of a device that is dead is sent all the same: it is born with bad quality, and dies
   again behind its reports.
5. When the primary host goes offline the node dies and connects anew, with the next ``bdSeq``.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from bridge.conventions.convention import EndConnection
from bridge.conventions.sparkplug.commands import commands_of
from bridge.conventions.sparkplug.device import Aliases, Device, Reading
from bridge.conventions.sparkplug.metrics import (
    BDSEQ,
    NODE_TYPES,
    REBIRTH,
    REPORTS,
    SESSION,
    SESSION_TYPES,
    MetricType,
    converted,
    milliseconds,
)
from bridge.conventions.sparkplug.payload import DataType, Metric, decode, encode, encode_metric
from bridge.conventions.sparkplug.primary_host import PrimaryHost
from bridge.conventions.sparkplug.reports import ReportQueue
from bridge.core.addressees import CHARGER, Kind
from bridge.core.events import MqttMessage
from bridge.core.messages import Publish
from bridge.core.records.moment import Timestamp
from bridge.core.records.stored_report import StoredReport
from bridge.core.requests import IncomingRequest
from bridge.core.session_documents import stored_fields
from bridge.core.topics import SPARKPLUG_NAMESPACE, SparkplugTopics
from bridge.settings import SparkplugSettings

LINK: Final = "sparkplug"
# Both numbers are of one byte.
WRAP = 256


class EdgeNode:
    """The node with its devices; :class:`~bridge.conventions.convention.Session` of the convention.

    Attributes:
        devices: By charger.
        reports: What is owed to the host.
        topics: Of the node.
    """

    def __init__(self, settings: SparkplugSettings) -> None:
        """Start without a connection and without devices.

        Args:
            settings: Group, node and primary host.
        """
        self.devices: dict[str, Device] = {}
        self.reports = ReportQueue()
        self.topics = SparkplugTopics(settings.group_id, settings.edge_node_id, settings.host_id)
        self._host = PrimaryHost(settings.host_id)
        self._aliases = Aliases(are_used=settings.aliases)
        self._own = Device(0, NODE_TYPES, self._aliases)
        self._own.is_online = True
        self._types: Mapping[Kind, Mapping[str, MetricType]] = {}
        self._kinds: dict[str, Kind] = {}
        self._numbers: dict[str, int] = {}
        self._bdseq = -1
        self._seq = 0
        self._is_up = self._is_barred = False
        # Of the births of this connection: the session of the host they were for.
        self._session: int | None = None
        self._wants_birth = False
        self._births: deque[str] = deque()
        self._reports_of: int | None = None
        # Devices that may have something to say.
        self._due: dict[str, None] = {}

    # -- what is known ---------------------------------------------------------------------------

    def set_types(self, types: Mapping[Kind, Mapping[str, MetricType]]) -> None:
        """Replace the metrics that every device of a kind has."""
        self._types = types
        for charger_id in self.devices:
            self.device(charger_id).replace_types(types[self._kind_of(charger_id)])

    def set_kind(self, charger_id: str, kind: Kind) -> None:
        """Set the kind of a device; without it a device is a charger."""
        if self._kind_of(charger_id) != kind:
            self._kinds[charger_id] = kind
            if charger_id in self.devices:
                self.device(charger_id).replace_types(self._types[kind])

    def _kind_of(self, charger_id: str) -> Kind:
        return self._kinds.get(charger_id, CHARGER)

    def device(self, charger_id: str) -> Device:
        """Return a device that is going to change; it is added where it is a new one."""
        device = self.devices.get(charger_id)
        if device is None:
            # A device that comes again keeps its aliases.
            number = self._numbers.setdefault(charger_id, len(self._numbers) + 1)
            types = self._types[self._kind_of(charger_id)]
            device = self.devices[charger_id] = Device(number, types, self._aliases)
        device.is_gone = False
        self._due[charger_id] = None
        return device

    def remove(self, charger_id: str) -> None:
        """Forget a device, once the host was told of its death."""
        device = self.devices.get(charger_id)
        if device is not None:
            device.is_online, device.is_gone = False, True
            self._due[charger_id] = None

    def set(self, name: str, value: str | int, now: Timestamp) -> None:
        """Set a metric of the node."""
        self._own.set(name, value, milliseconds(now.wall), NODE_TYPES[name])

    # -- the connection --------------------------------------------------------------------------

    def will(self, now: Timestamp) -> Publish:
        """Return the death of the node of the next connection."""
        self._bdseq = (self._bdseq + 1) % WRAP
        return self.farewell(now)

    def farewell(self, now: Timestamp) -> Publish:
        """Return the death of the node of this connection."""
        now_ms = milliseconds(now.wall)
        payload = encode(now_ms, [self._bdseq_metric(now_ms)], None)
        return Publish(self.topics.of("NDEATH"), payload, retained=False, qos=1, link=LINK)

    def connected(self, _now: Timestamp) -> None:
        """Handle a connection: the births are due as soon as the host is there."""
        self._is_up = True

    def disconnected(self, _now: Timestamp) -> None:
        """Handle the end of the connection, and with it of the session."""
        self._is_up = self._is_barred = self._wants_birth = False
        self._session = self._reports_of = None
        self._births.clear()
        self._host.disconnected()
        self.reports.end()
        for device in self.devices.values():
            device.is_barred = False

    def received(self, message: MqttMessage, _now: Timestamp) -> Iterable[IncomingRequest]:
        """Handle a STATE of the host, a rebirth request, or commands.

        Raises:
            DecodeError: It cannot be read.
        """
        if message.topic == self.topics.state:
            self._host.told(message.payload)
            return ()
        payload = decode(message.payload)
        if message.topic == self.topics.of("NCMD"):
            is_asked = any(one.name == REBIRTH and one.value is True for one in payload.metrics)
            # A retained request would come with every connection, which begins with births anyway.
            if is_asked and not message.retained:
                self._wants_birth = True
                self.reports.again()
            return ()
        charger_id = message.topic.removeprefix(self.topics.of("DCMD", ""))
        device = self.devices.get(charger_id)
        return tuple(commands_of(payload, charger_id, {} if device is None else device.names()))

    def deadline_s(self) -> float | None:
        """Return when reports are due or count as delivered, or None."""
        return self.reports.deadline_s()

    def delivered(self, now: Timestamp) -> tuple[tuple[str, int], ...]:
        """Return the reports that the host has from now on."""
        return self.reports.delivered(now.mono_s)

    def explain(self, topic: str) -> Iterator[str]:
        """Say why a topic of the node has messages, or none."""
        namespace, _, rest = topic.partition("/")
        if namespace != SPARKPLUG_NAMESPACE:
            return
        yield f"the connection of the node to the broker is {'made' if self._is_up else 'lost'}"
        yield from self._host.explain(self.topics.host)
        if self._is_barred:
            yield "its birth could not be sent: it is larger than the broker takes"
        _, _, charger_id = rest.partition(f"/{self.topics.node}/")
        device = self.devices.get(charger_id)
        if device is not None:
            born = "born" if device.is_born else "not born, or dead"
            yield f"{charger_id} is {'online' if device.is_online else 'offline'}, and {born}"
            if charger_id in self._due and device.has_news:
                yield "newer values of it wait to be sent"
        elif charger_id:
            yield f"{charger_id} is no device of the node"

    # -- one message after the other -------------------------------------------------------------

    def take(self, now: Timestamp) -> Publish | EndConnection | None:
        """Return what is to be sent next; see the rules."""
        if not self._is_up or self._is_barred:
            return None
        if not self._host.is_online:
            if self._session is None:
                return None
            self.disconnected(now)
            return EndConnection(self.farewell(now), "the primary host is offline")
        if self._session != self._host.session or self._wants_birth:
            return self._birth(now)
        while self._births:
            device = self.devices.get(charger_id := self._births.popleft())
            if device is not None and not device.is_born:
                return self._device_birth(charger_id, device, now)
        if self._own.has_news:
            return self._message("NDATA", "", self._own.data(), now)
        while self._due:
            charger_id = next(iter(self._due))
            if (message := self._of_device(charger_id, now)) is not None:
                return message
            del self._due[charger_id]
        return self._report(now)

    def unsent(self, message: Publish) -> None:
        """Handle a message that can never be sent: its sequence number is free again."""
        self._seq = (self._seq - 1) % WRAP
        kind, charger_id = message.topic.split("/")[2], message.topic.rpartition("/")[2]
        if kind == "NBIRTH":
            self._is_barred = True
        elif kind == "DBIRTH":
            self.devices[charger_id].is_born = False
            self.devices[charger_id].is_barred = True

    def _birth(self, now: Timestamp) -> Publish:
        self._wants_birth = False
        self._session = self._host.session
        self._births = deque(self.devices)
        self._due = dict.fromkeys(self.devices)
        for device in self.devices.values():
            device.is_born = device.was_born = False
        if self._reports_of != self._session:
            self._reports_of = self._session
            self.reports.begin()
        self._seq = 0
        now_ms = milliseconds(now.wall)
        control = Metric(REBIRTH, None, now_ms, DataType.BOOLEAN, False)
        metrics = [self._bdseq_metric(now_ms), encode_metric(control)]
        return self._message("NBIRTH", "", metrics + self._own.birth(now_ms), now)

    def _of_device(self, charger_id: str, now: Timestamp) -> Publish | None:
        """Return the next message of a device besides its reports, or None."""
        device = self.devices.get(charger_id)
        if device is None or device.is_barred:
            return None
        if not device.is_born:
            if device.is_gone:
                del self.devices[charger_id]
                return None
            is_due = device.is_online or not device.was_born or self.reports.waits(charger_id)
            return self._device_birth(charger_id, device, now) if is_due else None
        if device.has_news:
            return self._message("DDATA", charger_id, device.data(), now)
        if device.is_online or self.reports.waits(charger_id):
            return None
        device.is_born = False
        return self._message("DDEATH", charger_id, [], now)

    def _device_birth(self, charger_id: str, device: Device, now: Timestamp) -> Publish:
        return self._message("DBIRTH", charger_id, device.birth(milliseconds(now.wall)), now)

    def _report(self, now: Timestamp) -> Publish | None:
        stored = self.reports.first(now.mono_s)
        if stored is None:
            if (count := self.reports.probe(now.mono_s)) is None:
                return None
            self.set(REPORTS, count, now)
            return self._message("NDATA", "", self._own.data(), now)
        charger_id = stored.report.charger_id
        device = self.devices.get(charger_id)
        if device is None:
            device = self.device(charger_id)
            device.is_gone = True
        self._due[charger_id] = None
        if not device.is_born and not device.is_barred:
            return self._device_birth(charger_id, device, now)
        is_late = self.reports.send(now.mono_s)
        readings = report_readings(stored)
        device.remember(readings)
        return self._message("DDATA", charger_id, device.historical(readings, is_late=is_late), now)

    def _bdseq_metric(self, now_ms: int) -> bytes:
        metric = Metric(BDSEQ, None, now_ms, DataType.INT64, self._bdseq)
        return encode_metric(metric)

    def _message(self, kind: str, charger_id: str, metrics: list[bytes], now: Timestamp) -> Publish:
        payload = encode(milliseconds(now.wall), metrics, self._seq)
        self._seq = (self._seq + 1) % WRAP
        topic = self.topics.of(kind, charger_id) if charger_id else self.topics.of(kind)
        return Publish(topic, payload, retained=False, qos=0, link=LINK)


def report_readings(stored: StoredReport) -> dict[str, Reading]:
    """Return the readings of a report by metric, all as of its end."""
    at_ms = milliseconds(stored.report.at)
    return {
        SESSION + name: Reading(
            None if value is None else converted(value, SESSION_TYPES[name].datatype), at_ms
        )
        for name, value in stored_fields(stored)
        if name in SESSION_TYPES
    }

"""A simulated broker, and the way to it.

What a broker promises is kept, and nothing more: an acknowledged message is in its memory; what was
in memory when it was killed is lost as far as it was not written down; a session lives as long as
was asked for; what was not acknowledged is delivered again, with the DUP flag.
"""

import itertools
import random
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from paho.mqtt.client import topic_matches_sub

from bridge.core.events import MqttMessage
from bridge.core.messages import AckToken, Publish
from bridge.core.topics import Topics
from bridge.errors import ConnectionLost
from tests.simulation.engine import Timeline

NO_SUBSCRIBERS = 0x10
NOT_AUTHORIZED = 0x87
KEEPALIVE_S = 20.0
SNAPSHOT_EVERY_S = 1800.0
RECEIVE_MAXIMUM = 20


@dataclass(slots=True, eq=False)
class Inbound:
    """A message on its way from somebody to the gateway.

    Attributes:
        on_delivered: Told each time the gateway has it, with the flag of a repetition.
        on_acked: Told when the broker has our acknowledgement.
    """

    topic: str
    payload: bytes
    retained: bool = False
    response_topic: str | None = None
    expires_s: float | None = None
    sent_over: int = 0
    on_delivered: Callable[[bool], None] = lambda _duplicate: None
    on_acked: Callable[[], None] = lambda: None


@dataclass(slots=True)
class Memory:
    """What a broker keeps, and may have written down."""

    retained: dict[str, bytes] = field(default_factory=dict)
    session: bool = False
    inbound: OrderedDict[int, Inbound] = field(default_factory=OrderedDict)
    reports: list[bytes] = field(default_factory=list)

    def copy(self) -> "Memory":
        return Memory(
            dict(self.retained),
            self.session,
            OrderedDict(self.inbound),
            list(self.reports),
        )


@dataclass(slots=True, eq=False)
class Wire:
    """One connection between the gateway and the broker.

    Attributes:
        epoch: Its number, over all processes.
        open: Both sides have it.
        half_open: Nothing comes through any more, and nobody knows.
        deaf: The broker takes everything on it, and hands nothing on.
        lag_s: What it takes longer for now.
    """

    epoch: int
    open: bool = True
    half_open: bool = False
    deaf: bool = False
    lag_s: float = 0.0
    up_s: float = 0.0
    down_s: float = 0.0
    deliver: Callable[[MqttMessage], None] = lambda _message: None
    acked: Callable[[Publish, int], None] = lambda _message, _reason: None
    values_acked: Callable[[list[tuple[Publish, int]]], None] = lambda _acked: None
    lost: Callable[[str], None] = lambda _reason: None


class Broker:
    """One broker, its consumer of session reports, and the gateway's session.

    Attributes:
        is_up: It runs.
        refuses: It answers publications below these topics with "not authorized".
        consumer_there: The consumer of reports is connected.
        consumer_subscribed: The broker keeps a queue for it.
        consumer_back_s: When it subscribed last.
        wire: The gateway's connection as the broker sees it.
        value_connection: Its connection for values.
        connections: When each of the process that lives now was made.
    """

    def __init__(
        self,
        timeline: Timeline,
        rng: random.Random,
        topics: Topics,
        *,
        protocol: str,
        session_expiry_s: float,
        on_publish: Callable[[str, bytes, bool], None],
        on_report: Callable[[bytes], None],
    ) -> None:
        self._timeline = timeline
        self._rng = rng
        self._topics = topics
        self.protocol = protocol
        self.session_expiry_s = session_expiry_s if protocol == "5" else 0.0
        self._on_publish = on_publish
        self._on_report = on_report
        self.memory = Memory()
        self._written = Memory()
        self.is_up = True
        self.refuses: str | None = None
        self.consumer_there = True
        self.consumer_subscribed = True
        self.consumer_back_s = 0.0
        self.wire: Wire | None = None
        self.value_connection: Wire | None = None
        self.connections: list[float] = []
        self._epochs = 0
        self._gone_s: float | None = None
        self._serving = False
        timeline.later(SNAPSHOT_EVERY_S, self._autosave)

    @property
    def retained(self) -> dict[str, bytes]:
        """What it keeps of every topic."""
        return self.memory.retained

    # -- its life ------------------------------------------------------------------------------

    def _autosave(self) -> None:
        if self.is_up:
            self.write_down()
        self._timeline.later(SNAPSHOT_EVERY_S, self._autosave)

    def write_down(self) -> None:
        """Write its memory down."""
        self._written = self.memory.copy()

    def stop(self, *, remembers: str, back_in_s: float) -> None:
        """End it.

        Args:
            remembers: ``all`` (a clean stop), ``written`` (killed) or ``nothing``.
            back_in_s: When it runs again.
        """
        if not self.is_up:
            return
        self.is_up = False
        if self.value_connection is not None:
            connection, self.value_connection = self.value_connection, None
            self._cut(connection, "the broker went away")
        if self.wire is not None:
            wire, self.wire = self.wire, None
            self._cut(wire, "the broker went away")
        if remembers == "all":
            self.write_down()
        elif remembers == "nothing":
            self._written = Memory()
        self._gone_s = self._timeline.now_s
        self._timeline.later(back_in_s, self._start)

    def _start(self) -> None:
        self.is_up = True
        self.memory = self._written.copy()
        if self.memory.session:
            self._gone_s = self._timeline.now_s
        self._serve_consumer()

    # -- the gateway's connections -------------------------------------------------------------

    def connect(self, wire_made: Callable[[Wire, bool], None]) -> None:
        """Take a connection; the caller has waited for the way already.

        Raises:
            ConnectionLost: Nobody is there.
        """
        if not self.is_up:
            raise ConnectionLost("connection refused")
        if self.wire is not None:
            old, self.wire = self.wire, None
            self._cut(old, "taken over")
            self._will()
        self._epochs += 1
        self.connections.append(self._timeline.now_s)
        wire = Wire(self._epochs)
        present = self._session_present()
        if not present:
            self.memory.inbound.clear()
        self.memory.session = self.session_expiry_s > 0
        self.wire = wire
        wire_made(wire, present)
        waiting = list(self.memory.inbound.items())
        for topic, payload in list(self.retained.items()):
            if self._is_echo(topic) or (self._is_command(topic) and not present):
                self._enqueue(Inbound(topic, payload, retained=True))
        for mid, message in waiting:
            self._send(wire, mid, message)

    def subscribed_again(self, topic_filter: str) -> None:
        """Send what is kept of commands once more."""
        for topic, payload in list(self.retained.items()):
            if self._is_command(topic) and topic_matches_sub(topic_filter, topic):
                self._enqueue(Inbound(topic, payload, retained=True))

    def _session_present(self) -> bool:
        if not self.memory.session:
            return False
        return self._gone_s is None or self._timeline.now_s - self._gone_s <= self.session_expiry_s

    def drop(self, reason: str, *, will: bool = True) -> None:
        """End the gateway's connection."""
        wire, self.wire = self.wire, None
        if wire is None:
            return
        self._gone_s = self._timeline.now_s
        self._cut(wire, reason)
        if will:
            self._will()

    def half_open(self) -> None:
        """Let nothing through any more; both sides find out by their keepalive."""
        wire = self.wire
        if wire is None:
            return
        wire.half_open = True

        def broker_notices() -> None:
            if self.wire is wire:
                self.wire = None
                self._gone_s = self._timeline.now_s
                self._will()

        self._timeline.later(1.5 * KEEPALIVE_S, broker_notices)
        self._timeline.later(2 * KEEPALIVE_S, lambda: self._cut(wire, "no ping answer"))

    def gateway_died(self) -> None:
        """Take the end of the gateway's process: its socket closes."""
        self.connections.clear()
        if self.value_connection is not None:
            self.value_connection.open = False
        wire, self.wire = self.wire, None
        if wire is not None:
            wire.open = False
            self._gone_s = self._timeline.now_s
            self._timeline.later(0.01, self._will)

    def dropped_by_us(self, wire: Wire, reason: str) -> None:
        """Take the end of a connection the gateway has no use for."""
        if self.wire is wire:
            self.drop(reason)
        else:
            self._cut(wire, reason)

    def goodbye(self, wire: Wire) -> None:
        """Take a DISCONNECT: no will."""
        if self.wire is wire:
            self.wire = None
            self._gone_s = self._timeline.now_s
        self._cut(wire, "closed by us")

    def _cut(self, wire: Wire, reason: str) -> None:
        if wire.open:
            wire.open = False
            wire.lost(reason)

    def _will(self) -> None:
        if self.is_up:
            self._keep(self._topics.bridge_state, b"offline", retained=True, local=False)

    # -- the connection for values ---------------------------------------------------------------

    def connect_values(self) -> Wire:
        """Take a connection for values; an older one is over for certain.

        Raises:
            ConnectionLost: Nobody is there.
        """
        if not self.is_up:
            raise ConnectionLost("connection refused")
        self.value_connection = Wire(0)
        return self.value_connection

    def up_values(self, wire: Wire, messages: Sequence[Publish]) -> None:
        """Let values go up, in one piece or two; they may arrive although we gave it up."""
        cut = self._rng.randrange(len(messages))
        for piece in (messages[:cut], messages[cut:]):
            if piece:
                self._up_values(wire, piece)

    def _up_values(self, wire: Wire, messages: Sequence[Publish]) -> None:
        at_s = max(wire.up_s, self._timeline.now_s + wire.lag_s + self._rng.uniform(0.002, 0.05))
        wire.up_s = at_s

        def come() -> None:
            if wire is self.value_connection and self.is_up:
                acked = [(message, self._take_value(message)) for message in messages]
                self._down(wire, lambda: wire.values_acked(acked))

        self._timeline.later(at_s - self._timeline.now_s, come)

    def _take_value(self, message: Publish) -> int:
        reason = self._refusal(message)
        if not reason:
            self._keep(message.topic, message.payload, retained=message.retained, local=True)
        return reason

    def end_values(self, reason: str) -> None:
        """Let the gateway lose its connection for values; what is on the way may still come."""
        if self.value_connection is not None:
            self._cut(self.value_connection, reason)

    # -- what comes from the gateway -----------------------------------------------------------

    def up(self, wire: Wire, arrive: Callable[[], None]) -> None:
        """Let something go up a wire; it arrives in order, or not at all."""
        at_s = max(wire.up_s, self._timeline.now_s + wire.lag_s + self._rng.uniform(0.002, 0.05))
        wire.up_s = at_s

        def come() -> None:
            if wire is self.wire and wire.open and not wire.half_open:
                arrive()

        self._timeline.later(at_s - self._timeline.now_s, come)

    def _down(self, wire: Wire, arrive: Callable[[], None]) -> None:
        at_s = max(wire.down_s, self._timeline.now_s + wire.lag_s + self._rng.uniform(0.002, 0.05))
        wire.down_s = at_s

        def come() -> None:
            if wire.open and not wire.half_open:
                arrive()

        self._timeline.later(at_s - self._timeline.now_s, come)

    def received(self, wire: Wire, message: Publish) -> None:
        """Take a publication of the gateway's, and acknowledge it."""
        reason = self._refusal(message)
        if not reason:
            self._keep(message.topic, message.payload, retained=message.retained, local=True)
            if message.topic == self._topics.bridge_heartbeat and not wire.deaf:
                flag = message.retained and self.protocol == "5"
                ack_token = AckToken(wire.epoch, 0, 0)
                heard = MqttMessage(message.topic, message.payload, ack_token, retained=flag)
                self._down(wire, lambda: wire.deliver(heard))
            if message.topic.endswith("/session/report") and not self.consumer_subscribed:
                reason = NO_SUBSCRIBERS if self.protocol == "5" else 0
        self._down(wire, lambda: wire.acked(message, reason))

    def _refusal(self, message: Publish) -> int:
        refused = self.refuses is not None and message.topic.startswith(self.refuses)
        return NOT_AUTHORIZED if refused and self.protocol == "5" else 0

    def acknowledged(self, wire: Wire, mid: int) -> None:
        """Take a PUBACK."""
        message = self.memory.inbound.pop(mid, None)
        if message is not None:
            message.on_acked()

    def _keep(self, topic: str, payload: bytes, *, retained: bool, local: bool) -> None:
        if retained and payload:
            self.retained[topic] = payload
        elif retained:
            self.retained.pop(topic, None)
        if local:
            self._on_publish(topic, payload, retained)
        # MQTT 3.1.1 knows no way to decline what one says oneself.
        heard = not local or self.protocol != "5"
        concerns_us = self._is_echo(topic) or self._is_command(topic)
        if heard and self.wire is not None and concerns_us:
            self._enqueue(Inbound(topic, payload, retained=retained and self.protocol == "5"))
        is_deaf = self.wire is not None and self.wire.deaf
        if topic.endswith("/session/report") and self.consumer_subscribed and not is_deaf:
            self.memory.reports.append(payload)
            self._serve_consumer()

    # -- the consumer ----------------------------------------------------------------------------

    def set_consumer(self, *, there: bool, subscribed: bool) -> None:
        """Let the consumer come or go, with or without its session."""
        if subscribed and not self.consumer_subscribed:
            self.consumer_back_s = self._timeline.now_s
        self.consumer_there = there
        self.consumer_subscribed = subscribed
        if not subscribed:
            self.memory.reports.clear()
        self._serve_consumer()

    def _serve_consumer(self) -> None:
        if self._serving or not (self.consumer_there and self.is_up and self.memory.reports):
            return
        self._serving = True

        def come() -> None:
            self._serving = False
            if self.consumer_there and self.is_up and self.memory.reports:
                self._on_report(self.memory.reports.pop(0))
            self._serve_consumer()

        self._timeline.later(self._rng.uniform(0.01, 0.1), come)

    # -- what goes to the gateway ----------------------------------------------------------------

    def publish(self, message: Inbound) -> bool:
        """Take a message of somebody's for the gateway; False when nobody could take it."""
        if not self.is_up:
            return False
        if message.retained:
            self.retained[message.topic] = message.payload
        if self.wire is None and not self._session_present():
            return False
        self._enqueue(message)
        return True

    def _enqueue(self, message: Inbound) -> None:
        # The lowest that is free: old numbers come again at once.
        mid = next(n for n in itertools.count(1) if n not in self.memory.inbound)
        self.memory.inbound[mid] = message
        if self.wire is not None and not self.wire.deaf:
            self._send(self.wire, mid, message)

    def _send(self, wire: Wire, mid: int, message: Inbound) -> None:
        left_s = None
        if message.expires_s is not None:
            left_s = message.expires_s - self._timeline.now_s
            if left_s <= 0:
                del self.memory.inbound[mid]
                return
        duplicate, message.sent_over = bool(message.sent_over), wire.epoch
        is_5 = self.protocol == "5"
        event = MqttMessage(
            message.topic,
            message.payload,
            AckToken(wire.epoch, mid, 1),
            retained=message.retained,
            duplicate=duplicate,
            expiry_s=int(left_s) if left_s is not None and is_5 else None,
            response_topic=message.response_topic if is_5 else None,
        )

        def come() -> None:
            message.on_delivered(duplicate)
            wire.deliver(event)

        self._down(wire, come)

    def _is_command(self, topic: str) -> bool:
        parts = topic.split("/")
        return len(parts) == 4 and parts[2] in ("set", "get")

    def _is_echo(self, topic: str) -> bool:
        base = self._topics
        is_alert = topic.startswith(base.alert(""))
        return is_alert or topic == base.bridge_state or topic.endswith("/availability")

"""Retained commands at the broker: found, cleared, and reported by an alert.

A retained message comes again with every new subscription, so a command in one would run at every
start. Where the broker keeps the flag (MQTT 5, Retain As Published) such a command is refused
before anything else. Where it does not, a live publication with the flag looks like any other.

Rules:

1. MQTT 3.1.1 cannot keep the flag. On MQTT 5 it is tried out once for each connection: an empty
   retained message to our own heartbeat topic, which leaves nothing behind, comes back with the
   flag or without it. A broker that does not answer is believed to do what the standard says.
2. Where it cannot be told, the ``set/`` topics are subscribed to again behind a command, of a
   partition those of its device: the broker then sends what it keeps. Not a second, narrower
   subscription: between subscribing and unsubscribing, brokers deliver twice what fits both.
3. One look in :data:`CHECK_EVERY_S`, for all commands that came meanwhile.
4. Whatever is found on a topic of a charger of ours is emptied and named in an alert. One that ran
   as a live command has its answer already and gets no other.
"""

import math
from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

from bridge.core.alerts import Alerts
from bridge.core.commands.validation import message_digest
from bridge.core.domain_events import (
    NOTHING,
    BridgeInfoWanted,
    ChargersAdded,
    CommandArrived,
    HeartbeatReceived,
    Input,
    Output,
    Outputs,
    RetainFlagKnown,
)
from bridge.core.effects import Effect, LogEntry, ReadRetained
from bridge.core.events import MqttConnected, MqttDisconnected, MqttMessage, Tick
from bridge.core.messages import Publish
from bridge.core.records.moment import Timestamp
from bridge.core.topics import Topics

ALERT: Final = "retained_command"
CHECK_EVERY_S: Final = 2.0
# What we emptied comes back to us within this time, where the broker lets us hear ourselves.
ECHO_TIMEOUT_S: Final = 10.0
# What a look brings arrives within this time.
CHECK_TIMEOUT_S: Final = 5.0
# Without another one for a day the publisher seems to have stopped.
QUIET_S: Final = 86_400.0
MAX_NAMED: Final = 5
MAX_REMEMBERED: Final = 1_000
HINT: Final = "publish commands without the retain flag (mosquitto_pub without -r)"


class RetainedWatch:
    """What is known of retained commands on the connection that is up.

    Args:
        topics: The tree.
        alerts: Where what is wrong is said.

    Attributes:
        is_unsure: The flag of a live publication cannot be told.
    """

    name = "retained"
    interests = frozenset(
        {MqttConnected, MqttDisconnected, HeartbeatReceived, CommandArrived, ChargersAdded}
    )

    def __init__(self, topics: Topics, alerts: Alerts) -> None:
        self._topics = topics
        self._alerts = alerts
        self.is_unsure = False
        self._is_up = False
        # What ran or was answered on this connection, and what we emptied and when.
        self._answered: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._emptied: OrderedDict[str, float] = OrderedDict()
        self._named: dict[str, None] = {}
        self._look_s = math.inf
        self._looked_s = -math.inf
        # Of a partition: what is subscribed to for the devices that commands came for.
        self._asked: dict[str, None] = {}
        self._quiet_s = math.inf
        self._no_answer: MqttMessage | None = None

    def handle(self, event: Input, now: Timestamp) -> Outputs:
        """Handle a command, a change of the connection, or a tick."""
        match event:
            case CommandArrived(message, is_served):
                return self._arrived(message, now, is_served=is_served)
            case HeartbeatReceived(message):
                return self._tried(message, now)
            case MqttConnected():
                return self._connected(event)
            case MqttDisconnected():
                self.disconnected()
            case ChargersAdded():
                return self.served(now)
            case Tick():
                return self.tick(now)
        return NOTHING

    # -- the connection ----------------------------------------------------------------------

    def connected(self, event: MqttConnected) -> Iterator[Effect]:
        """Start with a new connection, and test whether it reports retain flags."""
        self.is_unsure = event.protocol != "5"
        self._is_up = True
        self._answered.clear()
        self._look_s, self._looked_s = math.inf, -math.inf
        if not self.is_unsure and event.loopback:
            yield Publish(self._topics.bridge_heartbeat, b"", retained=True)

    def _connected(self, event: MqttConnected) -> Iterator[Output]:
        yield from self.connected(event)
        yield RetainFlagKnown(not self.is_unsure)

    def disconnected(self) -> None:
        """Handle the end of the connection."""
        self._is_up = False
        self._look_s = math.inf

    def tried(self, event: MqttMessage, now: Timestamp) -> Iterator[Effect]:
        """Handle a message on the heartbeat topic: the test message is empty and was retained."""
        if not event.payload and not event.retained and not self.is_unsure:
            self.is_unsure = True
            yield LogEntry("warning", "mqtt.retain_unsure", {"hint": HINT})
            yield from self._look(now)  # behind what came before this was known

    def _tried(self, event: MqttMessage, now: Timestamp) -> Iterator[Output]:
        was_unsure = self.is_unsure
        yield from self.tried(event, now)
        if self.is_unsure is not was_unsure:
            yield RetainFlagKnown(not self.is_unsure)
            yield BridgeInfoWanted()

    # -- commands ------------------------------------------------------------------------------

    def needs_no_answer(self, message: MqttMessage) -> bool:
        """Return whether the message needs no result: executed already, or sent by this gateway."""
        return message is self._no_answer

    def _arrived(self, event: MqttMessage, now: Timestamp, *, is_served: bool) -> Iterator[Effect]:
        """Handle a command; a retained one is cleared and answered once."""
        is_over = self.is_ours(event, now) or self.is_answered(event, now)
        self._no_answer = event if is_over else None
        if is_served:
            yield from self.found(event, now) if event.retained else self.live(event, now)
        elif event.retained:
            self.answered(event)

    def is_ours(self, event: MqttMessage, now: Timestamp) -> bool:
        """Return whether a message cleared its topic for this gateway; true once for each."""
        since_s = self._emptied.get(event.topic, -math.inf)
        if event.payload or now.mono_s - since_s >= ECHO_TIMEOUT_S:
            return False
        del self._emptied[event.topic]
        return True

    def is_answered(self, event: MqttMessage, now: Timestamp) -> bool:
        """Return whether a retained message needs no result: executed, or repeated by a check."""
        is_copy = self.is_unsure or now.mono_s - self._looked_s < CHECK_TIMEOUT_S
        return event.retained and is_copy and self._key(event) in self._answered

    def served(self, now: Timestamp) -> Iterator[Effect]:
        """Check the messages that arrived before these chargers were known to be served."""
        if self._is_up:
            yield from self._look(now)

    def live(self, event: MqttMessage, now: Timestamp) -> Iterator[Effect]:
        """Handle a live command."""
        if self.is_unsure and event.payload:
            self.answered(event)
            if self._topics.is_part:
                self._asked[f"{event.topic.rpartition('/')[0]}/+"] = None
            yield from self._look(now)

    def answered(self, event: MqttMessage) -> None:
        """Record that a message has its result, executed or not."""
        self._answered[self._key(event)] = None
        if len(self._answered) > MAX_REMEMBERED:
            self._answered.popitem(last=False)

    def found(self, event: MqttMessage, now: Timestamp) -> Iterator[Effect]:
        """Handle a retained command of a served charger: clear its topic, raise the alert."""
        self.answered(event)
        if not event.payload:
            return
        self._emptied[event.topic] = now.mono_s
        if len(self._emptied) > MAX_REMEMBERED:
            self._emptied.popitem(last=False)
        yield Publish(event.topic, b"")
        if len(self._named) <= MAX_NAMED:
            self._named[event.topic] = None
        self._quiet_s = now.mono_s + QUIET_S
        names = ", ".join(list(self._named)[:MAX_NAMED]) + ", …" * (len(self._named) > MAX_NAMED)
        yield from self._alerts.raise_(
            ALERT,
            f"a command was published with the retain flag, and emptied: {names}",
            HINT,
            now,
        )

    # -- time ---------------------------------------------------------------------------------

    def deadline_s(self) -> float | None:
        """Return the monotonic time at which :meth:`tick` has something to do, or None."""
        due_s = min(self._look_s, self._quiet_s)
        return due_s if due_s < math.inf else None

    def tick(self, now: Timestamp) -> Iterator[Effect]:
        """Check for retained copies of recent commands; drop old entries."""
        if now.mono_s >= self._look_s:
            yield from self._look(now)
        if now.mono_s >= self._quiet_s:
            self._quiet_s = math.inf
            self._named.clear()
            yield from self._alerts.clear(ALERT)

    # -- inside -------------------------------------------------------------------------------

    def _look(self, now: Timestamp) -> Iterator[Effect]:
        due_s = self._looked_s + CHECK_EVERY_S
        if now.mono_s < due_s:
            self._look_s = due_s
            return
        self._look_s, self._looked_s = math.inf, now.mono_s
        asked = tuple(self._asked) if self._topics.is_part else (self._topics.command("+", "+"),)
        self._asked.clear()
        yield from map(ReadRetained, asked)

    @staticmethod
    def _key(event: MqttMessage) -> tuple[str, str]:
        return event.topic, message_digest(event)

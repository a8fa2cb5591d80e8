"""Incoming commands and queries: hold them, leave them to another bridge, or hand them on.

Rules:

1. The messages of a resumed session arrive before another bridge answers our first heartbeat. For
   :data:`HEARD_OUT_S` they are held.
2. What another bridge answers is acknowledged, and not handled.
3. The time to live of what may have waited in a socket while the process was suspended is
   shortened by that time.
4. A command is looked at first for whether it lies at the broker as a retained message; one that
   ran already, or with which we emptied its topic ourselves, is acknowledged and goes no further.
"""

import math
from collections import Counter, deque
from collections.abc import Callable, Container, Iterator

import msgspec
from msgspec.structs import replace

from bridge.core.domain_events import (
    NOTHING,
    CommandArrived,
    CommandReceived,
    Input,
    Output,
    Outputs,
    QueryReceived,
    RequestReceived,
    SettingsChanged,
)
from bridge.core.effects import Acknowledge, LogEntry
from bridge.core.events import MqttConnected, MqttDisconnected, MqttMessage, ProcessSuspended, Tick
from bridge.core.records.moment import Timestamp
from bridge.core.topics import SetTopic

# A command is delayed by no more than this.
HEARD_OUT_S = 0.5
MAX_HELD = 256
# After the process was suspended, what was in its sockets is read within this time.
LATE_MESSAGES_S = 5.0
NEVER_S = -math.inf


class Questions(msgspec.Struct, frozen=True):
    """Questions to other components; each returns None where that component fails.

    Attributes:
        is_left: Whether what is asked of a charger is another bridge's to answer.
        needs_no_answer: Whether the command that arrived just now is over.
        is_unsure_of_retained: Whether a live command may have been published as retained.
    """

    is_left: Callable[[str, Timestamp], bool | None]
    needs_no_answer: Callable[[MqttMessage], bool | None]
    is_unsure_of_retained: Callable[[], bool | None]


class Addressing:
    """Hand on the commands and queries that this bridge answers.

    Args:
        chargers: Those that are served.
        questions: To other components.
        counters: What is counted for the status.
        ttl_s: How long a command lives that does not say.
    """

    name = "addressing"
    interests = frozenset(
        {RequestReceived, MqttConnected, MqttDisconnected, ProcessSuspended, SettingsChanged}
    )

    def __init__(
        self,
        chargers: Container[str],
        questions: Questions,
        counters: Counter[str],
        *,
        ttl_s: float,
    ) -> None:
        self._chargers = chargers
        self._questions = questions
        self._counters = counters
        self._ttl_s = ttl_s
        self._held: deque[tuple[RequestReceived, float]] = deque()
        self._held_until_s = NEVER_S
        self._late_until_s = NEVER_S
        self._late_by_s = 0.0

    def handle(self, event: Input, now: Timestamp) -> Outputs:
        """Handle requests, changes of the connection, and the time."""
        match event:
            case RequestReceived():
                self._held.append((event, now.mono_s))
                if len(self._held) > MAX_HELD:
                    self._held_until_s = NEVER_S
                return self._release(now)
            case Tick():
                return self._release(now)
            case MqttConnected():
                # Without a heartbeat of its own it receives none of another bridge either.
                is_heard_out = event.session_present and bool(event.loopback)
                self._held_until_s = now.mono_s + HEARD_OUT_S if is_heard_out else NEVER_S
                self._late_until_s = NEVER_S
            case MqttDisconnected():
                self._held.clear()  # nothing of it was acknowledged
            case ProcessSuspended(seconds):
                self._late_until_s, self._late_by_s = now.mono_s + LATE_MESSAGES_S, seconds
                return (LogEntry("warning", "process.suspended", {"seconds": round(seconds)}),)
            case SettingsChanged(settings):
                self._ttl_s = settings.commands.ttl_s
        return NOTHING

    def deadline_s(self) -> float | None:
        """Return when the messages that are held are released, or None."""
        return self._held_until_s if self._held else None

    def _release(self, now: Timestamp) -> Iterator[Output]:
        """Handle the messages that are held, in order, when it is time."""
        if now.mono_s < self._held_until_s:
            return
        while self._held:
            request, since_s = self._held.popleft()
            yield from self._addressed(request, now.mono_s - since_s, now)

    def _addressed(
        self, request: RequestReceived, held_s: float, now: Timestamp
    ) -> Iterator[Output]:
        message, target = request.message, request.target
        if self._questions.is_left(target.charger_id, now):
            self._counters["left_to_another_bridge"] += 1
            yield Acknowledge(message.ack_token)
        elif isinstance(target, SetTopic):
            yield from self._command(message, target, held_s, now)
        else:
            yield QueryReceived(message, target)

    def _command(
        self, message: MqttMessage, target: SetTopic, held_s: float, now: Timestamp
    ) -> Iterator[Output]:
        yield CommandArrived(message, target.charger_id in self._chargers)
        if self._questions.needs_no_answer(message):
            yield Acknowledge(message.ack_token)
            return
        is_unsure = bool(self._questions.is_unsure_of_retained())
        yield CommandReceived(self._aged(message, now), target, held_s, is_unsure)

    def _aged(self, message: MqttMessage, now: Timestamp) -> MqttMessage:
        """Shorten the time to live of a command that may have waited in a socket."""
        if now.mono_s >= self._late_until_s:
            return message
        left_s = message.expiry_s if message.expiry_s is not None else self._ttl_s
        return replace(message, expiry_s=max(0, math.floor(left_s - self._late_by_s)))

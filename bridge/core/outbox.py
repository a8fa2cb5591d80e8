"""What waits between the core's ``Publish`` effects and the broker's acknowledgements.

Rules:

1. At most ``window`` messages are unacknowledged, and at most one of each topic. So a slow broker
   holds back values instead of collecting them, and nothing overtakes within a topic.
2. Retained messages of one topic are conflated: a newer one takes the place of the one that waits.
3. Others are kept in order. Beyond :data:`MOST_WAITING` the oldest untagged one is dropped and
   counted; a message with a tag is somebody's to deliver and is never dropped.
4. A lost connection puts what was in flight back to the front, unless a newer value of the same
   retained topic waits already.
5. A retained message the broker refuses is kept until a newer one takes its place, and can be sent
   again.

Every operation takes constant time, except :meth:`Outbox.lost`, which takes what was in flight.
"""

import itertools
from collections import OrderedDict, deque

from bridge.core.messages import Publish

# paho ignores its own limits after a reconnect: 1,000 queued were 1,000 in flight at once where
# the broker had granted 20. So it is never handed more than this.
WINDOW = 20
# MQTT 5: from here on a reason code says no.
REFUSED = 0x80
# Topic name invalid, packet too large, payload format invalid: the next time it is the same.
IN_VAIN = frozenset({0x90, 0x95, 0x99})
# A day without a broker at one event every 17 s; about 2 MB.
MOST_WAITING = 5_000
# Results and reports go first, but a flood of them must not starve the values.
QUEUED_IN_A_ROW = 8


class Outbox:
    """Messages waiting and in flight.

    Attributes:
        window: How many may be unacknowledged; adjust it to the broker's Receive Maximum.
        dropped: Events that were dropped because too many waited, since the start.
    """

    def __init__(self, window: int = WINDOW) -> None:
        self.window = window
        self.dropped = 0
        self._in_flight: dict[str, Publish] = {}
        # Retained, by topic: next in line, and those whose topic is in flight.
        self._latest: OrderedDict[str, Publish] = OrderedDict()
        self._behind: dict[str, Publish] = {}
        self._denied: dict[str, Publish] = {}
        # The others: by a serial number, in order per topic, topics in turn, events by age.
        self._serials = itertools.count()
        self._queued: dict[int, Publish] = {}
        self._queues: dict[str, deque[int]] = {}
        self._turns: OrderedDict[str, None] = OrderedDict()
        self._events: OrderedDict[int, None] = OrderedDict()
        self._tagged: dict[str, int] = {}
        self._in_a_row = 0

    @property
    def waiting(self) -> int:
        """How many messages are not sent yet."""
        return len(self._latest) + len(self._behind) + len(self._queued)

    @property
    def in_flight(self) -> int:
        """How many messages are sent and not acknowledged."""
        return len(self._in_flight)

    def put(self, message: Publish) -> None:
        """Take one message to send.

        A tagged message that waits already is not queued twice: its owner repeats what is owed
        after a reconnect, and does not know what is still here.
        """
        if message.retained:
            self._denied.pop(message.topic, None)
            line = self._behind if message.topic in self._in_flight else self._latest
            line[message.topic] = message
        elif self._queued.get(self._tagged.get(message.tag, -1)) != message:
            self._queues.setdefault(message.topic, deque()).append(self._enter(message))
            if message.topic not in self._in_flight:
                self._turns[message.topic] = None
            if len(self._queued) > MOST_WAITING and self._events:
                self._drop_oldest_event()

    def holds(self, topic: str) -> bool:
        """Say whether something retained of a topic waits, is in flight or was refused."""
        return topic in self._in_flight or topic in self._latest or topic in self._denied

    def withdraw(self) -> list[Publish]:
        """Give up the telemetry that waits, in order; what waits behind its own topic stays."""
        given_up = [message for message in self._latest.values() if message.telemetry]
        for message in given_up:
            del self._latest[message.topic]
        return given_up

    def take(self) -> Publish | None:
        """Return the next message to send, now in flight, or None when there is none to send."""
        if len(self._in_flight) >= self.window:
            return None
        if self._turns and (not self._latest or self._in_a_row < QUEUED_IN_A_ROW):
            self._in_a_row += 1
            message = self._next_queued()
        elif self._latest:
            self._in_a_row = 0
            message = self._latest.popitem(last=False)[1]
        else:
            return None
        topic = message.topic
        self._in_flight[topic] = message
        self._turns.pop(topic, None)
        if (held := self._latest.pop(topic, None)) is not None:
            self._behind[topic] = held
        return message

    def acked(self, message: Publish, reason_code: int = 0) -> None:
        """Note that a message is done with; one that is not in flight is ignored.

        Args:
            message: It.
            reason_code: The broker's. A retained message that is refused is kept.
        """
        topic = message.topic
        held = self._in_flight.get(topic)
        if held is None or (held is not message and held != message):
            return
        del self._in_flight[topic]
        if topic not in self._behind:
            self.refused(message, reason_code)
        self._free(topic)

    def refused(self, message: Publish, reason_code: int) -> None:
        """Keep a retained message that is refused and of which there is nothing newer."""
        if message.retained and reason_code >= REFUSED and reason_code not in IN_VAIN:
            self._denied[message.topic] = message

    def send_denied(self) -> None:
        """Let what the broker refused stand in line again."""
        denied, self._denied = self._denied, {}
        for message in denied.values():
            self.put(message)

    def lost(self) -> None:
        """Put what is in flight back to the front: the connection is gone."""
        in_flight = self._in_flight
        self._in_flight = {}
        for topic in in_flight:
            self._free(topic)
        for topic, message in reversed(in_flight.items()):
            if message.retained:
                self._latest.setdefault(topic, message)
                self._latest.move_to_end(topic, last=False)
            else:
                serial = self._enter(message)
                if serial in self._events:
                    self._events.move_to_end(serial, last=False)
                self._queues.setdefault(topic, deque()).appendleft(serial)
                self._turns[topic] = None
                self._turns.move_to_end(topic, last=False)

    def _free(self, topic: str) -> None:
        """Let what waited behind a topic in flight stand in line."""
        if (held := self._behind.pop(topic, None)) is not None:
            self._latest[topic] = held
        if topic in self._queues:
            self._turns[topic] = None

    def _enter(self, message: Publish) -> int:
        serial = next(self._serials)
        self._queued[serial] = message
        if message.tag:
            self._tagged[message.tag] = serial
        else:
            self._events[serial] = None
        return serial

    def _leave(self, serial: int) -> Publish:
        message = self._queued.pop(serial)
        self._events.pop(serial, None)
        if self._tagged.get(message.tag) == serial:
            del self._tagged[message.tag]
        return message

    def _next_queued(self) -> Publish:
        topic = self._turns.popitem(last=False)[0]
        message = self._leave(self._queues[topic].popleft())
        self._tidy(topic)
        return message

    def _drop_oldest_event(self) -> None:
        topic = self._leave(next(iter(self._events))).topic
        self._tidy(topic)
        if topic not in self._queues:
            self._turns.pop(topic, None)
        self.dropped += 1

    def _tidy(self, topic: str) -> None:
        """Forget serials of dropped events at the head of a queue, and a queue that is empty."""
        queue = self._queues[topic]
        while queue and queue[0] not in self._queued:
            queue.popleft()
        if not queue:
            del self._queues[topic]

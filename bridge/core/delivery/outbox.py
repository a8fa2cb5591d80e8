"""Outbox: messages between the core's ``Publish`` effects and the broker's acknowledgements.

Rules:

1. At most ``window`` messages are unacknowledged, and at most one of each topic. So a slow broker
   holds back values instead of collecting them, and nothing overtakes within a topic.
2. Retained messages of one topic are conflated: a newer one takes the place of the one that waits.
3. Others are kept in order. Beyond :data:`MAX_WAITING` the oldest untagged one is dropped and
   counted; a message with a tag is somebody's to deliver and is never dropped.
4. A lost connection puts what was in flight back to the front, unless a newer value of the same
   retained topic waits already.
5. A retained message the broker refuses is kept until a newer one takes its place, and can be sent
   again.
6. A broker may end the connection because of one message. What was in flight then is suspect: it
   goes out again after other messages, and everything one at a time until then. Who was alone
   when the connection ended on which the broker took others, twice, is set aside and given back in
   :attr:`Outbox.given_up`. It is tried again after :data:`FIRST_TERM_S`, less and less often, and
   at once when its topic has something smaller to say. If it is larger than all the broker took,
   nothing of its size is tried before; if it is the second below a first level of topics where the
   broker took nothing yet, nothing below that is.

Every operation takes constant time, except :meth:`Outbox.connection_lost`, which takes what was in
flight.
"""

import itertools
import math
from collections import OrderedDict, deque

import msgspec

from bridge.core.messages import Publish

# paho keeps what it is handed until the broker acknowledges; its memory is not our queue. And it
# ignores its own limits after a reconnect: 1,000 queued were 1,000 in flight at once where
# the broker had granted 20. So it is never handed more than this.
WINDOW = 20
# MQTT 5: from here on a reason code says no.
REFUSED = 0x80
# The broker takes no packet of that size: so it says, or so it said in CONNACK.
TOO_LARGE = 0x95
# No code of MQTT's, of which there are 256: ours for a message that ended a connection twice.
SET_ASIDE = 0x100
# Topic name invalid, packet too large, payload format invalid: the next time it is the same.
PERMANENT_REJECTIONS = frozenset({0x90, TOO_LARGE, 0x99, SET_ASIDE})
RECEIVE_MAXIMUM_EXCEEDED = 0x93
# Codes of a DISCONNECT for which no message of ours is to blame: normal, with will, busy, shutting
# down, keepalive, taken over, Receive Maximum, rate, administrator, other or moved server, too many
# connections, longest time.
BLAMELESS = frozenset(
    {0x00, 0x04, 0x89, 0x8B, 0x8D, 0x8E, RECEIVE_MAXIMUM_EXCEEDED}
    | {0x96, 0x98, 0x9C, 0x9D, 0x9F, 0xA0}
)
ENDS_TO_SET_ASIDE = 2
# So many set aside below one first level where nothing was taken: an access list is behind it.
ROOT_IS_SHUT = 2
# A broker with a smaller limit does not exist: a small message ended it for other reasons.
ALWAYS_ACCEPTED_BYTES = 4_096
# While others wait too, a suspect gets its turn after so many of them.
OTHERS_IN_A_ROW = 5
# A quarter of an hour, four times that, and so on: what is set aside without a cause is soon back.
FIRST_TERM_S = 900.0
MAX_TERM_S = 86_400.0
# A day without a broker at one event every 17 s; about 2 MB.
MAX_WAITING = 5_000
# Results and reports go first, but a flood of them must not starve the values.
QUEUED_IN_A_ROW = 8


class _Doubt(msgspec.Struct):
    """What is known against one message, by its topic or tag.

    Attributes:
        ends: Connections that ended while it was alone in flight.
        terms: How often it was set aside.
        size_bytes: Payload of the last message blamed.
        until_s: Set aside until then, or None.
        message: The retained one that waits meanwhile, or None.
    """

    ends: int = 0
    terms: int = 0
    size_bytes: int = 0
    until_s: float | None = None
    message: Publish | None = None


class Outbox:
    """Messages waiting and in flight.

    Attributes:
        window: How many may be unacknowledged.
        dropped: Events that were dropped because too many waited, since the start.
        given_up: What is set aside, for the owner to be notified; to be emptied.
    """

    def __init__(self, window: int = WINDOW) -> None:
        self.window = window
        self.dropped = 0
        self.given_up: deque[Publish] = deque()
        self._most = window
        # By topic, which is taken as if it were in flight.
        self._suspects: OrderedDict[str, Publish] = OrderedDict()
        self._doubts: dict[str, _Doubt] = {}
        self._largest_bytes = ALWAYS_ACCEPTED_BYTES  # that the broker took
        self._too_large_bytes = math.inf
        self._tried_again_s = 0.0
        # First levels of topics: those where the broker took something, and what was set aside
        # below the others.
        self._open_roots: set[str] = set()
        self._shut_roots: dict[str, int] = {}
        self._since_suspect = 0
        self._is_tried = False  # a suspect is in flight, alone
        self._took = False  # the broker took something on this connection
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
        queued = len(self._queued) + len(self._suspects)
        return len(self._latest) + len(self._behind) + queued

    @property
    def in_flight(self) -> int:
        """How many messages are sent and not acknowledged."""
        return len(self._in_flight)

    def put(self, message: Publish) -> None:
        """Queue one message.

        A tagged message that waits already is not queued twice: its owner repeats pending reports
        after a reconnect, and does not know what is still here.
        """
        topic = message.topic
        if message.retained:
            self._denied.pop(topic, None)
            suspect = self._suspects.get(topic)
            if suspect is not None and suspect.retained:
                self._suspects[topic] = message
            else:
                line = self._behind if self._is_taken(topic) else self._latest
                line[topic] = message
        elif self._suspects.get(topic) == message and message.tag:
            pass
        elif self._queued.get(self._tagged.get(message.tag, -1)) != message:
            if message.tag in self._doubts and not self._is_taken(topic):
                self._suspects[topic] = message
                return
            self._queues.setdefault(topic, deque()).append(self._enter(message))
            if not self._is_taken(topic):
                self._turns[topic] = None
            if len(self._queued) > MAX_WAITING and self._events:
                self._drop_oldest_event()

    def granted(self, receive_maximum: int) -> None:
        """Apply the broker's Receive Maximum, or less if it once ended a connection over it."""
        self.window = min(self._most, receive_maximum)

    def contains(self, topic: str) -> bool:
        """Return whether a retained message waits, is in flight, refused or set aside."""
        known = topic in self._latest or topic in self._denied or topic in self._doubts
        return known or self._is_taken(topic)

    def _is_taken(self, topic: str) -> bool:
        return topic in self._in_flight or topic in self._suspects

    def take_back_values(self) -> list[Publish]:
        """Remove the waiting values, in order; those behind a message of their own topic stay."""
        withdrawn = [message for message in self._latest.values() if message.telemetry]
        for message in withdrawn:
            del self._latest[message.topic]
        return withdrawn

    def take(self) -> Publish | None:
        """Return the next message to send, now in flight, or None when there is none to send."""
        window = 1 if self._suspects else self.window
        if self._is_tried or len(self._in_flight) >= window:
            return None
        while (message := self._next()) is not None:
            if not self._is_set_aside(message):
                break
            self._is_tried = False
            self._free(message.topic)
        else:
            return None
        topic = message.topic
        self._in_flight[topic] = message
        self._turns.pop(topic, None)
        if (held := self._latest.pop(topic, None)) is not None:
            self._behind[topic] = held
        return message

    def _next(self) -> Publish | None:
        """Remove the next message from its queue and return it."""
        if self._suspects and self._is_turn_of_suspects:
            return None if self._in_flight else self._next_suspect()
        self._since_suspect += 1
        if self._turns and (not self._latest or self._in_a_row < QUEUED_IN_A_ROW):
            self._in_a_row += 1
            return self._next_queued()
        if self._latest:
            self._in_a_row = 0
            return self._latest.popitem(last=False)[1]
        return None

    def acked(self, message: Publish, reason_code: int = 0) -> None:
        """Handle a successful acknowledgement; one that is not in flight is ignored.

        Args:
            message: The message.
            reason_code: The broker's. A retained message that is refused is kept.
        """
        topic = message.topic
        held = self._in_flight.get(topic)
        if held is None or (held is not message and held != message):
            return
        del self._in_flight[topic]
        self._is_tried = False
        self._took = True
        self._doubts.pop(_name(message), None)
        if (root := _root(topic)) not in self._open_roots:
            self._open_roots.add(root)
            self._shut_roots.pop(root, None)
        if reason_code < REFUSED and len(message.payload) > self._largest_bytes:
            self._took_large(len(message.payload))
        if topic not in self._behind:
            self.refused(message, reason_code)
        self._free(topic)

    def refused(self, message: Publish, reason_code: int) -> None:
        """Keep a refused retained message if there is nothing newer of it."""
        if message.retained and reason_code >= REFUSED and reason_code not in PERMANENT_REJECTIONS:
            self._denied[message.topic] = message

    def retry_rejected(self) -> None:
        """Queue the refused messages again."""
        denied, self._denied = self._denied, {}
        for message in denied.values():
            self.put(message)

    def unsent(self, message: Publish) -> None:
        """Put a message that could not be sent back to the front; it is not in flight."""
        del self._in_flight[message.topic]
        if self._is_tried:
            self._is_tried = False
            self._suspects[message.topic] = message
        else:
            self._give_back({message.topic: message})

    def connection_lost(self, code: int | None = None, now_s: float = 0.0) -> None:
        """Queue the messages in flight again after the connection ended.

        Args:
            code: The reason code with which the broker ended it, 0x80 where it gave none; None
                where it was not the broker.
            now_s: Monotonic seconds.
        """
        in_flight, self._in_flight = self._in_flight, {}
        was_tried, had_proof = self._is_tried, self._took
        self._is_tried = self._took = False
        if code == RECEIVE_MAXIMUM_EXCEEDED:
            self._most = max(1, self.window // 2)
        # Also when it was not the broker: a suspect it never answers holds up everything.
        to_blame = (was_tried or code is not None) and code not in BLAMELESS
        is_proved = to_blame and had_proof and len(in_flight) == 1
        if is_proved:
            self._blame(next(iter(in_flight.values())), now_s)
        if not (to_blame or was_tried):
            self._give_back(in_flight)
            return
        # Small ones first: the broker will take some of them, and that is proof against the rest.
        for message in sorted(in_flight.values(), key=lambda message: len(message.payload)):
            newest = self._behind.pop(message.topic, message) if message.retained else message
            self._suspects[message.topic] = newest
            self._suspects.move_to_end(message.topic, last=not is_proved)

    def try_again(self, now_s: float) -> None:
        """Queue messages again that were set aside for long enough, each alone."""
        if now_s >= self._tried_again_s:
            self._too_large_bytes = math.inf
            self._shut_roots = dict.fromkeys(self._shut_roots, ROOT_IS_SHUT - 1)
        for name, doubt in self._doubts.items():
            is_due = doubt.until_s is not None and doubt.until_s <= now_s
            if is_due and not self._is_taken(name):
                message, doubt.message, doubt.until_s = doubt.message, None, None
                doubt.ends = ENDS_TO_SET_ASIDE - 1
                if message is not None:
                    self._suspects[name] = message

    # -- who ends connections ------------------------------------------------------------------

    @property
    def _is_turn_of_suspects(self) -> bool:
        """After others, so that it is known that the broker takes anything at all."""
        if not (self._turns or self._latest):
            return True
        first = self._doubts.get(_name(next(iter(self._suspects.values()))))
        is_next = first is not None or self._since_suspect >= OTHERS_IN_A_ROW
        return self._took and is_next

    def _next_suspect(self) -> Publish:
        self._since_suspect = 0
        self._is_tried = True
        return self._suspects.popitem(last=False)[1]

    def _blame(self, message: Publish, now_s: float) -> None:
        """Record the end of a connection against the only message in flight."""
        doubt = self._doubts.setdefault(_name(message), _Doubt())
        size = len(message.payload)
        if size < doubt.size_bytes:
            doubt.ends = 0  # a smaller message of the topic; the ends before were another one's
        doubt.size_bytes = size
        doubt.ends += 1
        if doubt.ends < ENDS_TO_SET_ASIDE:
            return
        doubt.until_s = now_s + min(MAX_TERM_S, FIRST_TERM_S * 4.0 ** min(doubt.terms, 10))
        doubt.terms += 1
        self._tried_again_s = max(doubt.until_s, self._tried_again_s)
        if size > self._largest_bytes:
            self._too_large_bytes = min(size, self._too_large_bytes)
        if (root := _root(message.topic)) not in self._open_roots:
            self._shut_roots[root] = self._shut_roots.get(root, 0) + 1

    def _took_large(self, size: int) -> None:
        """Record that the broker accepts a size, and retry messages that are no larger."""
        self._largest_bytes = size
        if size >= self._too_large_bytes:
            self._too_large_bytes = math.inf
            for doubt in self._doubts.values():
                doubt.until_s = doubt.until_s and 0.0

    def _is_set_aside(self, message: Publish) -> bool:
        """Return whether a message's topic, tag or size is set aside."""
        name, size = _name(message), len(message.payload)
        doubt = self._doubts.get(name)
        if doubt is None or doubt.until_s is None:
            is_shut = self._shut_roots.get(_root(message.topic), 0) >= ROOT_IS_SHUT
            if size < self._too_large_bytes and not is_shut:
                return False
            if message.retained:
                self._doubts[name] = _Doubt(
                    ENDS_TO_SET_ASIDE, 1, size, self._tried_again_s, message
                )
        elif size < doubt.size_bytes:
            del self._doubts[name]
            return False
        elif message.retained:
            doubt.message = message
        self.given_up.append(message)
        return True

    # -- lines ---------------------------------------------------------------------------------

    def _give_back(self, in_flight: dict[str, Publish]) -> None:
        """Put messages back to the front of their queues."""
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
        """Queue what waited behind a message of the same topic."""
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
        """Drop serials of dropped events at the head of a queue, and an empty queue."""
        queue = self._queues[topic]
        while queue and queue[0] not in self._queued:
            queue.popleft()
        if not queue:
            del self._queues[topic]


def _root(topic: str) -> str:
    """Return the first level of a topic."""
    return topic.partition("/")[0]


def _name(message: Publish) -> str:
    """Return what a doubt is kept under: what a later message of the same kind shares."""
    return message.topic if message.retained else message.tag or message.topic

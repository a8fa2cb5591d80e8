"""Queue of values, for the value connection or the main connection.

Rules:

1. A topic belongs to one connection at a time. What waits for the one is moved when the other takes
   over; what is in flight stays where it is until it is acknowledged, and newer values of its topic
   wait behind it. So nothing older ever overtakes something newer.
2. Of each topic one message is in flight and at most one waits, the newest. A slow broker makes
   values fewer, never the memory more.
3. A connection that is lost leaves doubt: the broker may have our bytes and read them later, after
   what another connection brings. Topics in doubt are held back until the doubt is over.
4. What was not acknowledged goes out again over the main connection, or what is newer of its topic.

Every operation takes constant time for each message it is about.
"""

from collections import OrderedDict
from collections.abc import Iterable

from bridge.core.delivery.outbox import Outbox
from bridge.core.messages import Publish

# A broker queues so many messages for a consumer, drops the rest, and does not say so: mosquitto as
# shipped queues 1,000, and the values of a few chargers come at once at every start. Half of it:
BURST = 500
# The window a broker grants tells whether it was tuned: 20 as shipped mean 2,000 values a second,
# which a flow in Python or Node.js follows, and 1,000 mean no limit.
PER_GRANT_S = 100.0
# Beyond this a larger window brings no more messages per second, only more memory.
MAX_WINDOW = 1_000


def value_rate(receive_maximum: int) -> tuple[float, float]:
    """Return how many values may go at once and in a second, by what a broker takes at a time."""
    return float(max(BURST, receive_maximum)), receive_maximum * PER_GRANT_S


class ValueQueue:
    """The values that wait and those in flight on their own connection.

    Args:
        main: Everything else, and the values while they have no connection.
    """

    def __init__(self, main: Outbox) -> None:
        self._main = main
        self._window = 0
        self._waiting: OrderedDict[str, Publish] = OrderedDict()
        self._in_flight: dict[str, Publish] = {}
        self._behind: dict[str, Publish] = {}

    @property
    def waiting(self) -> int:
        """How many values are not sent yet, those for the main connection not counted."""
        return len(self._waiting) + len(self._behind)

    @property
    def in_flight(self) -> int:
        """How many values are sent and not acknowledged, or in doubt."""
        return len(self._in_flight)

    def put(self, message: Publish) -> None:
        """Queue one value."""
        topic = message.topic
        if topic in self._in_flight:
            self._behind[topic] = message
        elif self._window and not self._main.contains(topic):
            self._waiting[topic] = message
        else:
            self._main.put(message)

    def take(self, most: int = MAX_WINDOW) -> list[Publish]:
        """Return what may be sent over the own connection now; it is in flight from here on.

        Args:
            most: No more than this many.
        """
        waiting, in_flight = self._waiting, self._in_flight
        batch = []
        for _ in range(min(self._window - len(in_flight), len(waiting), most)):
            topic, message = waiting.popitem(last=False)
            in_flight[topic] = message
            batch.append(message)
        return batch

    def acked(self, messages: Iterable[Publish]) -> None:
        """Handle successful acknowledgements; values not in flight are ignored."""
        for message in messages:
            topic = message.topic
            if self._in_flight.get(topic) is message:
                del self._in_flight[topic]
                if topic in self._behind:
                    self.put(self._behind.pop(topic))

    def refused(self, message: Publish, reason_code: int) -> None:
        """Pass a refused value to the main connection for a later attempt."""
        topic = message.topic
        if self._in_flight.get(topic) is message:
            if topic not in self._behind:
                self._main.refused(message, reason_code)
            self.acked((message,))

    def returned(self, messages: Iterable[Publish]) -> None:
        """Send these over the main connection, unless they are out of date."""
        for message in messages:
            topic = message.topic
            if self._in_flight.get(topic) is message:
                del self._in_flight[topic]
                self._main.put(self._behind.pop(topic, message))

    def opened(self, receive_maximum: int) -> None:
        """Use the value connection, and send again what an earlier one left."""
        self._window = min(receive_maximum, MAX_WINDOW)
        for message in self._main.take_back_values():
            self._waiting[message.topic] = message
        self._settle()

    def closed(self, *, in_doubt: bool) -> None:
        """Use the main connection.

        Args:
            in_doubt: What is in flight may still arrive; its topics wait until this is called
                without doubt, or :meth:`opened` is.
        """
        self._window = 0
        while self._waiting:
            self._main.put(self._waiting.popitem(last=False)[1])
        if not in_doubt:
            self._settle()

    def _settle(self) -> None:
        """Send over the main connection what was in flight on one that is over for certain.

        One of these may have ended it: the main connection finds out which.
        """
        left = self._in_flight
        self._in_flight = {}
        for topic, message in left.items():
            self._main.put(self._behind.pop(topic, message))

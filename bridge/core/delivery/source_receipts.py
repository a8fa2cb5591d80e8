"""Receipts of a source: which of its deliveries may be acknowledged.

Rules:

1. A delivery is done when everything that followed from it is safe: each value was acknowledged by
   the broker, or a newer one of its topic was, and each session report and unreadable text is
   committed.
2. Acknowledgement is cumulative, so a delivery is reported when it and all before it are done.
3. A commit that failed is not done. It is when the same report is committed later.

Memory is bounded by what the source delivers without acknowledgement (its prefetch).
"""

from collections import deque

import msgspec

from bridge.core.messages import Publish
from bridge.core.records.source_receipt import SourceReceipt


class Delivery(msgspec.Struct, eq=False):
    """One delivery of the source.

    Attributes:
        receipt: What the source wants back.
        open: What followed from it and is not safe yet.
    """

    receipt: SourceReceipt
    open: int = 1  # that it is being handled


class SourceReceipts:
    """Deliveries between their arrival and their acknowledgement."""

    def __init__(self) -> None:
        self._deliveries: deque[Delivery] = deque()
        self._current: Delivery | None = None
        # By topic, in order: each message that was queued since the last acknowledgement, with the
        # delivery it came of.
        self._messages: dict[str, deque[tuple[Publish, Delivery | None]]] = {}
        # By identity: what could not be committed, which is kept so that the identity stays its.
        self._failed: dict[int, tuple[object, Delivery]] = {}

    @property
    def waiting(self) -> int:
        """Return how many deliveries are not acknowledged."""
        return len(self._deliveries)

    def received(self, receipt: SourceReceipt | None) -> None:
        """Begin an event; what is queued or committed until the next one follows from it.

        Args:
            receipt: Of the delivery that brought it, or None.
        """
        self.handled()
        if receipt is not None:
            self._current = Delivery(receipt)
            self._deliveries.append(self._current)

    def handled(self) -> None:
        """End the event."""
        if self._current is not None:
            self._current.open -= 1
            self._current = None

    def queued(self, message: Publish) -> None:
        """Record a value for the broker; the newest of its topic is the last one sent."""
        messages = self._messages.get(message.topic)
        if messages is None:
            if self._current is None:
                return
            messages = self._messages[message.topic] = deque()
        messages.append((message, self._current))
        if self._current is not None:
            self._current.open += 1

    def acked(self, message: Publish) -> None:
        """Record that the broker acknowledged or refused a value."""
        messages = self._messages.get(message.topic)
        if messages is None or not any(one is message for one, _ in messages):
            return
        is_last = False
        while not is_last:
            one, delivery = messages.popleft()
            is_last = one is message
            if delivery is not None:
                delivery.open -= 1
        if not messages:
            del self._messages[message.topic]

    def committing(self, subject: object) -> Delivery | None:
        """Record that something is being committed.

        Args:
            subject: A session report or a text.

        Returns:
            The delivery to pass to :meth:`committed` or :meth:`failed`; None where none waits.
        """
        _, delivery = self._failed.pop(id(subject), (None, None))
        if delivery is None and self._current is not None:
            delivery = self._current
            delivery.open += 1
        return delivery

    def committed(self, delivery: Delivery | None) -> None:
        """Record that it was."""
        if delivery is not None:
            delivery.open -= 1

    def failed(self, subject: object, delivery: Delivery | None) -> None:
        """Record that it was not; the delivery waits until the same subject is committed."""
        if delivery is not None:
            self._failed[id(subject)] = subject, delivery

    def due(self) -> SourceReceipt | None:
        """End the event, and return the newest receipt that may be acknowledged; each once.

        All before it may be acknowledged too.
        """
        self.handled()
        newest = None
        while self._deliveries and not self._deliveries[0].open:
            newest = self._deliveries.popleft().receipt
        return newest

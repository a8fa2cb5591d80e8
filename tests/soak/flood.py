"""A burst of observations while the broker stands still: ``python -m tests.soak.flood 500000``.

The whole core, its outboxes and a broker that acknowledges nothing, then everything. What is held
must not depend on how much came, and what arrives in the end is the newest of each topic.
"""

import gc
import sys
import tracemalloc
from datetime import timedelta

from bridge.core.composition import Core
from bridge.core.delivery.outbox import Outbox
from bridge.core.delivery.value_queue import ValueQueue
from bridge.core.events import (
    MqttConnected,
    ObservationsReceived,
    Started,
    StoreOpened,
    StreamOpened,
)
from bridge.core.messages import Publish
from bridge.core.records.moment import Timestamp
from bridge.core.records.observation import RawObservation
from bridge.core.value_format import iso_utc
from bridge.settings import EaseeSettings, Secret, Settings
from tests.conftest import NOON
from tests.native import handled

CHARGERS = tuple(f"EH{number:06}" for number in range(20))
# Power, energy and currents: numbers that move all day.
NUMBERS = (120, 121, 122, 124, 182, 183, 184, 185, 194)
TOGETHER = 50
WINDOW = 20
WARM_UP = 2_000
# A lifetime energy has more digits than a first one; dicts grow in steps.
SLACK_BYTES = 256 * 1024


class Flood:
    """The core between a hub that pours and a broker that stands still."""

    def __init__(self) -> None:
        settings = Settings(EaseeSettings("x@example.com", Secret("p"), CHARGERS))
        self.machine = Core(settings, version="flood", salt=b"salt")
        self.outbox = Outbox()
        self.telemetry = ValueQueue(self.outbox)
        self.sent: list[Publish] = []
        self.arrived: dict[str, bytes] = {}
        self.poured = 0
        for event in (StoreOpened(()), Started(), StreamOpened(), MqttConnected(False, "5", 20)):
            self.handle(event)
        self.telemetry.opened(WINDOW)

    @property
    def held(self) -> int:
        """How many messages wait or are in flight."""
        boxes = (self.outbox, self.telemetry)
        return sum(box.waiting + box.in_flight for box in boxes)

    def handle(self, event) -> None:
        """Let the core take one event; keep what it publishes."""
        now = Timestamp(NOON + timedelta(milliseconds=self.poured), 1000.0 + self.poured / 1000)
        for effect in handled(self.machine, event, now):
            assert getattr(effect, "event", "") != "component.failed", effect
            if isinstance(effect, Publish):
                box = self.telemetry if effect.telemetry else self.outbox
                box.put(effect)

    def pour(self, count: int) -> None:
        """Let so many observations arrive; what the window allows goes out."""
        for start in range(self.poured, self.poured + count, TOGETHER):
            raws = []
            for number in range(start, start + TOGETHER):
                charger = CHARGERS[number % len(CHARGERS)]
                which = NUMBERS[number // len(CHARGERS) % len(NUMBERS)]
                stamp = iso_utc(NOON + timedelta(milliseconds=number))
                raws.append(RawObservation(charger, which, 3, f"{number}.5", stamp))
            self.poured = start + TOGETHER
            self.handle(ObservationsReceived(tuple(raws)))
            self.sent += self.telemetry.take()

    def thaw(self) -> None:
        """Let the broker take everything, as fast as the window allows."""
        while self.sent:
            batch, self.sent = self.sent, []
            self.arrived.update((message.topic, message.payload) for message in batch)
            self.telemetry.acked(batch)
            self.sent += self.telemetry.take()


def grown_bytes(count: int) -> tuple[int, int]:
    """Pour observations over a broker that stands still.

    Returns:
        How much memory grew after the first of them, and how many messages are held.
    """
    tracemalloc.start()
    flood = Flood()
    flood.pour(WARM_UP)
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    flood.pour(count)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    held = flood.held
    flood.thaw()
    last = flood.poured - 1
    newest = f"{last}.5".encode()
    if newest not in flood.arrived.values():
        raise AssertionError("the newest value did not arrive")
    return grown, held


def main() -> None:
    """Pour as many as the command line says."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 500_000
    grown, held = grown_bytes(count)
    print(f"{count} observations: {grown / 1024:.0f} KiB more, {held} messages held")  # noqa: T201 - a script
    sys.exit(grown > SLACK_BYTES)


if __name__ == "__main__":
    main()

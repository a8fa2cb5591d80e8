"""The log of an hour in the worst outage: ``python -m tests.soak.outage``.

Broker, hub and REST interface come and go for an hour of simulated time, for reasons that
alternate: the connection to the broker breaks every five seconds, the broker restarts once a
minute, the hub ends or refuses every connection within seconds, requests fail four times a minute,
the disk fails twice in the hour. Ten chargers charge, and one command a minute is given. Every line
goes through the program's own pipeline and limit; what would go to standard error is counted.
"""

import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import structlog

from bridge import logs
from tests.simulation.engine import START_S
from tests.simulation.options import CHATTER, Options
from tests.simulation.simulation import HOUR_S, Simulation

CHARGERS = 10
# How often each comes in the hour.
FAULTS = {
    "mqtt_drop": 720.0,
    "broker_restart": 60.0,
    "hub_drop": 360.0,
    "hub_close": 120.0,
    "hub_refuses": 120.0,
    "rest_5xx": 240.0,
    "rest_unreachable": 30.0,
    "rest_429": 30.0,
    "disk_fails": 2.0,
}
OUTAGE = Options(
    seed=1,
    hours=1.0,
    chargers=CHARGERS,
    thin=True,
    protocol="5",
    poll=False,
    commands_per_hour=60.0,
    sessions_per_hour=0.5,
    acknowledges=True,
    listed=False,
    days_away=False,
    frames_cut=0.0,
    faults=FAULTS,
    chatter=frozenset(CHATTER),
)


@dataclass(slots=True)
class Written:
    """What was written in the hour.

    Attributes:
        bytes_of: Of each event.
        lines_of: Likewise.
        asked: How many lines the program wanted to write, sums included.
        left_out: How many of them were suppressed.
    """

    bytes_of: Counter[str] = field(default_factory=Counter)
    lines_of: Counter[str] = field(default_factory=Counter)
    asked: int = 0
    left_out: int = 0


class Outage(Simulation):
    """A life whose log goes through the program's pipeline for an hour."""

    def __init__(self, options: Options = OUTAGE) -> None:
        super().__init__(options)
        self.written = Written()

    def run(self) -> None:
        """Play it.

        Raises:
            Violation: A promise was broken.
        """
        logs.limit_lines(lambda: self.timeline.now_s)
        self.timeline.later(logs.REPEATED_EVERY_S, self._tell_repeated)
        try:
            super().run()
        finally:
            logs.end_limit()

    def _tell_repeated(self) -> None:
        self.timeline.later(logs.tell_repeated(), self._tell_repeated)

    def _sink(self, logger: object, method: str, event: dict[str, Any]) -> str:
        if self.timeline.now_s < START_S + HOUR_S:
            self.written.asked += 1
            self._write(logger, method, dict(event))
        return super()._sink(logger, method, event)

    def _write(self, logger: object, method: str, fields: dict[str, Any]) -> None:
        try:
            fields = logs._admitted(logger, method, fields)
        except structlog.DropEvent:
            self.written.left_out += 1
            return
        event = str(fields["event"])
        stamp = self.timeline.wall.isoformat().replace("+00:00", "Z")
        fields |= {"level": method, "timestamp": stamp}
        line = logs._charged(logs._json(logger, method, logs._clean_step(logger, method, fields)))
        self.written.bytes_of[event] += len(line) + 1
        self.written.lines_of[event] += 1


def measure() -> Written:
    """Play the hour and count."""
    outage = Outage()
    outage.run()
    return outage.written


def main() -> int:
    """Run from the command line."""
    written = measure()
    for event, size in written.bytes_of.most_common():
        sys.stdout.write(f"{size:8} bytes, {written.lines_of[event]:4} lines  {event}\n")
    sys.stdout.write(
        f"{written.bytes_of.total() / 1000:.1f} KB in {written.lines_of.total()} lines,"
        f" of {written.asked} lines\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

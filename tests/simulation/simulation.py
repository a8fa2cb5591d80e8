"""One run: the world and the bridge in it, from one seed.

First a phase in which things go wrong, then one in which nothing does; see
:mod:`tests.simulation.ending` for how it is judged and docs/simulation.md for the whole.
"""

import json
import math
import random
import sys
from collections import Counter, deque
from typing import Any

import structlog

from bridge.core import status
from bridge.core.records.command_row import SESSION_S
from bridge.core.topics import Topics
from bridge.gateway import SUSPENDED_S
from bridge.recorder.recording import GENERATION_S, KEPT_S
from tests.judge import Judge
from tests.simulation import faults
from tests.simulation.broker import Broker, Inbound
from tests.simulation.cloud import Vendor
from tests.simulation.disk import Disk
from tests.simulation.ending import Ending, Over
from tests.simulation.engine import START_S, Killed, SimulatedClock, Timeline
from tests.simulation.options import Options
from tests.simulation.oracle import Oracle
from tests.simulation.people import People
from tests.simulation.process import Process
from tests.simulation.recording import Recording

# A command that comes last needs its time before all goes quiet.
QUIET_BEFORE_END_S = 200.0
HOUR_S = 3600.0
# Longer than a record reaches back, so that its oldest part is dropped in long lives.
RECORDED_S = KEPT_S + 2 * GENERATION_S
# Of so many lives one is also replayed as it would be written, which takes twice as long.
REDACTED_EVERY = 4
EVENTS_KEPT = 60
# A summary each minute would be most of what happens in a long life.
HEALTH_SELDOM_S = 1800.0
# A clock that is off by more than the program grants a charger's.
SLOW_S = 300.0
JUDGE = Judge()


class Simulation:
    """One run.

    Attributes:
        options: What it is like.
        fired: How often each fault came.
        recording: What left the program, in digests.
        events: The last things that happened.
        lives: How many processes there were.
        is_alive: One of them runs.
        back_in_s: When the next one starts after this one.
        trouble_ends_s: When nothing goes wrong any more.
        trouble_is_over: Nothing goes wrong any more.
        record_from_s: When processes begin to record, on the monotonic clock.
        records: How many records were compared with what happened.
        replayed: How many recorded events were replayed.
        redacted_every: Of so many lives one has its record replayed also as it is written.
    """

    redacted_every = REDACTED_EVERY

    def __init__(self, options: Options, *, verbose: bool = False) -> None:
        self.options = options
        self._verbose = verbose
        self.fired: Counter[str] = Counter()
        self.recording = Recording()
        self.events: deque[tuple[float, str, object]] = deque(maxlen=EVENTS_KEPT)
        self.timeline = Timeline()
        self.trouble_ends_s = float("inf")
        self.rng = random.Random(f"run:{options.seed}")
        self.clock = SimulatedClock(self.timeline, self.rng)
        self.vendor = Vendor(
            self.timeline,
            self.rng,
            options=options,
            note=self._fault,
        )
        self.chargers = list(self.vendor.world.chargers)
        self.oracle = Oracle(self.timeline, self.vendor.world, self.note)
        self.topics = Topics("charger")
        self.broker = Broker(
            self.timeline,
            self.rng,
            self.topics,
            protocol=options.protocol,
            session_expiry_s=SESSION_S,
            on_publish=self._published,
            on_report=self._consumed,
        )
        self.disk = Disk(self.timeline, self.rng, accepted=self.oracle.report_accepted)
        self.people = People(
            self.timeline,
            self.rng,
            self.clock,
            self.oracle,
            self.chargers,
            protocol=options.protocol,
        )
        self.disk.written = self.people.written
        self.people.troubles_s = self.disk.troubles_s
        self.vendor.on_left = self.people.left
        self.vendor.on_executed = self.people.executed
        self.process: Process | None = None
        self.lives = 0
        self.is_alive = False
        self.back_in_s = 0.0
        self.trouble_is_over = False
        self.record_from_s = START_S
        self.records = 0
        self.replayed = 0

    # -- what is noted ---------------------------------------------------------------------------

    def note(self, event: str, detail: object) -> None:
        """Remember what happened, and say it in a replay."""
        self.events.append((self.timeline.now_s, event, detail))
        if self._verbose:
            sys.stdout.write(f"{self.timeline.now_s - START_S:10.3f}  {event}  {detail}\n")

    def _fault(self, name: str, detail: object) -> None:
        self.fired[name] += 1
        self.note(name, detail)

    def logged(self, event: dict[str, Any]) -> None:
        """Take a log line of the program's."""
        name = event.pop("event", "")
        self.note(f"log {name}", event)
        if name == "component.failed":
            self.oracle.fail(f"a component failed: {event}")

    # -- what the broker and the consumer say ----------------------------------------------------

    def _published(self, topic: str, payload: bytes, retained: bool) -> None:
        self.oracle.published += 1
        self.recording.published(self.timeline.now_s, topic, payload, retained=retained)
        if (problem := JUDGE.problem(topic, payload)) is not None:
            self.oracle.fail(f"a message is not as its schema says: {problem}")
        if self._verbose:
            self.note("->", (topic, payload, "retained" if retained else ""))
        parts = topic.split("/")
        if len(parts) < 3 or not payload:
            return
        if parts[2] == "observation" and retained:
            # What came while the clock was unset cannot be told from what comes while it is slow.
            excused = self.clock.was_unset and self.clock.offset_s < -SLOW_S
            self.oracle.value_published(topic, payload, in_order=not excused)
        elif parts[2] == "result" or parts[1] == "reply":
            self.people.answered(topic, payload)
        elif topic.endswith("/session/report"):
            self.oracle.report_published(payload)

    def _consumed(self, payload: bytes) -> None:
        self.oracle.report_consumed(payload)
        if self.options.acknowledges:
            document = json.loads(payload)
            ack = json.dumps({"key": document["key"], "revision": document["revision"]})
            self.timeline.later(
                self.rng.uniform(0.05, 2.0),
                lambda: self.broker.publish(Inbound("charger/bridge/session/ack", ack.encode())),
            )

    # -- the process -----------------------------------------------------------------------------

    def kill(self, *, back_in_s: float) -> bool:
        """Kill the process where it stands."""
        if not self.is_alive or self.trouble_is_over:
            return False
        self.back_in_s = back_in_s
        if self.rng.random() < 0.5:
            self.timeline.later(0.0, self._die)
        else:
            self.disk.at_commit = self._die
            # Where nothing is written for long it dies all the same.
            self.timeline.later(30.0, self._die_uncommitted)
        return True

    def _die_uncommitted(self) -> None:
        if self.disk.at_commit is not None:
            self.disk.at_commit = None
            self._die()

    def _die(self) -> None:
        if self.is_alive and not self.trouble_is_over:
            self.note("killed", f"back in {self.back_in_s:g} s")
            raise Killed

    def stop(self, *, back_in_s: float) -> bool:
        """Ask the process to end."""
        if not self.is_alive or self.process is None:
            return False
        self.back_in_s = back_in_s
        self.process.stop()
        return True

    def _live(self) -> None:
        """Let one process live."""
        self.lives += 1
        self.clock.forget()
        self.people.life = self.vendor.life = self.lives
        self.process = Process(
            self.lives,
            self.options,
            timeline=self.timeline,
            clock=self.clock,
            rng=self.rng,
            broker=self.broker,
            vendor=self.vendor,
            disk=self.disk,
            record_from_s=self.record_from_s,
        )
        self.is_alive = True
        self.note("started", self.lives)
        try:
            self.process.run()
            self.note("stopped", self.lives)
        except Killed:
            pass
        finally:
            self.is_alive = False
        for socket in tuple(self.vendor.sockets):
            socket.end()
        self.broker.gateway_died()
        self.people.process_died()

    # -- the two phases --------------------------------------------------------------------------

    def run(self) -> None:
        """Play it.

        Raises:
            Violation: A promise was broken.
        """
        end_s = self.timeline.now_s + self.options.hours * HOUR_S
        self.trouble_ends_s = end_s
        for name, rate in self.options.faults.items():
            self._plan(name, rate, end_s)
        self._repeat(self.options.commands_per_hour, end_s - QUIET_BEFORE_END_S, self._ask)
        for charger_id in self.chargers:
            self._drive(charger_id, end_s)
        # Drawn apart: what else happens does not depend on it.
        moment_s = random.Random(f"record:{self.options.seed}").uniform(0.0, end_s - START_S)
        self.record_from_s = self.timeline.now_s + moment_s - RECORDED_S
        self.timeline.later(moment_s, self._replay)
        ending = Ending(self)
        self.timeline.later(0.0, ending.look)
        self.timeline.later(end_s - self.timeline.now_s, ending.heal)
        logged = structlog.get_config()
        structlog.configure(
            processors=[self._sink],
            wrapper_class=structlog.make_filtering_bound_logger(20),
            cache_logger_on_first_use=False,
        )
        health_every_s = status.HEALTH_EVERY_S
        if self.options.rarer > 1:
            status.HEALTH_EVERY_S = HEALTH_SELDOM_S
        try:
            while True:
                self._live()
                self.timeline.run_until(self.timeline.now_s + self.back_in_s)
        except Over:
            self.oracle.check()
        finally:
            self.recording.ended(self.vendor.requests, self.disk)
            status.HEALTH_EVERY_S = health_every_s
            structlog.configure(**logged)

    def _replay(self) -> None:
        """Replay what the recorder of the process holds: it must do the same again."""
        self.record_from_s = math.inf
        if self.process is None:
            return
        witness = self.process.recorder
        difference = witness.difference()
        if not difference and self.options.seed % self.redacted_every == 0:
            difference = witness.redacted_difference()
        if difference:
            self.oracle.fail(f"a record is replayed to something else: {difference[:2000]}")
        self.records += 1
        self.replayed += witness.replayed
        witness.stop()

    def _sink(self, _logger: object, _method: str, event: dict[str, Any]) -> str:
        self.logged(event)
        raise structlog.DropEvent

    def _plan(self, name: str, rate: float, end_s: float) -> None:
        """Let a fault come now and then."""

        def come() -> None:
            if faults.TABLE[name](self, self.rng):
                self._fault(name, "")

        self._repeat(rate, end_s, come)

    def _repeat(self, rate: float, end_s: float, act: Any) -> None:
        """Do something so often in an hour, at random."""
        wait_s = self.rng.expovariate(rate / HOUR_S)
        if self.timeline.now_s + wait_s < end_s:

            def come() -> None:
                act()
                self._repeat(rate, end_s, act)

            self.timeline.later(wait_s, come)

    def _ask(self) -> None:
        self.people.ask(self.broker)

    def _drive(self, charger_id: str, end_s: float) -> None:
        """Let cars come to a charger and go."""

        def act() -> None:
            self.vendor.live()
            charger = self.vendor.world.chargers[charger_id]
            if not charger.online:
                return
            if charger.car is None:
                charger.plug_in(faults.car(self.rng))
            elif charger.waiting_for_authorization:
                charger.show_tag("04B1D3F5A79C21")
            else:
                charger.unplug()
            self.vendor.live()

        self._repeat(3 * self.options.sessions_per_hour, end_s, act)

    # -- what faults need ------------------------------------------------------------------------

    def touch(self, rng: random.Random) -> None:
        """Let chargers say something at once."""
        for charger_id in self.chargers:
            charger = self.vendor.world.chargers[charger_id]
            for number in (120, 48, 96, 132):
                if number in charger.readings:
                    charger.put(number, charger.value(number))
        self.vendor.live()

    def freeze(self, for_s: float) -> None:
        """Let the process stand still from now on."""
        self.timeline.later(0.0, lambda: self._stand_still(for_s))

    def _stand_still(self, for_s: float) -> None:
        if self.is_alive and not self.timeline.is_nested:
            # It ends with all other trouble: the minute to go is the process's own.
            for_s = min(for_s, self.trouble_ends_s - self.timeline.now_s)
            self.note("stands still", f"for {for_s:g} s")
            if for_s < SUSPENDED_S:
                self.people.reading_s = self.timeline.now_s + for_s
            self.timeline.pass_without_us(for_s)
            self.note("goes on", "")

    def bring_back(self, charger_id: str, sessions: int) -> None:
        """Give a charger its cloud again."""
        self.vendor.live()
        self.vendor.simulator.bring_back(charger_id, sessions)
        self.vendor.flush()

    def broker_accepts(self) -> None:
        """Let the broker take everything again; who was refused finds out when it tries."""
        if self.broker.refuses is not None:
            self.broker.consumer_back_s = self.timeline.now_s
        self.broker.refuses = None

    def mend_disk(self) -> None:
        """Let the disk work again; the store finds that out by itself."""
        self.disk.state = "ok"
        if self.process is not None:
            self.timeline.later(self.rng.uniform(0.5, 20.0), self.process.store.mended)

    def set_clock(self) -> None:
        """Set the machine's clock right."""
        if not self.clock.is_true:
            self.clock.jumps += 1
        self.clock.offset_s = 0.0
        self.clock.synchronized = True

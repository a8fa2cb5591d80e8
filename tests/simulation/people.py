"""Who asks for things, and what they may expect of the answers."""

import json
import math
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from bridge.core.records.command_row import CommandRow
from bridge.core.value_format import iso_utc
from bridge.settings import CommandSettings
from tests.simulation.broker import Broker, Inbound
from tests.simulation.cloud import Request
from tests.simulation.disk import TOO_LONG_S
from tests.simulation.engine import SimulatedClock, Timeline
from tests.simulation.oracle import Oracle

TTL_S = 60.0
# Two of a kind that must not run twice are far enough apart to be told from each other.
APART_S = 700.0
ACTIONS = ("start", "stop", "pause", "resume")
ONCE = ("toggle", "reboot")
NEVER_RUN = "lock_cable_permanently"
# Wears the charger's memory: so many a day, whatever happens in between.
FLASH = "max_charger_current"
# The limit that people set, and the observation that shows it.
LIMIT, LIMIT_ID = "dynamic_charger_current", 48
# The gateway may not have heard of a change that is so young.
SHOWN_S = 60.0
DAY_S = 86_400.0
PATHS = {
    "start_charging": "start",
    "stop_charging": "stop",
    "pause_charging": "pause",
    "resume_charging": "resume",
    "toggle_charging": "toggle",
    "reboot": "reboot",
    "lock_state": NEVER_RUN,
}
MAX_FLASH_WRITES = CommandSettings().flash_writes_per_day
# What a request may take from the moment it was let go to the moment it is seen.
LEAVING_S = 0.01


@dataclass(slots=True, eq=False)
class Asking:
    """One message somebody published, and everything that came of it.

    Attributes:
        what: Command and value: what an execution is recognised by.
        published_s: When.
        dated_s: True time until which it may run, if it says so itself.
        deliveries: (when, to which process) the gateway got it.
        acked_s: When the broker had our acknowledgement.
        finals: Different final answers.
        executions: How often the cloud carried it out, where that can be told.
        jumps: Of the gateway's clock when it was published.
        is_spoilt: The disk or the broker lost what was needed to keep its promise.
    """

    number: int
    charger_id: str
    what: tuple[str, object]
    name: str | None
    published_s: float
    ttl_s: float
    dated_s: float | None
    retained: bool
    jumps: int
    deliveries: list[tuple[float, int]] = field(default_factory=list)
    acked_s: float | None = None
    finals: dict[bytes, dict[str, Any]] = field(default_factory=dict)
    executions: int = 0
    is_spoilt: bool = False

    @property
    def command(self) -> str:
        return self.what[0]

    @property
    def energizes(self) -> bool:
        name, value = self.what
        return name in ("start", "resume", "toggle") or (name == LIMIT and bool(value))

    def may_run(self, at_s: float) -> bool:
        """Say whether it may leave for the cloud at this moment."""
        if self.dated_s is not None:
            return bool(self.deliveries) and at_s <= self.dated_s + LEAVING_S
        firsts: dict[int, float] = {}
        for when_s, life in self.deliveries:
            if self.acked_s is None or when_s <= self.acked_s:
                firsts.setdefault(life, when_s)
        return any(when_s <= at_s <= when_s + self.ttl_s + LEAVING_S for when_s in firsts.values())

    def may_run_again(self, at_s: float, limits: Sequence[float] = ()) -> bool:
        """Say whether an older memory of the broker may have brought it again, unrecognised.

        Args:
            at_s: It leaves for the cloud.
            limits: What the charger showed of its limit of late; a lower one lets nothing grow.

        A hole that docs/commands.md tells of: a command without a time of its own that cannot
        let a charge begin or grow runs once more if it has no name, or was refused and so is not on
        disk.
        """
        was_refused = all(final["state"] == "refused" for final in self.finals.values())
        is_recognised = self.name is not None and not was_refused
        name, value = self.what
        grows = self.energizes and not (name == LIMIT and any(value <= limit for limit in limits))
        if not self.is_spoilt or grows or is_recognised or self.dated_s is not None:
            return False
        last_s = self.deliveries[-1][0] if self.deliveries else math.inf
        return last_s <= at_s <= last_s + self.ttl_s + LEAVING_S


class People:
    """Callers and their expectations.

    Attributes:
        life: Number of the gateway's process.
        troubles_s: When the disk did not work.
    """

    def __init__(
        self,
        timeline: Timeline,
        rng: random.Random,
        clock: SimulatedClock,
        oracle: Oracle,
        chargers: list[str],
        *,
        protocol: str,
    ) -> None:
        self._timeline = timeline
        self._rng = rng
        self._clock = clock
        self._oracle = oracle
        self._chargers = chargers
        self._is_5 = protocol == "5"
        self._amps = dict.fromkeys(chargers, 5)
        self._once_s: dict[tuple[str, str], float] = {}
        self.life = 0
        # A process that stands still for so short a time that it counts as busy reads again then.
        self.reading_s = 0.0
        self.troubles_s: list[float] = []
        self.askings: list[Asking] = []
        self._by_name: dict[str, Asking] = {}
        self._left: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
        self._flash: dict[str, list[tuple[float, int]]] = defaultdict(list)

    # -- asking ----------------------------------------------------------------------------------

    def ask(self, broker: Broker) -> None:
        """Publish a command."""
        rng, now_s = self._rng, self._timeline.now_s
        charger_id = rng.choice(self._chargers)
        what = self._what(charger_id)
        retained = what[0] == NEVER_RUN
        number = len(self.askings)
        name = f"c{number}" if not self._is_5 or rng.random() < 0.6 else None
        fields: dict[str, object] = {} if what[1] is None else {"value": what[1]}
        if name is not None:
            fields["id"] = name
        ttl_s, dated_s = TTL_S, None
        if rng.random() < 0.3:
            ttl_s = rng.choice((3.0, 20.0, 60.0))
            fields["ttl_s"] = ttl_s
        if rng.random() < 0.3:
            dated_s = now_s + rng.choice((5, 30, 60))
            at = self._timeline.wall + timedelta(seconds=dated_s - now_s)
            fields["expires_at"] = iso_utc(at)
            dated_s = min(dated_s, now_s + 1e9)
        payload = json.dumps(fields).encode() if fields else b"PRESS"
        asking = Asking(
            number, charger_id, what, name, now_s, ttl_s, dated_s, retained, self._clock.jumps
        )
        message = Inbound(
            f"charger/{charger_id}/set/{what[0]}",
            payload,
            retained=retained,
            response_topic=f"charger/reply/{number}",
            on_delivered=lambda _dup: self._delivered(asking),
            on_acked=lambda: self._acked(asking),
        )
        self.askings.append(asking)
        if name is not None:
            self._by_name[name] = asking
        broker.publish(message)

    def _what(self, charger_id: str) -> tuple[str, object]:
        rng = self._rng
        kind = rng.random()
        if kind < 0.03:
            return NEVER_RUN, True
        if kind < 0.07:
            return FLASH, rng.randrange(10, 33)
        if kind < 0.15:
            name = rng.choice(ONCE)
            if self._timeline.now_s - self._once_s.get((charger_id, name), -1e9) > APART_S:
                self._once_s[charger_id, name] = self._timeline.now_s
                return name, None
        if kind < 0.5:
            return rng.choice(ACTIONS), None
        if kind < 0.6:
            return "authorization_required", rng.random() < 0.5
        self._amps[charger_id] = 6 if self._amps[charger_id] >= 32 else self._amps[charger_id] + 1
        return LIMIT, rng.choice((0, self._amps[charger_id]))

    def _delivered(self, asking: Asking) -> None:
        asking.deliveries.append((max(self._timeline.now_s, self.reading_s), self.life))

    def _acked(self, asking: Asking) -> None:
        if asking.acked_s is None:
            asking.acked_s = self._timeline.now_s

    # -- answers ---------------------------------------------------------------------------------

    def answered(self, topic: str, payload: bytes) -> None:
        """Take an answer."""
        document = json.loads(payload)
        if topic.startswith("charger/reply/"):
            asking = self.askings[int(topic.rsplit("/", 1)[1])]
        else:
            found = self._by_name.get(document["id"] or "")
            if found is None:
                return
            asking = found
        if not document["final"]:
            return
        asking.finals[payload] = document
        if not asking.deliveries and not asking.retained:
            self._oracle.fail(f"an answer to what never arrived: {payload!r}")
        if asking.retained and document["reason"] != "retained":
            self._oracle.fail(f"a retained command was answered {payload!r}")
        if len(asking.finals) > 1 and not asking.is_spoilt and not asking.retained:
            self._oracle.fail(f"two answers to one command: {list(asking.finals)}")

    # -- executions ------------------------------------------------------------------------------

    def left(self, request: Request) -> None:
        """Judge a command on its way to the cloud: somebody asked for it, and it is in time."""
        found = self._what_of(request)
        if found is None:
            return
        charger_id, what = found
        if what[0] == NEVER_RUN:
            self._oracle.fail("a retained command was carried out")
        alike = [a for a in self.askings if a.charger_id == charger_id and a.what == what]
        asked = [a for a in alike if a.deliveries]
        if not asked:
            self._oracle.fail(f"nobody asked for {what} of {charger_id}")
            return
        # By a clock that jumped nobody can tell what time it is.
        excused = not self._clock.is_true or any(a.jumps != self._clock.jumps for a in asked[-3:])
        now_s = self._timeline.now_s
        in_time = [a for a in asked if a.may_run(now_s) or (excused and a.dated_s is not None)]
        recently = self._timeline.wall - timedelta(seconds=SHOWN_S)
        limits = self._oracle.measured.shown(charger_id, LIMIT_ID, recently)
        brought_back = any(a.may_run_again(now_s, limits) for a in asked)
        if not (in_time or excused or brought_back):
            self._oracle.fail(f"{what} of {charger_id} left after its time")
        if len(in_time) == 1:
            (asking,) = in_time
            life, last = self._left[charger_id]
            # An older memory of the broker may bring one for the first time when its turn is over.
            if life == self.life and asking.number < last and not asking.is_spoilt:
                self._oracle.fail(f"{what} of {charger_id} left out of order")
            self._left[charger_id] = (
                self.life,
                max(asking.number, last) if life == self.life else asking.number,
            )

    def executed(self, request: Request) -> None:
        """Judge what the cloud carried out: what must not run twice does not."""
        found = self._what_of(request)
        if found is None:
            return
        charger_id, what = found
        if what[0] == FLASH:
            self._flash_is_spared(charger_id)
        if what[0] not in ONCE:
            return
        asked = [a for a in self.askings if a.charger_id == charger_id and a.what == what]
        asking = next((a for a in reversed(asked) if a.deliveries), None)
        if asking is None:
            return
        asking.executions += 1
        if asking.executions > 1:
            self._oracle.fail(f"{what} of {charger_id} was carried out twice")

    def _flash_is_spared(self, charger_id: str) -> None:
        """Judge that no more is written in a day than was allowed, over all processes.

        What a disk did not keep cannot be counted, nor told from today by a clock that is wrong.
        """
        now_s = self._timeline.now_s
        day = self._flash[charger_id]
        day.append((now_s, self._clock.jumps))
        while day[0][0] <= now_s - DAY_S:
            day.pop(0)
        has_trouble = any(at_s > now_s - DAY_S for at_s in reversed(self.troubles_s))
        if has_trouble or day[0][1] != self._clock.jumps or not self._clock.is_true:
            return
        if len(day) > MAX_FLASH_WRITES:
            self._oracle.fail(f"{len(day)} writes of flash memory in a day: {charger_id}")

    def _what_of(self, request: Request) -> tuple[str, tuple[str, object]] | None:
        parts = request.path.split("/")
        if request.method != "POST" or parts[1:3] != ["api", "chargers"]:
            return None
        charger_id, name = parts[3], parts[-1]
        if name in PATHS:
            value = True if PATHS[name] == NEVER_RUN else None
            return charger_id, (PATHS[name], value)
        fields = json.loads(request.body or b"{}")
        if name == "set_dynamic_charger_current":
            return charger_id, (LIMIT, int(fields["amps"]))
        if name == "settings" and "maxChargerCurrent" in fields:
            return charger_id, (FLASH, int(fields["maxChargerCurrent"]))
        if name == "settings" and "authorizationRequired" in fields:
            return charger_id, ("authorization_required", fields["authorizationRequired"])
        return None

    def written(self, row: CommandRow) -> None:
        """Judge a command that comes to be on the disk: the broker still has it until then."""
        asking = self._by_name.get(row.name.partition(":")[2])
        if asking is None or asking.is_spoilt or asking.acked_s is None or asking.finals:
            return
        since_s, until_s = asking.deliveries[0][0], asking.acked_s
        if until_s - since_s > TOO_LONG_S:
            return  # a disk that hangs counts as one that failed
        if any(since_s <= at_s <= until_s for at_s in self.troubles_s):
            return  # what it was for is said in the answers, or it was refused
        self._oracle.fail(f"acknowledged before it was on the disk: {asking}")

    # -- trouble ---------------------------------------------------------------------------------

    def process_died(self) -> None:
        """Excuse what a process took with it that it could not write down."""
        for asking in self.askings:
            if not asking.deliveries or asking.is_spoilt:
                continue
            since_s = asking.deliveries[0][0]
            had_trouble = any(at_s >= since_s - 30 for at_s in self.troubles_s)
            refused = any(f["state"] == "refused" for f in asking.finals.values())
            # What was refused is not on disk, and judged anew where the broker delivers it again.
            asking.is_spoilt = had_trouble or (refused and asking.acked_s is None)

    def broker_died(self) -> None:
        """Excuse what a broker may bring back from the dead, or has taken with it."""
        for asking in self.askings:
            asking.is_spoilt = True

    def all_answered(self) -> None:
        """Judge, at the end, that everybody has the one answer."""
        for asking in self.askings:
            if asking.retained or asking.is_spoilt or asking.acked_s is None:
                continue
            if len(asking.finals) != 1:
                self._oracle.fail(f"{len(asking.finals)} answers to {asking}")

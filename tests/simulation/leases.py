"""Five workers, one database, and clocks that differ: who believes to serve what.

``python -m tests.simulation.leases SEEDS [FIRST]`` plays so many lives of a minute; ``--seed N``
plays one again and says everything that happened. Workers crash and come back, stand still and
wake, are drained, and wait for a database that is slow, loses answers or is away; their clocks run
up to ten percent fast or slow. A frozen worker wakes with what it believed, by its own clock.

The oracle knows true time. Whenever the database gives a partition away, and whenever a worker
begins to believe, no other worker may believe in that partition, now or later. When nothing more
goes wrong, every partition has an owner and shares are even.
"""

import heapq
import itertools
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from msgspec.structs import replace

from bridge.core.partitions import (
    MAX_DRIFT,
    RENEW_EVERY_S,
    Holdings,
    assigned,
    balance,
)
from bridge.core.records.lease import HeldLease, Lease
from tests.simulation import lives
from tests.simulation.lives import Tell, Violation, untold

TTL_S = 4.0
WORKERS = 5
LIFE_S = 75.0
CALM_S = 30.0  # at the end nothing more goes wrong
TIMEOUT_S = 2.0
LOOK_EVERY_S = 0.25  # of a worker, at what it holds and at what is free


@dataclass
class Row:
    """A lease in the database."""

    owner: str = ""
    epoch: int = 0
    until: float = 0.0


@dataclass
class Database:
    """Executes a request at one moment of true time, whole or not at all."""

    partitions: int
    granted: Callable[[str, int], None]
    rows: dict[int, Row] = field(default_factory=dict)
    members: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rows = {number: Row() for number in range(self.partitions)}

    def renew(
        self, owner: str, asked: tuple[Lease, ...], now: float, *, leaving: bool
    ) -> tuple[list[Lease], list[HeldLease], list[str]]:
        """Renew what is still its own; return that, the table and the members."""
        self.members[owner] = -1.0 if leaving else now + TTL_S
        found = []
        for lease in asked:
            row = self.rows[lease.partition]
            if (row.owner, row.epoch) == (owner, lease.epoch):
                row.until = now + TTL_S
                found.append(lease)
        table = [
            HeldLease(number, row.owner or None, row.epoch, row.until - now)
            for number, row in self.rows.items()
        ]
        return found, table, [name for name, until in self.members.items() if until >= now]

    def take(self, owner: str, wanted: tuple[int, ...], now: float) -> list[tuple[int, int]]:
        """Give what is free; return partitions and epochs."""
        given = []
        for number in wanted:
            row = self.rows[number]
            if row.until < now:
                row.owner, row.epoch, row.until = owner, row.epoch + 1, now + TTL_S
                given.append((number, row.epoch))
                self.granted(owner, number)
        return given

    def give_up(self, owner: str, leases: list[Lease], now: float) -> None:
        """End leases."""
        for lease in leases:
            row = self.rows[lease.partition]
            if (row.owner, row.epoch) == (owner, lease.epoch):
                row.owner, row.until = "", now - 1e-9


@dataclass
class Worker:
    """One process, on a clock of its own."""

    name: str
    rate: float
    offset_s: float
    holdings: Holdings
    frozen_until: float = 0.0
    is_alive: bool = True
    is_leaving: bool = False
    request: int = 0  # the one whose answer is awaited
    renewed_s: float = -1e9  # local

    def local_s(self, now: float) -> float:
        """Read its clock."""
        return self.offset_s + now * self.rate

    def believes_until(self, partition: int, now: float) -> float:
        """Return until when, in true time, it believes in a lease."""
        if not self.is_alive:
            return -1e9
        return now + self.holdings.left_s(partition, self.local_s(now)) / self.rate


class Life:
    """One minute of a cluster."""

    def __init__(self, seed: int, tell: Tell = untold) -> None:
        self.rng = random.Random(seed)
        self.tell = tell
        self.now = 0.0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self.partitions = self.rng.choice((1, 1, 2, 5, 16))
        self.database = Database(self.partitions, self._granted)
        self.workers: list[Worker] = []
        self.away: tuple[float, float] = (-1.0, -1.0)
        self.slow = self.rng.choice((0.002, 0.05, 0.5, 1.5))
        self.lossy = self.rng.choice((0.0, 0.05, 0.3))
        self.fired: Counter[str] = Counter()

    # -- time --------------------------------------------------------------------------------

    def at(self, when: float, what: Callable[[], None]) -> None:
        """Schedule something."""
        heapq.heappush(self._queue, (when, next(self._numbers), what))

    def say(self, text: str) -> None:
        """Tell what happens, when one seed is played."""
        if self.tell is not untold:
            self.tell(f"{self.now:7.3f} {text}")

    def play(self) -> Counter[str]:
        """Play it; return which faults came.

        Raises:
            Violation: Two workers believed in one partition, or it did not come right again.
        """
        self._sites()
        for number in range(WORKERS):
            self.at(self.rng.uniform(0, 3), lambda number=number: self._start(f"w{number}"))
        for _ in range(self.rng.randint(0, 12)):
            self.at(self.rng.uniform(1, LIFE_S - CALM_S), self._fault)
        while self._queue and self._queue[0][0] < LIFE_S:
            self.now, _, what = heapq.heappop(self._queue)
            what()
        self.now = LIFE_S
        self._settled()
        return self.fired

    # -- the oracle ----------------------------------------------------------------------------

    def _granted(self, owner: str, partition: int) -> None:
        self.say(f"{partition:02} taken by {owner}")
        for other in self.workers:
            if other.name != owner and other.believes_until(partition, self.now) > self.now:
                raise Violation(f"{partition} is given to {owner}, and {other.name} has it")

    def _believed(self, worker: Worker) -> None:
        """Check what a worker believes behind an answer."""
        for lease in worker.holdings.leases:
            partition, row = lease.partition, self.database.rows[lease.partition]
            ends = worker.believes_until(partition, self.now)
            if ends > self.now and (row.owner, row.epoch) != (worker.name, lease.epoch):
                raise Violation(f"{worker.name} believes in {partition}, which {row.owner} has")
            if ends > row.until + 1e-6 and row.owner == worker.name and ends > self.now:
                raise Violation(f"{worker.name} believes in {partition} for longer than it holds")

    def _settled(self) -> None:
        """Check that every partition has an owner that believes in it, and shares are even."""
        owners = Counter()
        for partition in range(self.partitions):
            believers = [
                w for w in self.workers if w.believes_until(partition, self.now) > self.now
            ]
            if len(believers) != 1:
                raise Violation(f"{partition} is believed in by {[w.name for w in believers]}")
            owners[believers[0].name] += 1
        there = [w for w in self.workers if w.is_alive and not w.is_leaving]
        most = max(owners.values())
        if there and most - min(owners[w.name] for w in there) > 1:
            raise Violation(f"shares are uneven: {dict(owners)}")

    def _sites(self) -> None:
        """All chargers of a circuit have one partition, whenever they were first seen."""
        rng, stored = self.rng, dict[str, int]()
        circuits: dict[tuple[str, int], set[int]] = defaultdict(set)
        for number in range(rng.randint(1, 30)):
            site, circuit = str(rng.randint(1, 8)), rng.randint(1, 3)
            stored |= assigned({f"EH{number:06}": site}, stored, self.partitions)
            circuits[site, circuit].add(stored[site])
        if any(len(found) > 1 for found in circuits.values()):
            raise Violation("the chargers of a circuit are in several partitions")

    # -- workers --------------------------------------------------------------------------------

    def _start(self, name: str) -> None:
        rate = 1 + self.rng.uniform(-MAX_DRIFT, MAX_DRIFT)
        offset_s = self.rng.uniform(-1000, 1000)
        worker = Worker(f"{name}.{next(self._numbers)}", rate, offset_s, Holdings(TTL_S))
        self.workers.append(worker)
        self.say(f"{worker.name} starts")
        self._look(worker)

    def _when_awake(self, worker: Worker, what: Callable[[], None]) -> None:
        """Do something now, when it wakes, or never."""
        if not worker.is_alive:
            return
        if worker.frozen_until > self.now:
            self.at(worker.frozen_until, lambda: self._when_awake(worker, what))
        else:
            what()

    def _look(self, worker: Worker) -> None:
        """Look at the clock: ask the database when that is due."""

        def look() -> None:
            local_s = worker.local_s(self.now)
            if not worker.request and local_s >= worker.renewed_s + RENEW_EVERY_S:
                self._renew(worker)
            self.at(self.now + LOOK_EVERY_S / worker.rate, lambda: self._look(worker))

        self._when_awake(worker, look)

    def _renew(self, worker: Worker) -> None:
        asked_at_s = worker.renewed_s = worker.local_s(self.now)
        asked = worker.holdings.leases

        def answered(answer: tuple[list[Lease], list[HeldLease], list[str]]) -> None:
            found, table, members = answer
            worker.holdings.renewed(asked, [replace(each, asked_at_s=asked_at_s) for each in found])
            self._believed(worker)
            todo = balance(worker.name, members, table, leaving=worker.is_leaving)
            if todo.give_back:
                self._give_up(worker, todo.give_back)
            elif todo.take:
                self._take(worker, todo.take)

        self._ask(
            worker,
            lambda: self.database.renew(worker.name, asked, self.now, leaving=worker.is_leaving),
            answered,
        )

    def _take(self, worker: Worker, wanted: tuple[int, ...]) -> None:
        asked_at_s = worker.local_s(self.now)

        def answered(given: list[tuple[int, int]]) -> None:
            for partition, epoch in given:
                worker.holdings.granted(Lease(partition, epoch, asked_at_s))
            self._believed(worker)

        self._ask(worker, lambda: self.database.take(worker.name, wanted, self.now), answered)

    def _give_up(self, worker: Worker, partitions: tuple[int, ...]) -> None:
        leases = [each for each in map(worker.holdings.give_back, partitions) if each]
        self.say(f"{worker.name} gives {[each.partition for each in leases]} back")
        self._ask(
            worker,
            lambda: self.database.give_up(worker.name, leases, self.now),
            lambda _: None,
        )

    def _ask(self, worker: Worker, execute: Callable, answered: Callable) -> None:
        """Send a request that is carried out later, or never, and answered later, or never."""
        number = worker.request = next(self._numbers) + 1
        rng, is_calm = self.rng, self.now > LIFE_S - CALM_S
        slow, lossy = (0.01, 0.0) if is_calm else (self.slow, self.lossy)

        def arrive() -> None:
            if is_calm or not self.away[0] <= self.now < self.away[1]:
                answer = execute()
                if rng.random() >= lossy:
                    self.at(
                        self.now + rng.expovariate(1 / slow), lambda: end(lambda: answered(answer))
                    )

        def end(then: Callable[[], None]) -> None:
            def take_it() -> None:
                if worker.request == number:
                    worker.request = 0
                    then()

            self._when_awake(worker, take_it)

        if rng.random() >= lossy:
            self.at(self.now + rng.expovariate(1 / slow), arrive)
        self.at(self.now + TIMEOUT_S / worker.rate, lambda: end(lambda: None))

    # -- faults ---------------------------------------------------------------------------------

    def _fault(self) -> None:
        there = [worker for worker in self.workers if worker.is_alive]
        if not there:
            return
        worker, kind = self.rng.choice(there), self.rng.choice(FAULTS)
        self.fired[kind] += 1
        self.say(f"{kind} ({worker.name})")
        name = worker.name.partition(".")[0]
        if kind == "away":
            self.away = (self.now, self.now + self.rng.uniform(1, 8))
        elif kind == "freeze":
            worker.frozen_until = self.now + self.rng.uniform(0.1, 4 * TTL_S)
        elif kind == "crash":
            worker.is_alive = False
            self.at(self.now + self.rng.uniform(0.1, 10), lambda: self._start(name))
        else:
            worker.is_leaving = True
            self.at(self.now + 3.0, lambda: self._end(worker))
            self.at(self.now + self.rng.uniform(3, 10), lambda: self._start(name))

    def _end(self, worker: Worker) -> None:
        worker.is_alive = False


FAULTS = ("crash", "freeze", "away", "drain")


def play(seed: int, tell: Tell = untold) -> Counter[str]:
    """Play a minute; return how often each fault came.

    Raises:
        Violation: Two workers believed in one partition, or it did not come right again.
    """
    return Life(seed, tell).play()


def main() -> int:
    """Play lives and say how they went."""
    return lives.main(__doc__, play)


if __name__ == "__main__":
    sys.exit(main())

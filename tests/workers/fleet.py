"""``python -m tests.workers.fleet``: many chargers through feed, partitions and a broker.

``make soak-fleet CHARGERS=… MINUTES=…``. A RabbitMQ that is the vendor's and our own, PostgreSQL,
mosquitto, two workers; each charger sends so many observations an hour, one after the other. Prints
what was sent and seen, the lag from the vendor's queue to a subscriber, and processor time and
memory of each program; that of shared pages is divided among those that share them. All programs
share the machine, so the lag is an upper bound.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from benchmarks.stage import PROCESS_CPU_CLOCK, Judge, percentile
from bridge.simulator.readings import Reading, Update
from tests.rabbitmq import rabbitmq
from tests.workers.feed import NUMBERS
from tests.workers.runs import NAMES
from tests.workers.site import Site, installed

# The cloud's memory of each charger: it says nothing by itself here.
OBSERVATIONS = 10
# Until they are known; then they are told again.
PER_S = 500.0
TICK_S = 0.1
DRAINED_WITHIN_S = 120.0
READY_S = 600.0
READY_OF_ONE_S = 0.05


@dataclass
class Lags:
    """What was sent, until it was seen.

    Attributes:
        sent: When each value of a topic was sent that was not seen yet, in order.
        seconds: How long each took that was seen.
    """

    sent: dict[str, deque[tuple[float, bytes]]] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    overtaken: int = 0

    @property
    def missing(self) -> int:
        """Return how many were not seen, nor a newer one of their topic."""
        return sum(len(each) for each in self.sent.values())

    def seen(self, topic: str, payload: bytes, at_s: float) -> None:
        """Handle a message: what was sent before it on its topic was overtaken."""
        waiting = self.sent.get(topic, deque())
        if not any(value == payload for _, value in waiting):
            return
        while waiting:
            sent_s, value = waiting.popleft()
            if value == payload:
                self.seconds.append(at_s - sent_s)
                return
            self.overtaken += 1


class Watcher(threading.Thread):
    """Reads the broker in a thread of its own."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._judge = Judge(port, *(f"charger/+/state/{spec.name}" for spec in NUMBERS))
        self._judge.log = []
        self.ended = False

    def run(self) -> None:
        """Read until told to end."""
        while not self.ended:
            self._judge.take(0.2)

    def take(self) -> list[tuple[str, bytes, int]]:
        """Return what came since."""
        found, self._judge.log = self._judge.log or [], []
        return found


@dataclass
class Usage:
    """What a program used since it started.

    Attributes:
        cpu_s: Processor time.
        mib: Memory now.
    """

    cpu_s: float = 0.0
    mib: float = 0.0


def usage(site: Site) -> dict[str, Usage]:
    """Return what each program of the installation used, the judge with the cloud included."""
    roles = {worker.process.pid: f"worker {name}" for name, worker in site.workers.items()}
    roles |= {os.getpid(): "cloud and judge", site.broker.pid: "mosquitto"}
    # These are several processes each.
    roles[site.database.pid] = "PostgreSQL"
    assert site.feed is not None
    assert site.feed.process is not None
    roles[site.feed.process.pid] = "RabbitMQ"
    found: dict[str, Usage] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            _, _, rest = (folder / "stat").read_text().rpartition(")")
            pid, (_, parent, group, *_) = int(folder.name), rest.split()
            role = next((roles[n] for n in (pid, int(parent), int(group)) if n in roles), None)
            if role is not None and not (role.startswith("worker") and pid not in roles):
                used = found.setdefault(role, Usage())
                used.cpu_s += time.clock_gettime((~pid << 3) | PROCESS_CPU_CLOCK)
                used.mib += _own_kib(folder) / 1024
        except OSError:
            continue  # it ended
    return found


def _own_kib(folder: Path) -> int:
    """Return a process's memory with its share of what several have."""
    lines = (folder / "smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


async def _sent(site: Site, lags: Lags, watcher: Watcher, per_s: float, seconds: float) -> int:
    """Let the chargers measure in turn at a rate; return how many observations were sent."""
    feed, serials, count = site.cloud.feed, site.serials, 0
    assert feed is not None
    began_s = time.monotonic()  # noqa: TID251 - the judges' own clock
    while (passed_s := time.monotonic() - began_s) < seconds:  # noqa: TID251 - likewise
        updates = []
        while count < passed_s * per_s:
            serial, turn = serials[count % len(serials)], count // len(serials)
            spec, value = NUMBERS[turn % len(NUMBERS)], turn + 0.5
            at = site.cloud.now() - timedelta(milliseconds=1)
            updates.append(Update(serial, spec.id, Reading(value, 3, at)))
            topic = f"charger/{serial}/state/{spec.name}"
            now_s = time.monotonic()  # noqa: TID251 - likewise
            lags.sent.setdefault(topic, deque()).append((now_s, str(value).encode()))
            count += 1
        feed.tell(updates)
        _looked(lags, watcher)
        await asyncio.sleep(TICK_S)
    return count


def _looked(lags: Lags, watcher: Watcher) -> None:
    for topic, payload, at_ns in watcher.take():
        lags.seen(topic, payload, at_ns / 1e9)


async def measured(
    folder: Path,
    chargers: int,
    partitions: int,
    per_h: float,
    minutes: float,
    *,
    workers: int = 2,
) -> str:
    """Run it; return the figures in words."""
    data = folder / "rabbitmq"
    data.mkdir()
    with rabbitmq(data) as server:
        async with installed(
            folder,
            chargers=chargers,
            sites=max(1, chargers // 3),
            partitions=partitions,
            feed=server,
            step_interval_s=0,
            observations=OBSERVATIONS,
        ) as site:
            for name in NAMES[:workers]:
                await site.start(name)
                await site.member(name)
            async with asyncio.timeout(site.within_s):
                await site.balanced()
            watcher = Watcher(site.broker.port)
            watcher.start()
            lags, per_s = Lags(), chargers * per_h / 3600
            try:
                # Every charger has to be known: an observation of a stranger is dropped.
                first = await _until_known(site, lags, watcher)
                began_s = time.monotonic()  # noqa: TID251 - the judges' own clock
                before = usage(site)
                count = await _sent(site, lags, watcher, per_s, minutes * 60)
                give_up_s = time.monotonic() + DRAINED_WITHIN_S  # noqa: TID251 - the judges' own
                while lags.missing and time.monotonic() < give_up_s:  # noqa: TID251 - likewise
                    await asyncio.sleep(TICK_S)
                    _looked(lags, watcher)
                after, ended_s = usage(site), time.monotonic()  # noqa: TID251 - likewise
                served = await _served(site)
            finally:
                watcher.ended = True
                watcher.join()
    lag = [percentile(lags.seconds, share) for share in (0.5, 0.99, 1.0)] if lags.seconds else []
    share = {n: 100 * (after[n].cpu_s - before[n].cpu_s) / (ended_s - began_s) for n in before}
    load = f"{per_s:.0f} observations/s for {minutes:g} minutes"
    lines = [
        f"{chargers} chargers, {partitions} partitions, {load}; all known after {first:.0f} s",
        f"{count} sent, {len(lags.seconds)} seen, {lags.overtaken} overtaken, {lags.missing} lost",
        "lag: " + ", ".join(f"{each:.2f} s" for each in lag) + " (median, 99 %, longest)",
        *(
            f"{n}: {share[n]:.1f} % of a core, {after[n].mib:.0f} MiB{served.get(n, '')}"
            for n in sorted(share)
        ),
    ]
    return "\n".join(lines)


async def _served(site: Site) -> dict[str, str]:
    """Return what each worker serves, in words."""
    of, found = await site.divided(), {}
    for name in site.workers:
        held = await site.held(name)
        count = sum(number in held for number in of.values())
        feed = ", divides the feed" if 0 in held else ""
        found[f"worker {name}"] = f", {len(held)} partitions, {count} chargers{feed}"
    return found


async def _until_known(site: Site, lags: Lags, watcher: Watcher) -> float:
    """Send one value of each charger until all of them were seen; return how long it took."""
    feed, missing = site.cloud.feed, set(site.serials)
    assert feed is not None
    began_s = time.monotonic()  # noqa: TID251 - the judges' own clock
    spec, turn = NUMBERS[-1], 0
    while missing:
        if time.monotonic() - began_s > READY_S + READY_OF_ONE_S * len(site.serials):  # noqa: TID251 - likewise
            raise TimeoutError(f"{len(missing)} chargers are not served")
        turn += 1
        at = site.cloud.now()
        feed.tell(Update(one, spec.id, Reading(-turn - 0.25, 3, at)) for one in sorted(missing))
        again_s = 2.0 + len(missing) / PER_S
        while missing and again_s > 0:
            await asyncio.sleep(TICK_S)
            again_s -= TICK_S
            missing -= {topic.split("/")[1] for topic, *_ in watcher.take()}
    lags.sent.clear()
    return time.monotonic() - began_s  # noqa: TID251 - likewise


def main() -> int:
    """Run it as asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chargers", type=int, default=1_000)
    parser.add_argument("--partitions", type=int, default=16)
    parser.add_argument("--per-hour", type=float, default=60.0)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="a folder for logs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        said = asyncio.run(
            measured(
                options.keep or Path(folder),
                options.chargers,
                options.partitions,
                options.per_hour,
                options.minutes,
                workers=options.workers,
            )
        )
    sys.stdout.write(f"{said}\n")
    return 0 if ", 0 lost" in said else 1


if __name__ == "__main__":
    sys.exit(main())

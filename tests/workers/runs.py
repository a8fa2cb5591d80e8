"""``python -m tests.workers.runs FAULT=COUNT …``: faults while commands are sent.

``make soak-cluster FAULTS="kill=100 stop=50 term=20"`` runs the long form; the short ones are in
``test_runs.py``. Faults: ``kill`` (SIGKILL), ``stop`` (SIGSTOP for twice the TTL), ``term``
(SIGTERM), ``cut`` (its cable, for three times the TTL: ``make soak-cluster-cut``), ``nodb`` (the
owner alone loses the database, for three times the TTL), ``away`` (PostgreSQL stops for a minute),
``all`` (every worker dies), ``orphan`` (a partition that nobody can take over), ``join`` (one
worker more, which leaves again). Each hits the owner of a partition, of 0 where it is the only one,
and is over, with all workers back and each with its share, before the next one.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from tests.mosquitto import Outsider
from tests.proxy import Fault
from tests.workers.history import Event, Finding, findings, moved_by, refills, takeovers
from tests.workers.site import WATCHED, Site, installed

NAMES = ("a", "b", "c", "d", "e")
# A command that may have been sent is verified or unknown when its time and half a minute are over.
ANSWERED_WITHIN_S = 75.0
SETTLE_S = 1.5
AWAY_S = 60.0


class Subscriber(Outsider):
    """A client that notes when each message came."""

    def __init__(self, port: int, *filters: str) -> None:
        self.seen: list[tuple[float, str, bytes]] = []
        super().__init__(port, *filters)

    def _on_message(self, client: Any, data: object, message: Any) -> None:
        self.seen.append((time.time(), message.topic, message.payload))  # noqa: TID251 - the judges' own clock
        super()._on_message(client, data, message)


async def _restarted(site: Site, name: str) -> None:
    """Start a worker again, and wait until the others know it and it has its share."""
    await site.start(name)
    if site.partitions > 1:
        site.note("joined", worker=name, share=await site.share())
    await site.member(name)
    if site.partitions > 1:
        await site.balanced()


async def _victim(site: Site) -> tuple[str, list[int]]:
    """Choose the owner of a partition; return it with everything that it serves."""
    name = await site.owner(site.rng.randrange(site.partitions))
    return name, await site.held(name)


async def _handed_over(site: Site, fault: str, name: str, held: list[int]) -> None:
    """End a worker by SIGTERM: it finishes, hands over, and ends with 0."""
    await site.note_fault(fault, name, held)
    site.workers[name].signal(signal.SIGTERM)
    await site.replaced(name, held)
    status = await site.ended(name)
    if status != os.EX_OK:
        site.note("wrong_status", worker=name, status=status)


async def join(site: Site) -> None:
    """Start one worker more, wait until it has its share, and let it go again."""
    name = next(each for each in NAMES if each not in site.workers)
    await _restarted(site, name)
    held = await site.held(name)
    await _handed_over(site, "leave", name, held)
    del site.workers[name]
    await site.balanced()


async def kill(site: Site) -> None:
    """SIGKILL: nothing is said; the lease runs out."""
    name, held = await _victim(site)
    await site.note_fault("kill", name, held)
    site.workers[name].signal(signal.SIGKILL)
    await site.replaced(name, held)
    await site.ended(name)
    await _restarted(site, name)


async def stop(site: Site) -> None:
    """SIGSTOP for twice the TTL: it wakes, finds its lease taken, and ends with 75."""
    name, held = await _victim(site)
    await site.note_fault("stop", name, held)
    site.workers[name].signal(signal.SIGSTOP)
    await site.replaced(name, held)
    await asyncio.sleep(site.ttl_s)
    site.workers[name].signal(signal.SIGCONT)
    if site.mistake == "none":
        status = await site.ended(name)
        if status != os.EX_TEMPFAIL:
            site.note("wrong_status", worker=name, status=status)
    else:
        await asyncio.sleep(site.ttl_s)
        site.workers[name].signal(signal.SIGKILL)
    await _restarted(site, name)


async def term(site: Site) -> None:
    """SIGTERM: it finishes, hands over, and ends with 0."""
    name, held = await _victim(site)
    await _handed_over(site, "term", name, held)
    await _restarted(site, name)


async def nodb(site: Site) -> None:
    """Keep the owner from the database alone for three times the TTL."""
    name, held = await _victim(site)
    proxy = site.proxies[name]
    await site.note_fault("nodb", name, held)
    proxy.fault = Fault("blackhole")
    await site.replaced(name, held)
    await asyncio.sleep(3 * site.ttl_s - 4)
    proxy.fault = None
    if site.mistake == "none":
        await site.ended(name)
    else:
        await asyncio.sleep(site.ttl_s)
        site.workers[name].signal(signal.SIGKILL)
    await _restarted(site, name)


async def cut(site: Site) -> None:
    """Cut the owner's cable for three times the TTL: what its kernel holds must not arrive late."""
    name, held = await _victim(site)
    await site.note_fault("cut", name, held)
    site.cut(name, on=True)
    await site.replaced(name, held)
    await asyncio.sleep(2 * site.ttl_s)
    site.cut(name, on=False)
    status = await site.ended(name)
    if status != os.EX_TEMPFAIL:
        site.note("wrong_status", worker=name, status=status)
    await _restarted(site, name)


async def away(site: Site) -> None:
    """Stop PostgreSQL for a minute: values go on, commands are answered ``storage``."""
    await asyncio.to_thread(site.database.stop)
    site.note("outage")
    for number in range(int(AWAY_S)):
        site.push_value(site.serials[number % len(site.serials)])
        await asyncio.sleep(1)
    await asyncio.to_thread(site.database.start)
    await site.reconnect()
    site.note("back")
    await asyncio.sleep(20)


async def all_(site: Site) -> None:
    """Let every worker die."""
    for worker in site.workers.values():
        worker.signal(signal.SIGKILL)
    site.note("all_dead")
    await asyncio.sleep(20)
    for name in (*site.workers,):
        await site.start(name)
        await site.member(name)
    await site.balanced()


async def orphan(site: Site) -> None:
    """Lock the lease of a partition whose owner dies: nobody can take it over for a while."""
    of = await site.divided()
    partition = site.rng.choice(sorted({number for number in of.values() if number}))
    name = await site.owner(partition)
    lock = await site.locked(partition)
    site.workers[name].signal(signal.SIGKILL)
    chargers = [one for one, number in of.items() if number == partition]
    site.note("orphaned", partition=partition, chargers=chargers, ends_s=site.ttl_s)
    await asyncio.sleep(site.ttl_s + 20)
    await lock.close()
    await site.owner(partition, but=name)
    await site.ended(name)
    await site.balanced()
    await _restarted(site, name)


FAULTS: dict[str, Callable[[Site], Awaitable[None]]] = {
    "kill": kill, "cut": cut, "stop": stop, "term": term, "nodb": nodb, "away": away, "all": all_,
    "orphan": orphan, "join": join,
}  # fmt: skip


async def played(
    folder: Path,
    faults: Sequence[str],
    *,
    chargers: int = 8,
    every_s: float = 0.33,
    session_every_s: float = 0.0,
    mistake: str = "none",
    ttl_s: int = 4,
    partitions: int = 1,
    workers: int = 2,
    observations: int = 0,
    refill: bool = False,
) -> list[Event]:
    """Run an installation through faults; return everything that was seen.

    Args:
        folder: Where everything goes.
        faults: One after the other.
        chargers: How many the cloud has.
        every_s: Between two commands.
        session_every_s: Between two sessions; 0: none.
        mistake: What the workers do wrong.
        ttl_s: Of a lease.
        partitions: Of the cluster.
        workers: How many.
        observations: Of each charger; 0: all.
        refill: A takeover is over when every charger has a value again. Otherwise the next worker
            may join before that, and partitions move while they are refilled.
    """
    names = NAMES[:workers]
    # One for each circuit of three.
    sites = 1 if partitions == 1 else -(-chargers // 3)
    async with installed(
        folder,
        chargers=chargers,
        sites=sites,
        partitions=partitions,
        mistake=mistake,
        ttl_s=ttl_s,
        observations=observations,
    ) as site:
        if "cut" in faults:
            site.mark_connections()
        if "nodb" in faults:
            for name in names:
                await site.proxied(name)
        for name in names:
            await site.start(name)
        for name in names:
            await site.member(name)
        await site.served()
        watching = Subscriber(site.broker.port, *WATCHED)
        site.watching = watching.seen if refill else None
        ended = asyncio.Event()
        try:
            await asyncio.sleep(3 * SETTLE_S)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(site.callers(ended, every_s))
                if session_every_s:
                    tasks.create_task(site.sessions(ended, session_every_s))
                for number, fault in enumerate(faults):
                    await asyncio.sleep(SETTLE_S + site.rng.random())
                    try:
                        await FAULTS[fault](site)
                    except (TimeoutError, OSError) as error:
                        site.note("stalled", fault=fault, error=repr(error))
                        break
                    if sys.stderr.isatty() or len(faults) > 10:
                        sys.stderr.write(f"{number + 1} of {len(faults)} {fault}\n")
                await asyncio.sleep(SETTLE_S)
                ended.set()
            site.note("end")
            await site.note_memory()
            await _answered(site, watching)
            return await site.collect(watching.seen)
        finally:
            watching.close()


async def _answered(site: Site, watching: Subscriber) -> None:
    """Wait until nothing is owed any more, or for as long as that may take."""
    give_up_s = time.perf_counter() + ANSWERED_WITHIN_S
    while (began_s := time.perf_counter()) < give_up_s:
        history = await site.collect(watching.seen)
        if not {"unanswered", "report_lost", "not_back"} & {
            each.kind for each in findings(history)
        }:
            return
        # Of many chargers judging takes seconds of the processor that the workers need.
        await asyncio.sleep(1 + 4 * (time.perf_counter() - began_s))


def summary(history: Sequence[Event]) -> str:
    """Say what happened, in one line each."""
    kinds = Counter(event.kind for event in history)
    states = Counter(
        str(event.fields["state"])
        for event in history
        if event.kind == "result" and event.fields["final"]
    )
    lines = [
        f"{kinds['command']} commands, {kinds['request']} sent; results {dict(states)}",
        f"{kinds['session']} sessions, {kinds['report']} reports seen",
    ]
    by_fault: dict[str, list[float]] = {}
    for fault, took_s in takeovers(history):
        by_fault.setdefault(fault, []).append(took_s)
    for fault, took in by_fault.items():
        lines.append(
            f"{fault}: {len(took)} takeovers, median {statistics.median(took):.2f} s,"
            f" longest {max(took):.2f} s"
        )
    for fault, chargers, took_s in refills(history):
        lines.append(
            f"{fault}: {chargers} chargers taken over had values again {took_s:.2f} s behind the"
            f" last take, {chargers / max(took_s, 0.01):.0f} chargers/s"
        )
    lines += [
        "{fault}: the workers used {cpu_s:.1f} s of processor time for {chargers} chargers".format(
            **event.fields
        )
        for event in history
        if event.kind == "refilled"
    ]
    for change, moved in moved_by(history):
        name = change.fields.get("fault", change.kind)
        lines.append(f"{name}: {moved} partitions moved, {change.fields['share']} may")
    memory = "worker {worker}: {chargers} chargers, {partitions} partitions, {mib:.0f} MiB"
    lines += [memory.format(**event.fields) for event in history if event.kind == "memory"]
    return "\n".join(lines)


def repeated(faults: Sequence[str]) -> list[str]:
    """Return the name of each FAULT=COUNT as often as its count says."""
    pairs = (each.partition("=") for each in faults)
    return [name for name, _, count in pairs for _ in range(int(count or 1))]


def main() -> int:
    """Run as many faults as asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("faults", nargs="+", metavar="FAULT=COUNT")
    parser.add_argument("--chargers", type=int, default=40)
    parser.add_argument("--partitions", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--observations", type=int, default=0, help="of each charger; 0: all")
    parser.add_argument("--keep", type=Path, help="a folder for logs and history")
    parser.add_argument("--ttl", type=int, default=4, help="cluster.lease_ttl_s")
    parser.add_argument("--every", type=float, default=0.33, help="seconds between two commands")
    parser.add_argument("--refill", action="store_true", help="wait for all values each time")
    parser.add_argument("--sessions", type=float, default=0.0, help="seconds between two sessions")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        history = asyncio.run(
            played(
                arguments.keep or Path(folder),
                repeated(arguments.faults),
                chargers=arguments.chargers,
                session_every_s=arguments.sessions,
                every_s=arguments.every,
                ttl_s=arguments.ttl,
                partitions=arguments.partitions,
                workers=arguments.workers,
                observations=arguments.observations,
                refill=arguments.refill,
            )
        )
    if arguments.keep:
        lines = (json.dumps([event.at, event.kind, event.fields]) for event in history)
        (arguments.keep / "history.jsonl").write_text("\n".join(lines))
    found = findings(history)
    for finding in found[:40]:
        sys.stdout.write(f"{finding.kind}: {finding.text}\n")
    sys.stdout.write(f"{summary(history)}\n{_counted(found)}\n")
    return 1 if found else 0


def _counted(found: Sequence[Finding]) -> str:
    counts = Counter(finding.kind for finding in found)
    return ", ".join(f"{count} {kind}" for kind, count in counts.items()) or "nothing is wrong"


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())

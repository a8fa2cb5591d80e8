"""Judges a history: what callers, the broker's subscriber, the cloud and the database saw.

It shares no code with the gateway. Each rule reads the history alone and names what is wrong, so a
mistake is found for what it is.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

# Clocks of one machine; between a request's arrival and our reading of the clock.
SKEW_S = 0.1
VALUE_WITHIN_S = 5.0
RECOVERY_S = 10.0
OFFLINE_WITHIN_S = 20.0
# What a worker received so shortly before its death may be neither stored nor acknowledged; and
# what it published then may be seen as much later.
UNDER_WAY_S = 3.0
# Of a worker, and of each of its chargers, where it has at least so many.
MEMORY_MIB = 60.0
CHARGER_KIB = 25.0
FLEET = 1000


@dataclass(frozen=True, slots=True)
class Event:
    """Something that somebody saw.

    Attributes:
        at: Seconds, by the clock of the machine.
        kind: ``command`` (sent by a caller), ``stranger`` (likewise, for a charger of no
            partition), ``result``, ``bridge_state``, ``report`` (seen by the subscriber),
            ``session`` (finished at a charger), ``request`` (arrived at the cloud), ``take``,
            ``renew``, ``give_up``, ``write`` (committed in the database), ``joined``, ``orphaned``
            ``memory`` and ``end`` (by the runs).
        fields: What it was about.
    """

    at: float
    kind: str
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not be.

    Attributes:
        kind: Which promise is broken.
        text: What was seen.
    """

    kind: str
    text: str


def findings(history: Sequence[Event]) -> list[Finding]:
    """Return everything that is wrong with a history."""
    return [finding for rule in RULES for finding in rule(history)]


def _of(history: Sequence[Event], kind: str) -> list[Event]:
    return [event for event in history if event.kind == kind]


# -- commands -------------------------------------------------------------------------------------


def results(history: Sequence[Event]) -> Iterator[Finding]:
    """Every command has exactly one final result, and none says that a charger is unknown."""
    final: dict[str, set[str]] = defaultdict(set)
    strangers = {event.fields["id"] for event in _of(history, "stranger")}
    for event in _of(history, "result"):
        fields = event.fields
        if fields["final"]:
            final[fields["id"]].add(f"{fields['state']}/{fields['reason']}")
        if fields["reason"] == "unknown_charger" and fields["id"] not in strangers:
            yield Finding("unknown_charger", f"{fields['id']}")
    for event in _of(history, "command"):
        found = final[event.fields["id"]]
        if not found and not _is_dropped(event, history):
            yield Finding("unanswered", event.fields["id"])
        elif len(found) > 1:
            yield Finding("answered_twice", f"{event.fields['id']}: {sorted(found)}")


def strangers(history: Sequence[Event]) -> Iterator[Finding]:
    """A command for a charger of no partition is refused by one of them, once."""
    refused: Counter[str] = Counter()
    for event in _of(history, "result"):
        if event.fields["final"]:
            refused[event.fields["id"]] += event.fields["reason"] == "unknown_charger"
    for event in _of(history, "stranger"):
        name = event.fields["id"]
        if refused[name] != 1 and not _is_dropped(event, history):
            yield Finding("stranger", f"{name} was refused {refused[name]} times")


def _is_dropped(command: Event, history: Sequence[Event]) -> bool:
    """Return whether the broker dropped a command: it expired while no worker was there."""
    expires_at = command.at + command.fields["ttl_s"]
    charger = command.fields.get("charger")
    gone = [event.at for event in _of(history, "all_dead")]
    gone += [each.at for each in _of(history, "orphaned") if charger in each.fields["chargers"]]
    return any(
        gone_at - UNDER_WAY_S < command.at
        and expires_at < _served_at(history, gone_at, charger) + 1
        for gone_at in gone
    )


def _served_at(history: Sequence[Event], gone_at: float, charger: str | None) -> float:
    """Return when the next owner of a charger is connected, and has published it.

    Of a charger of no partition: when the gateway that speaks for all of them is.
    """
    kind, fields = "availability", {"charger": charger, "state": "online"}
    if charger is None:
        kind, fields = "bridge_state", {"state": "online"}
    served = (
        e.at for e in _of(history, kind) if e.at > gone_at + UNDER_WAY_S and e.fields == fields
    )
    return next(served, math.inf)


def requests(history: Sequence[Event]) -> Iterator[Finding]:
    """Each command reaches the cloud at most once, in order, and in its time.

    A value comes again after a while, so a request belongs to the newest command with its value.
    """
    newest: dict[tuple[str, float], Event] = {}
    seen: Counter[str] = Counter()
    last: dict[str, int] = {}
    for event in history:
        fields = event.fields
        if event.kind == "command":
            newest[fields["charger"], fields["amps"]] = event
        elif event.kind == "request":
            charger = fields["charger"]
            command = newest.get((charger, fields["amps"]))
            if command is None:
                yield Finding("never_asked_for", f"{charger} {fields['amps']}")
                continue
            name, number = command.fields["id"], command.fields["number"]
            seen[name] += 1
            if seen[name] == 2:
                yield Finding("sent_twice", name)
            if number < last.get(charger, 0):
                yield Finding("out_of_order", f"{name} behind number {last[charger]}")
            last[charger] = max(number, last.get(charger, 0))
            if event.at > command.at + command.fields["ttl_s"] + SKEW_S:
                yield Finding("late", f"{name} after {event.at - command.at:.1f} s")


# -- leases ---------------------------------------------------------------------------------------


def leases(history: Sequence[Event]) -> Iterator[Finding]:
    """Nothing is sent, written or renewed by a worker that another replaced."""
    owner: dict[int, tuple[str, float]] = {}
    names = {"request": "sent", "write": "written", "renew": "renewed"}
    for event in history:
        if event.kind not in ("take", *names):
            continue
        partition, worker = event.fields["partition"], event.fields["worker"]
        if event.kind == "take":
            owner[partition] = (worker, event.at)
        elif partition in owner and owner[partition][0] != worker:
            behind_s = event.at - owner[partition][1]
            if behind_s > SKEW_S or event.kind != "request":
                yield Finding(
                    f"{names[event.kind]}_without_lease",
                    f"{worker}, {behind_s:.2f} s after {owner[partition][0]} took {partition}",
                )


def takeovers(history: Sequence[Event]) -> list[tuple[str, float]]:
    """Return each fault with how long it took from it until another worker took the lease."""
    found: list[tuple[str, float]] = []
    fault = None
    missing: set[int] = set()
    for event in history:
        if event.kind == "fault":
            fault, missing = event, {*event.fields.get("partitions", (0,))}
        elif event.kind == "take" and fault is not None and missing:
            missing.discard(event.fields["partition"])
            if not missing:  # everything that its victim served
                found.append((fault.fields["fault"], event.at - fault.at))
    return found


def moves(history: Sequence[Event]) -> Iterator[Finding]:
    """A worker that joins or leaves moves its share, and nothing else moves."""
    for change, moved in moved_by(history):
        if moved > change.fields["share"]:
            yield Finding("moved_too_much", f"{moved} partitions by {change.fields}")


def moved_by(history: Sequence[Event]) -> list[tuple[Event, int]]:
    """Return each worker that joined or left with how many partitions were taken behind it."""
    found: list[tuple[Event, int]] = []
    is_counting = False
    for event in history:
        if event.kind in ("joined", "fault") and "share" in event.fields:
            found.append((event, 0))
            is_counting = True
        elif event.kind in ("all_dead", "outage", "orphaned"):
            is_counting = False
        elif event.kind == "take" and is_counting:
            found[-1] = found[-1][0], found[-1][1] + 1
    return found


def refills(history: Sequence[Event]) -> list[tuple[str, int, float]]:
    """Return each fault with the chargers that were taken over, and until all had a value again.

    The time is from the moment when the last of their partitions was taken.
    """
    found: list[tuple[str, int, float]] = []
    fault: Event | None = None
    taken_s, missing, chargers, count = 0.0, set[int](), set[str](), 0
    for event in history:
        if event.kind == "fault":
            fault, missing = event, {*event.fields.get("partitions", ())}
            chargers = {*event.fields.get("chargers", ())}
            count = len(chargers)
        elif event.kind == "take" and event.fields["partition"] in missing:
            missing.discard(event.fields["partition"])
            taken_s = event.at
        elif event.kind == "value" and fault is not None and event.fields["charger"] in chargers:
            chargers.discard(event.fields["charger"])
            if not chargers:
                found.append((fault.fields["fault"], count, event.at - taken_s))
    return found


def memories(history: Sequence[Event]) -> Iterator[Finding]:
    """A worker of a fleet has so much memory, and so much for each of its chargers."""
    for event in _of(history, "memory"):
        fields = event.fields
        most_mib = MEMORY_MIB + fields["chargers"] * CHARGER_KIB / 1024
        if fields["chargers"] >= FLEET and fields["mib"] > most_mib:
            yield Finding("memory", f"{fields} is over {most_mib:.0f} MiB")


def orphans(history: Sequence[Event]) -> Iterator[Finding]:
    """Chargers of a partition without an owner are published offline in time."""
    for event in _of(history, "orphaned"):
        said = {
            e.fields["charger"]: e.at - event.at
            for e in reversed(_of(history, "availability"))
            if e.fields["state"] == "offline" and e.at > event.at
        }
        for charger in event.fields["chargers"]:
            if said.get(charger, math.inf) > event.fields["ends_s"] + OFFLINE_WITHIN_S:
                yield Finding("not_offline", f"{charger} after {said.get(charger)} s")


def statuses(history: Sequence[Event]) -> Iterator[Finding]:
    """A worker that handed over ends with 0, and one that lost its lease with 75."""
    for event in _of(history, "wrong_status"):
        yield Finding(
            "wrong_status", f"{event.fields['worker']} ended with {event.fields['status']}"
        )


# -- reports, status ------------------------------------------------------------------------------


def reports(history: Sequence[Event]) -> Iterator[Finding]:
    """Every finished session is reported, under one key."""
    keys = {event.fields["key"] for event in _of(history, "report")}
    for event in _of(history, "session"):
        found = {key for key in keys if key.startswith(event.fields["key"])}
        if not found:
            yield Finding("report_lost", event.fields["key"])
        elif len(found) > 1:
            yield Finding("report_twice", f"{event.fields['key']}: {sorted(found)}")


def values(history: Sequence[Event]) -> Iterator[Finding]:
    """While the database is away values go on."""
    seen = {(e.fields["charger"], e.fields["value"]): e.at for e in _of(history, "value")}
    for event in _of(history, "push"):
        at = seen.get((event.fields["charger"], event.fields["value"]))
        if at is None or at > event.at + VALUE_WITHIN_S:
            yield Finding("value_lost", f"{event.fields} at {event.at:.1f}")


def outages(history: Sequence[Event]) -> Iterator[Finding]:
    """Commands are answered ``storage`` while the database is away, and are carried out soon after.

    The lease is believed for a moment still, and the first renewal finds that it is back.
    """
    final = {e.fields["id"]: e.fields for e in _of(history, "result") if e.fields["final"]}
    backs = [event.at for event in _of(history, "back")]
    for outage, back in zip(_of(history, "outage"), backs, strict=True):
        for event in _of(history, "command"):
            result = final.get(event.fields["id"], {})
            if outage.at + 1 < event.at < back - RECOVERY_S and result.get("reason") != "storage":
                yield Finding("not_storage", f"{event.fields['id']}: {result}")
            if back + RECOVERY_S < event.at < back + 2 * RECOVERY_S and result.get("reason"):
                yield Finding("not_well", f"{event.fields['id']}: {result}")


def deaths(history: Sequence[Event]) -> Iterator[Finding]:
    """When every worker died, ``bridge/state`` is offline soon."""
    for death in _of(history, "all_dead"):
        offline = [
            e.at - death.at
            for e in _of(history, "bridge_state")
            if e.fields["state"] == "offline" and e.at > death.at
        ]
        if not offline or offline[0] > OFFLINE_WITHIN_S:
            yield Finding("not_offline", f"after {offline[:1]} s")


def returns(history: Sequence[Event]) -> Iterator[Finding]:
    """When everything is over, every charger is online again."""
    ends = _of(history, "end")
    if not ends:
        return
    last = {e.fields["charger"]: e.fields["state"] for e in _of(history, "availability")}
    for charger in sorted(charger for charger, state in last.items() if state != "online"):
        yield Finding("not_back", charger)


def stalls(history: Sequence[Event]) -> Iterator[Finding]:
    """Each fault is over in time."""
    for event in _of(history, "stalled"):
        yield Finding("stalled", f"{event.fields}")


def state(history: Sequence[Event]) -> Iterator[Finding]:
    """``bridge/state`` does not show a takeover."""
    if _of(history, "all_dead") or _of(history, "orphaned"):
        return
    for event in _of(history, "bridge_state"):
        if event.fields["state"] == "offline":
            yield Finding("flapped", f"bridge/state is offline at {event.at:.1f}")


RULES = (
    results, strangers, requests, leases, moves, statuses, reports, values, outages, deaths,
    orphans, returns, stalls, state, memories,
)  # fmt: skip

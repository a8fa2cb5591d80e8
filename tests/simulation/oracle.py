"""What must be true of a run, worked out without the core's own code.

It sees what the chargers measured, what reached the broker, what left for the cloud and what came
to be on the disk. From that alone it knows what the bridge may say and do.
"""

import json
import struct
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from bridge.core.records.stored_report import StoredReport
from bridge.simulator.limits import DOCUMENTED
from bridge.simulator.readings import Reading, Response, Update
from bridge.simulator.sessions import Session
from bridge.simulator.world import World
from tests.simulation.cloud import Request
from tests.simulation.engine import Timeline
from tests.simulation.lives import Violation

# A charger that idles speaks every 15 minutes; after 20 of silence it is not available.
OFFLINE_AFTER_S = 20 * 60.0
# What the way to us and to the broker may add to a moment.
SLACK_S = 60.0
# Made by the cloud, not by the charger: no sign of its life.
CLOUD_MADE = frozenset({250, 251})
DELIVERY_TIMEOUT_S = 30.0
# A document and its bare value are two messages, one behind the other.
SECOND_HALF = timedelta(seconds=5)


def parsed(text: str) -> datetime:
    """Read a moment as topics spell it."""
    return datetime.fromisoformat(text).astimezone(UTC)


def same_value(published: Any, measured: Reading) -> bool:
    """Say whether a published value is the one that was measured."""
    value = measured.value
    if isinstance(value, bool) or isinstance(published, bool):
        return bool(value) is published
    if isinstance(value, int | float) and isinstance(published, int | float):
        try:
            return _float32(published) == _float32(value)
        except OverflowError:
            return False
    # Texts may be stripped of what is personal; that they are is judged elsewhere.
    return isinstance(value, str) and (published is None or isinstance(published, str))


def _float32(value: float) -> float:
    rounded: float = struct.unpack("<f", struct.pack("<f", float(value)))[0]
    return rounded


@dataclass(slots=True)
class Measured:
    """What the chargers measured, as far as their cloud knows it."""

    readings: dict[tuple[str, int], dict[datetime, list[Reading]]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    newest: dict[tuple[str, int], datetime] = field(default_factory=dict)
    heard_at: dict[str, datetime] = field(default_factory=dict)

    def take(self, charger_id: str, number: int, reading: Reading) -> None:
        """Note one reading."""
        key, at = (charger_id, number), reading.measured_at
        self.readings[key].setdefault(at, []).append(reading)
        if key not in self.newest or at >= self.newest[key]:
            self.newest[key] = at
        if number not in CLOUD_MADE:
            held = self.heard_at.get(charger_id)
            self.heard_at[charger_id] = at if held is None else max(held, at)

    def shown(self, charger_id: str, number: int, since: datetime) -> list[object]:
        """Return the newest value of an observation, and those measured since a moment."""
        key = (charger_id, number)
        held = self.newest.get(key)
        if held is None:
            return []
        readings = self.readings[key]
        return [r.value for at in readings if at >= min(held, since) for r in readings[at]]


class Oracle:
    """Judges one run."""

    def __init__(self, timeline: Timeline, world: World, note: Callable[[str, object], None]):
        self._timeline = timeline
        self._world = world
        self._note = note
        self.violation: Violation | None = None
        self._energy_kwh: dict[str, float] = {}
        self.measured = Measured()
        self.documents: dict[str, dict[str, Any]] = {}
        self.keys: dict[tuple[str, int], str] = {}
        self.contents: dict[tuple[str, int], bytes] = {}
        self.accepted: dict[str, StoredReport] = {}
        self.accepted_s: dict[str, float] = {}
        self.consumed: dict[str, int] = {}
        self.excused: set[str] = set()
        self.published = 0
        self.sessions: dict[tuple[str, int], Session] = {}
        for charger_id, charger in world.chargers.items():
            for number, reading in charger.readings.items():
                self.measured.take(charger_id, number, reading)
        drain = world.drain

        def seen() -> list[Update | Response]:
            happened = drain()
            for one in happened:
                if isinstance(one, Update):
                    self.measured.take(one.charger_id, one.observation_id, one.reading)
            return happened

        world.drain = seen  # type: ignore[method-assign]

    def fail(self, promise: str) -> None:
        """Note a broken promise; the run ends at once."""
        if self.violation is None:
            self.violation = Violation(promise)
            self._note("VIOLATION", promise)
            self._timeline.later(0, self.check)

    def check(self) -> None:
        """End the run if a promise was broken.

        Raises:
            Violation: The first one.
        """
        if self.violation is not None:
            raise self.violation

    # -- values ----------------------------------------------------------------------------------

    def _energy_published(self, charger_id: str, kwh: float) -> None:
        """Judge ``energy_total``: it never falls, whatever happens to gateway and broker."""
        before = self._energy_kwh.get(charger_id, kwh)
        if kwh < before:
            self.fail(f"energy_total of {charger_id} fell from {before} to {kwh} kWh")
        self._energy_kwh[charger_id] = kwh

    def value_published(self, topic: str, payload: bytes, *, in_order: bool) -> None:
        """Judge an observation document: really measured, and no older than what it replaces.

        Args:
            topic: Where it arrived.
            payload: It.
            in_order: Its order is judged; not where our clock leaves none to be had.
        """
        document = json.loads(payload)
        if document["source"] == "derived":
            return  # computed between two readings: tests/core/chargers judges it
        charger_id = topic.split("/")[1]
        if document["source"] == "derived":
            self._energy_published(charger_id, document["value"])
            return
        number, at = document["id"], parsed(document["measured_at"])
        readings = self.measured.readings.get((charger_id, number), {}).get(at)
        if readings is None:
            self.fail(f"{topic} says {payload!r}: nothing was measured then")
            return
        if not any(same_value(document["value"], reading) for reading in readings):
            self.fail(f"{topic} says {payload!r}: measured was {readings}")
        before = self.documents.get(topic)
        if in_order and before is not None and parsed(before["measured_at"]) > at:
            self.fail(f"{topic} went back from {before} to {payload!r}")
        self.documents[topic] = document

    def values_are_newest(self, retained: dict[str, bytes], base: str, *, since_s: float) -> None:
        """Judge, at the end, that the broker keeps the newest value of everything.

        Args:
            retained: What it keeps.
            base: Of our topics.
            since_s: What was measured later may be on its way.
        """
        shown: dict[tuple[str, int], dict[str, Any]] = {}
        for topic, payload in retained.items():
            parts = topic.split("/")
            if parts[0] == base and len(parts) == 4 and parts[2] == "observation":
                document = json.loads(payload)
                shown[parts[1], document["id"]] = document
                scalar = retained.get(f"{base}/{parts[1]}/state/{parts[3]}")
                came_just_now = self._timeline.wall - parsed(document["received_at"]) < SECOND_HALF
                # An empty text leaves nothing behind: that is what a broker makes of it.
                if not came_just_now and not _agrees(document["value"], scalar or b""):
                    self.fail(f"{topic} is {payload!r} and its state is {scalar!r}")
        under_way = self._timeline.wall - timedelta(seconds=since_s)
        personal = {20, 25, 36, 69, 81, 108, 128, 140, 141, 241}
        for (charger_id, number), newest in self.measured.newest.items():
            held = self._world.chargers[charger_id].readings.get(number)
            if number in personal or held is None:
                continue
            document = shown.get((charger_id, number))
            if document is None:
                self.fail(f"nothing is retained of {charger_id}/{number}")
            elif any(
                parsed(document["measured_at"]) < at <= under_way
                for at in self.measured.readings[charger_id, number]
            ):
                self.fail(f"{charger_id}/{number}: {document} is retained, newest is {newest}")

    # -- availability ----------------------------------------------------------------------------

    def availability(self, charger_id: str, shown: bytes | None, *, late_s: float) -> None:
        """Judge that nobody is called online who cannot be.

        Args:
            charger_id: Whose.
            shown: What the broker keeps.
            late_s: What the gateway's clocks and connections excuse.
        """
        if shown != b"online":
            return
        heard_at = self.measured.heard_at[charger_id]
        age_s = (self._timeline.wall - heard_at).total_seconds()
        if age_s > OFFLINE_AFTER_S + SLACK_S + late_s:
            self.fail(f"{charger_id} is called online and was last heard {age_s:.0f} s ago")

    # -- sessions --------------------------------------------------------------------------------

    def refresh_sessions(self) -> None:
        """Take note of the sessions the chargers finished."""
        for charger_id, charger in self._world.chargers.items():
            for session in charger.sessions:
                self.sessions[charger_id, session.number] = session

    def report_accepted(self, stored: StoredReport) -> None:
        """Note that a report is on the disk: from here on it must reach the consumer."""
        self.accepted[stored.key] = stored
        self.accepted_s[stored.key] = self._timeline.now_s
        self._same_key(stored.report.charger_id, stored.report.session_id or 0, stored.key)

    def _same_key(self, charger_id: str, number: int, key: str) -> None:
        held = self.keys.setdefault((charger_id, number), key)
        if held != key:
            self.fail(f"session {number} of {charger_id} has two keys: {held} and {key}")

    def report_published(self, payload: bytes) -> None:
        """Judge a report: a real session, its very content, one key, and on the disk before."""
        document = json.loads(payload)
        key, revision = document["key"], document["revision"]
        charger_id, number = document["charger_id"], document["session_id"]
        self._same_key(charger_id, number, key)
        self.refresh_sessions()
        session = self.sessions.get((charger_id, number))
        stored = self.accepted.get(key)
        if session is None or session.stopped_at is None:
            self.fail(f"a report of a session that never was: {payload!r}")
            return
        if stored is None or stored.revision < revision:
            self.fail(f"published before it was on the disk: {payload!r}")
            return
        same = (
            parsed(document["started_at"]) == session.started_at
            and parsed(document["ended_at"]) == session.stopped_at
            and abs(document["energy_kwh"] - session.energy_kwh) < 1e-5
            and document["auth_reason"] in (session.auth_reason, None)
            and (document["auth_reason"] is not None or document["source"] == "backfill")
        )
        if not same:
            self.fail(f"a report differs from its session {session}: {payload!r}")
        if self.contents.setdefault((key, revision), payload) != payload:
            self.fail(f"revision {revision} of {key} has two contents")

    def report_consumed(self, payload: bytes) -> None:
        """Note that the consumer has a report."""
        document = json.loads(payload)
        key = document["key"]
        self.consumed[key] = max(self.consumed.get(key, 0), document["revision"])

    def reports_arrived(self) -> None:
        """Judge, at the end, that every accepted report is with its consumer."""
        for key, stored in self.accepted.items():
            if self.accepted_s[key] > self._timeline.now_s - DELIVERY_TIMEOUT_S:
                continue  # it came just now, from the cloud's list
            if key not in self.excused and self.consumed.get(key, 0) < stored.revision:
                self.fail(f"revision {stored.revision} of {key} never reached the consumer")

    # -- the cloud -------------------------------------------------------------------------------

    def cloud_is_spared(self, requests: Iterable[Request]) -> None:
        """Judge the requests of a run against what the vendor documents."""
        by_life: dict[int, list[Request]] = defaultdict(list)
        for request in requests:
            by_life[request.life].append(request)
        for life in by_life.values():
            self._within_limits(life)
            self._waits_obeyed(life)

    def _within_limits(self, requests: list[Request]) -> None:
        passed: dict[tuple[int, str], list[float]] = defaultdict(list)
        for request in requests:
            path = request.path.partition("?")[0]
            for index, limit in enumerate(DOCUMENTED):
                match = limit.path.fullmatch(path) if request.method == limit.method else None
                if match is None:
                    continue
                log = passed[index, match[1] if match.re.groups else ""]
                log.append(request.sent_s)
                window_s = limit.window.total_seconds()
                if len(log) > limit.count and log[-1] - log[-1 - limit.count] < window_s:
                    self.fail(f"more than {limit.count} in {window_s:.0f} s: {path}")

    def _waits_obeyed(self, requests: list[Request]) -> None:
        """Judge that nobody asks again for the same before the time that was named."""
        held: dict[tuple[str, str], float] = {}
        silent_s = float("-inf")
        answers = sorted(
            (one for one in requests if one.answered_s is not None and one.retry_after_s),
            key=lambda one: one.answered_s or 0.0,
        )
        for request in requests:
            while answers and (answers[0].answered_s or 0.0) < request.sent_s:
                one = answers.pop(0)
                until_s = (one.answered_s or 0.0) + (one.retry_after_s or 0.0)
                if one.status == 403:
                    silent_s = max(silent_s, until_s)
                elif one.status == 429:
                    held[_resource(one)] = until_s
            if request.sent_s < silent_s - 1.0:
                self.fail(f"{request.path} was asked while the vendor blocks us")
            if request.sent_s < held.get(_resource(request), 0.0) - 1.0:
                self.fail(f"{request.path} was asked again before the time that was named")


def _resource(request: Request) -> tuple[str, str]:
    return request.method, request.path.partition("?")[0]


def _agrees(value: Any, scalar: bytes) -> bool:
    """Say whether a bare value is the document's."""
    text = scalar.decode()
    if isinstance(value, bool) or value is None:
        return text == json.dumps(value)
    if isinstance(value, int | float):
        return bool(text) and float(text) == float(value)
    return text == value

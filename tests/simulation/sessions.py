"""Lives of billing records, against somebody who knows what was really charged.

``python -m tests.simulation.sessions SEEDS [FIRST]`` plays so many histories; ``--seed N`` plays
one again and says everything that happened. A history is a few days of one or two chargers whose
counters stand still or begin again, whose clocks were never set or stand years ahead, whose reports
are repeated, corrected, lost, garbled and told late in any order, beside a cloud's list that has
most of them, some with odd rows, and a bridge that is restarted.

The oracle knows the truth and none of the bridge's rules. Every kilowatt-hour is told exactly once
under one key (the latest revision of each counts), or it is named in an alert; and a time that is
not marked is right. What nobody ever told of and no counter shows to be missing nobody can know.
Energies differ, so that it is seen which session a report is about.
"""

import itertools
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

from bridge.core.alerts import Alerts
from bridge.core.chargers.fleet import ChargerRegistry, batched
from bridge.core.domain_events import Found, Output, UnreadableSession
from bridge.core.effects import (
    Effect,
    ForgetTexts,
    KeepText,
    MarkPublished,
    ReadReports,
    SaveReport,
    SendRequest,
    SettleReports,
)
from bridge.core.events import (
    CloudFailed,
    CloudResponse,
    ReportSaved,
    ReportSaveFailed,
    ReportsRead,
    StoreOpened,
)
from bridge.core.messages import Publish, Tag
from bridge.core.records.moment import Timestamp
from bridge.core.records.observation import RawObservation
from bridge.core.records.session_report import SessionReport
from bridge.core.sessions.service import SessionService
from bridge.core.status import Status
from bridge.errors import CloudUnavailable, StoreFull
from bridge.settings import EaseeSettings, Secret, Settings
from tests.adapters.store.memory import Rows
from tests.native import as_messages
from tests.simulation import lives
from tests.simulation.lives import Tell, Violation, untold

BEGIN = datetime(2026, 11, 2, 6, 0, tzinfo=UTC)
SETTINGS = Settings(EaseeSettings("x@example.com", Secret("p")))
DEFAULTS = (1970, 1980, 2000, 2001, 2010, 2017, 2020)
MINUTE_S, HOUR_S, DAY_S = 60.0, 3600.0, 86_400.0
# After the last session: looks come, and what was put off.
AFTERWARDS_S = 3 * DAY_S
# The cloud rounds to three digits.
SAME_KWH = 0.002
START_OFF_S, STOP_OFF_S = 61.0, 301.0
COUNTERS = ("rises", "rises", "rises", "stands", "begins again", "none")
CLOCKS = (
    *("right",) * 8,
    *("start default", "both default", "start ahead", "stop ahead", "both ahead", "reversed"),
)
ODD_FIELDS = (
    *(("AuthReason", value) for value in (-1, "", "Local", True)),
    *(("Auth", value) for value in (["04"], {}, False, 1.5)),
    ("MeterValueStart", "NaN"),
    ("MeterValueStop", ""),
)


@dataclass(slots=True)
class Charge:
    """What was really charged.

    Attributes:
        number: The charger's counter.
        start_s: Since the beginning of the history.
        interim: Stop and energy as they were told first, or None.
        told_kwh: Energies that reached the bridge in a readable report, first hand.
        is_heard: Somebody told of it, if only unreadably.
        listed: How the cloud's list has it: ``right``, ``as told``, ``missing`` or ``odd``.
    """

    charger_id: str
    number: int | None
    start_s: float
    stop_s: float
    kwh: float
    meter_kwh: float
    interim: tuple[float, float] | None = None
    told_kwh: set[float] = field(default_factory=set)
    is_heard: bool = False
    is_listed: bool = False
    listed: str = "right"
    odd_until_s: float = 0.0


def wall(at_s: float) -> datetime:
    """Return the true time of a moment."""
    return BEGIN + timedelta(seconds=at_s)


def spelled(at: datetime) -> str:
    """Spell a time as chargers do."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.000Z").rjust(24, "0")


@dataclass(frozen=True, slots=True)
class Told:
    """An observation on its way."""

    at_s: float
    charge: Charge
    kwh: float
    text: str
    stamp: str
    is_readable: bool


class World:
    """Chargers, their cloud, and what happens in a history."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.charges: list[Charge] = []
        self.told: list[Told] = []
        self.newest: dict[str, Told] = {}
        self.energies: set[int] = set()
        for charger_id in ("EH000001", "EH000002")[: rng.randint(1, 2)]:
            self._charger(charger_id)
        self.end_s = max(one.stop_s for one in self.charges)

    # -- what is charged -------------------------------------------------------------------------

    def _energy(self) -> float:
        """Draw an energy that no other session has."""
        while True:
            kwh = round(self.rng.uniform(0.3, 60.0), 3)
            near = int(kwh * 10)
            if not self.energies & {near - 1, near, near + 1}:
                self.energies.add(near)
                return kwh

    def _charger(self, charger_id: str) -> None:
        rng = self.rng
        counting, has_meters = rng.choice(COUNTERS), rng.random() < 0.7
        has_wrong_clock = rng.random() < 0.6
        number, at_s, meter_kwh = rng.randint(1, 500), rng.uniform(0, HOUR_S), 1000.0
        for index in range(rng.randint(2, 8)):
            if counting == "begins again" and rng.random() < 0.3:
                number = 1
            elif counting != "stands" and index:
                number += 1
            lasts_s = rng.choice((40, 300, 3600, 4 * 3600, 9 * 3600)) * rng.uniform(0.7, 1.3)
            charge = Charge(
                charger_id,
                None if counting == "none" else number,
                float(int(at_s)),
                float(int(at_s + lasts_s)),
                self._energy(),
                meter_kwh,
            )
            meter_kwh += charge.kwh
            self.charges.append(charge)
            self._reports(charge, has_meters=has_meters, has_wrong_clock=has_wrong_clock)
            at_s = charge.stop_s + rng.choice((2, 20, 90, 900, 7200, DAY_S)) * rng.uniform(1, 1.5)

    # -- what is told of it ----------------------------------------------------------------------

    def _reports(self, charge: Charge, *, has_meters: bool, has_wrong_clock: bool) -> None:
        rng = self.rng
        charge.listed = rng.choice(("right",) * 6 + ("as told", "missing", "odd"))
        charge.odd_until_s = charge.stop_s + rng.choice((600, 5 * HOUR_S, 999 * DAY_S))
        clock = rng.choice(CLOCKS) if has_wrong_clock else "right"
        if charge.listed == "as told" and "default" not in clock:
            charge.listed = "right"
        seed = rng.random()
        if charge.stop_s - charge.start_s > 600 and rng.random() < 0.25 and clock == "right":
            share = rng.uniform(0.2, 0.9)
            kwh = round(charge.kwh * share, 3)
            if abs(kwh - charge.kwh) > 0.1 and not self.energies & set(
                range(int(kwh * 10) - 1, int(kwh * 10) + 2)
            ):
                self.energies.add(int(kwh * 10))
                stop_s = charge.start_s + (charge.stop_s - charge.start_s) * share
                charge.interim = float(int(stop_s)), kwh
                self._tell(charge, *charge.interim, clock, seed, has_meters=has_meters)
        self._tell(charge, charge.stop_s, charge.kwh, clock, seed, has_meters=has_meters)

    def _tell(
        self,
        charge: Charge,
        stop_s: float,
        kwh: float,
        clock: str,
        seed: float,
        *,
        has_meters: bool,
    ) -> None:
        """Let a report go out, late, lost or garbled as chance has it."""
        rng = self.rng
        late_s = rng.choice((0.5, 0.5, 0.5, 30, HOUR_S, 20 * HOUR_S))
        at_s = stop_s + late_s * rng.uniform(1.0, 2.0)
        start, stop = _told_times(charge, stop_s, clock, random.Random(seed))
        document: dict[str, object] = {
            "Id": charge.number,
            "Start": spelled(start),
            "Stop": spelled(stop),
            "EnergyKwh": kwh,
            "AuthReason": 3,
            "Auth": "04AABBCC",
        }
        if charge.number is None:
            document["Id"] = rng.choice((-1, "", "a-guid", None))
        if has_meters:
            document["MeterValueStart"] = round(charge.meter_kwh, 3)
            document["MeterValueStop"] = round(charge.meter_kwh + kwh, 3)
        if rng.random() < 0.1:
            key, value = rng.choice(ODD_FIELDS)
            if clock == "right" or not key.startswith("Meter"):
                document[key] = value
        stamp = spelled(wall(stop_s))
        odd = rng.random()
        # Of a session and its correction one has such a stamp: two say nothing of which was first.
        if odd < 0.06 and (charge.interim is None or (kwh == charge.kwh) is (seed < 0.5)):
            stamp = "2099-01-01T00:00:00Z"
        elif odd >= 0.97:
            stamp = "" if odd < 0.985 else "1970-01-01T00:00:00Z"
        text, is_readable = json.dumps(document), True
        if rng.random() < 0.08:
            text, is_readable = self._garbled(document, clock)
        if rng.random() < 0.2:
            return  # lost
        told = Told(at_s, charge, kwh, text, stamp, is_readable)
        self.told.append(told)
        if rng.random() < 0.3:
            self.told.append(replace(told, at_s=at_s + rng.uniform(1, DAY_S)))

    def _garbled(self, document: dict[str, object], clock: str) -> tuple[str, bool]:
        match self.rng.randrange(4 if clock == "reversed" else 5):
            case 0:
                return json.dumps(document)[:-25], False
            case 1:
                return json.dumps([document]), True
            case 2:
                return json.dumps(json.dumps(document)), True
            case 3:
                by_meters = isinstance(document.get("MeterValueStart"), float)
                by_meters = by_meters and isinstance(document.get("MeterValueStop"), float)
                return json.dumps({**document, "EnergyKwh": None}), by_meters
            case _:
                return json.dumps({**document, "Stop": None}), False

    # -- the cloud's list ------------------------------------------------------------------------

    def listed(self, path: str, now_s: float) -> bytes:
        """Answer a look."""
        *_, charger_id, _, since, until = unquote(path).split("/")
        first, last = (datetime.fromisoformat(text) for text in (since, until))
        rows = []
        for index, one in enumerate(self.charges):
            if one.charger_id != charger_id or one.stop_s + 60 > now_s or one.listed == "missing":
                continue
            if not first <= wall(one.stop_s) <= last:
                continue
            rng = random.Random(index)
            off_s = rng.choice((0, 0, -3, 7, 15))
            row = {
                "id": one.number if one.number is not None else 9000 + index,
                "chargerId": rng.choice((charger_id, None)),
                "carConnected": spelled(wall(one.start_s + off_s)),
                "carDisconnected": spelled(wall(one.stop_s + rng.choice((0, 0, 9)))),
                "kiloWattHours": round(one.kwh, 3),
                "isComplete": True,
            }
            one.is_heard = True
            if one.listed == "as told":
                row["carConnected"] = "2000-01-01T00:00:30Z"
            if one.listed == "odd" and now_s < one.odd_until_s:
                row["kiloWattHours"] = rng.choice((None, -3, "much"))
            else:
                one.is_listed = True
            rows.append(row)
        self.rng.shuffle(rows)
        return json.dumps(rows).encode()


def _told_times(
    charge: Charge, stop_s: float, clock: str, rng: random.Random
) -> tuple[datetime, datetime]:
    """Return start and stop as the charger's clock has them."""
    start, stop = wall(charge.start_s), wall(stop_s)
    default = datetime(rng.choice(DEFAULTS), 1, 1, tzinfo=UTC) + timedelta(
        seconds=rng.randrange(7200)
    )
    ahead = timedelta(days=rng.choice((3, 400, 3650)))
    match clock:
        case "start default":
            return default, stop
        case "both default":
            return default, default + (stop - start)
        case "start ahead":
            return start + ahead, stop
        case "stop ahead":
            return start, stop + ahead
        case "both ahead":
            return start + ahead, stop + ahead
        case "reversed":
            return stop, start
        case _:
            return start, stop


class Life:
    """A history: one world, one disk, and process after process."""

    def __init__(self, seed: int, note: Tell = untold) -> None:
        self.rng = random.Random(seed)
        self.note = note
        self.world = World(self.rng)
        self.disk = Rows()
        self.now_s = 0.0
        self.documents: dict[str, dict[str, Any]] = {}
        self.later: list[tuple[float, int, Callable[[], None]]] = []
        self.order = itertools.count()
        self.life = 0
        self.begin()

    @property
    def now(self) -> Timestamp:
        """The moment, for the core."""
        return Timestamp(wall(self.now_s), self.now_s)

    def begin(self) -> None:
        """Start a process."""
        self.life += 1
        self.alerts = Alerts()
        self.room = SessionService(SETTINGS, self.alerts, salt=b"s")
        status = Status(self.alerts, "1", {})
        self.fleet = ChargerRegistry(SETTINGS.publish, b"s", status)
        chargers = tuple(sorted({one.charger_id for one in self.world.charges}))
        self.fleet.add(chargers)
        held = self.disk.contents()
        opened = StoreOpened(held.owed, texts=held.texts)
        self.do(self.room.opened(opened, self.now))
        self.do(self.room.serve(chargers))
        self.do(self.room.connected(self.now))
        self.connect()

    def connect(self) -> None:
        """Open the stream: the cloud tells the newest report of each charger again."""
        self.room.stream_opened(self.now)
        for told in tuple(self.world.newest.values()):
            self.tell(told)

    def play(self) -> None:
        """Let everything happen, and judge."""
        world, rng = self.world, self.rng
        for told in world.told:
            self.at(told.at_s, lambda told=told: self.tell(told))
        for _ in range(rng.randint(0, 3)):
            self.at(rng.uniform(0, world.end_s), rng.choice((self.begin, self.connect)))
        end_s = max(world.end_s, max((one.at_s for one in world.told), default=0.0)) + AFTERWARDS_S
        self.at(end_s - DAY_S, self.connect)
        while self._step(end_s):
            pass
        Judge(self).judge()

    def at(self, at_s: float, act: Callable[[], None]) -> None:
        """Have something happen."""
        self.later.append((at_s, next(self.order), act))

    def _step(self, end_s: float) -> bool:
        """Let the next thing happen; False at the end."""
        due_s = self.room.deadline_s()
        next_s = min(self.later)[0] if self.later else end_s
        if due_s is not None and due_s < next_s:
            self.now_s = max(self.now_s, due_s)
            self.do(())
        elif self.later:
            at_s, _, act = self.later.pop(self.later.index(min(self.later)))
            self.now_s = max(self.now_s, at_s)
            act()
        else:
            return False
        return True

    def tell(self, told: Told) -> None:
        """Let an observation arrive."""
        charge = told.charge
        self.note(f"{wall(self.now_s):%d %H:%M:%S} told {told.text} stamp {told.stamp}")
        charge.is_heard = True
        if told.is_readable:
            charge.told_kwh.add(told.kwh)
        self.world.newest[charge.charger_id] = told
        raw = RawObservation(charge.charger_id, 129, 6, told.text, told.stamp)
        effects: list[Found] = []
        observation = self.fleet.read(raw, "stream", self.now, effects)
        if observation is not None:  # else it has no stamp
            self.fleet.apply(observation, "stream", self.now, effects, ours=False)
        self.do(batched(effects))

    # -- what the core wants ---------------------------------------------------------------------

    def do(self, outputs: Iterable[Output]) -> None:
        """Carry effects out, give the room what is its, and look at the time as the router does."""
        effects: list[Effect] = []
        for output in outputs:
            if isinstance(output, UnreadableSession):
                effects += self.room.unreadable(output.text, self.now)
            else:
                effects.append(output)
        due_s = self.room.deadline_s()
        if due_s is not None and due_s <= self.now.mono_s:
            effects += self.room.tick(self.now)
        for effect in as_messages(effects):
            self._carry_out(effect)

    def _carry_out(self, effect: Effect) -> None:
        disk, room, now = self.disk, self.room, self.now
        match effect:
            case SaveReport(report):
                self._save(report)
            case Publish(topic=topic, tag=tag) if tag:
                document = json.loads(effect.payload)
                held = self.documents.get(document["key"])
                if held is None or held["revision"] <= document["revision"]:
                    self.documents[document["key"]] = document
                self.note(f"{wall(self.now_s):%d %H:%M:%S} {topic} {effect.payload.decode()}")
                self.do(room.acked(effect, 0, now))
            case MarkPublished(key, revision):
                disk.mark_published(key, revision, None)
            case SettleReports(reports):
                disk.settle(reports)
            case KeepText(text):
                disk.keep_text(text)
            case ForgetTexts(keys):
                disk.forget_texts(keys)
            case ReadReports(tag, charger_id):
                found = disk.select(None, None, charger_id)
                self.do(room.reports_read(ReportsRead(tag, tuple(found)), now))
            case SendRequest(tag, request):
                life = self.life
                self.at(self.now_s + 1.0, lambda: self._answer(life, tag, request.path))

    def _save(self, report: SessionReport) -> None:
        if self.rng.random() < 0.02:
            event = ReportSaveFailed(report, StoreFull("full", hint="h"))
            self.do(self.room.not_saved(event, self.now))
            return
        stored, changed = self.disk.save(report, lambda: None)
        self.do(self.room.saved(ReportSaved(stored, changed), self.now))

    def _answer(self, life: int, tag: Tag, path: str) -> None:
        if life != self.life:
            return
        if self.rng.random() < 0.1:
            failed = CloudFailed(tag, CloudUnavailable("down"))
            self.do(self.room.failed(failed, self.now))
            return
        body = self.world.listed(path, self.now_s)
        self.note(f"{wall(self.now_s):%d %H:%M:%S} listed {body.decode()}")
        self.do(self.room.answered(CloudResponse(tag, 200, body), self.now))


class Judge:
    """Judges a history by what was really charged."""

    def __init__(self, life: Life) -> None:
        self._charges = life.world.charges
        self._documents = list(life.documents.values())
        self._alerts = {one.kind: one.message for one in life.alerts.publications()}

    def judge(self) -> None:
        """Look at every session and every report.

        Raises:
            Violation: A promise was broken.
        """
        known = [self._energy(charge) for charge in self._charges]
        for document in self._documents:
            energies = [e for charge in self._charges for e in _energies(charge)]
            if not any(_same(document["energy_kwh"], kwh) for kwh in energies):
                raise Violation(f"nobody charged this: {document}")
        for charger_id in {charge.charger_id for charge in self._charges}:
            mine = [
                is_told
                for charge, is_told in zip(self._charges, known, strict=True)
                if charge.charger_id == charger_id
            ]
            kind = f"session_unreadable/{charger_id}"
            numbers = [one.number for one in self._charges if one.charger_id == charger_id]
            if all(mine) and len(set(numbers)) == len(numbers) and kind in self._alerts:
                raise Violation(f"all is told, and yet: {self._alerts[kind]}")

    def _energy(self, charge: Charge) -> bool:
        """Judge one session; say whether it is told as far as anybody can know."""
        reports = [
            one
            for one in self._documents
            if one["charger_id"] == charge.charger_id
            and any(_same(one["energy_kwh"], kwh) for kwh in _energies(charge))
        ]
        if len(reports) > 1:
            raise Violation(f"{charge} is told {len(reports)} times: {reports}")
        if not reports:
            if self._must_be_named(charge) and not self._is_named(charge):
                raise Violation(f"{charge} is told nowhere; alerts: {self._alerts}")
            return False
        (report,) = reports
        is_final = charge.kwh in charge.told_kwh or charge.is_listed
        if is_final and not _same(report["energy_kwh"], charge.kwh):
            raise Violation(f"{charge} is told without its correction: {report}")
        self._times(charge, report)
        return charge.number is not None and _same(report["energy_kwh"], charge.kwh)

    def _times(self, charge: Charge, report: dict[str, Any]) -> None:
        stops = [charge.stop_s] + ([charge.interim[0]] if charge.interim else [])
        start, stop = (datetime.fromisoformat(report[key]) for key in ("started_at", "ended_at"))
        is_right = abs((start - wall(charge.start_s)).total_seconds()) <= START_OFF_S and any(
            abs((stop - wall(at_s)).total_seconds()) <= STOP_OFF_S for at_s in stops
        )
        if report["clock"] == "ok" and not is_right:
            raise Violation(f"{charge} has a time that is wrong and not marked: {report}")
        if report["clock"] != "ok" and charge.is_listed and charge.listed in ("right", "odd"):
            raise Violation(f"{charge} is listed with its times, and yet: {report}")

    def _must_be_named(self, charge: Charge) -> bool:
        """Say whether somebody can know of a session that no report tells."""
        if charge.is_heard:
            return True
        mine = [one for one in self._charges if one.charger_id == charge.charger_id]
        numbers = [one.number for one in mine]
        if None in numbers or sorted(set(numbers)) != numbers:  # type: ignore[type-var]
            return False
        told = [one.number or 0 for one in mine if one.told_kwh or one.is_listed]
        return bool(told) and min(told) < (charge.number or 0) < max(told)

    def _is_named(self, charge: Charge) -> bool:
        if f"session_unreadable/{charge.charger_id}" in self._alerts:
            return True
        for kind in ("session_gap", "session_numbers"):
            for runs in re.findall(
                rf"{charge.charger_id}: ([0-9, -]+)", self._alerts.get(kind, "")
            ):
                for run in runs.replace(" ", "").strip(",").split(","):
                    first, _, last = run.partition("-")
                    if int(first) <= (charge.number or -1) <= int(last or first):
                        return True
        return False


def _energies(charge: Charge) -> tuple[float, ...]:
    return (charge.kwh, charge.interim[1]) if charge.interim else (charge.kwh,)


def _same(one: float, other: float) -> bool:
    return abs(one - other) < SAME_KWH


def play(seed: int, tell: Tell = untold) -> Counter[str]:
    """Play a history; return how many charges there were.

    Raises:
        Violation: A kilowatt-hour was told twice, or not at all, or wrongly.
    """
    life = Life(seed, tell)
    life.play()
    return Counter(charges=len(life.world.charges))


def main() -> int:
    """Play lives and say how they went."""
    return lives.main(__doc__, play)


if __name__ == "__main__":
    sys.exit(main())

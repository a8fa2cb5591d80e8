"""The watch on the vendor: changes are found once, learned things are learned first."""

from collections import Counter
from datetime import timedelta

import pytest
from msgspec.structs import replace

from bridge.core.alerts import Alerts
from bridge.core.changes import AlertCleared, AlertRaised
from bridge.core.effects import LogEntry, SaveState
from bridge.core.events import (
    Started,
    Stopping,
    StreamAnomaly,
    Tick,
    VendorOdd,
    VendorReplied,
)
from bridge.core.records.moment import Timestamp
from bridge.core.sources.vendor_watch import ALERT, NAME, SAVE_EVERY_S, VendorWatch
from tests.conftest import NOON

LIST = "GET /api/chargers"
SHAPE = ("[]|id|text", "[]|name|text", "[]|color|null")


class Watched:
    """A watch with a clock."""

    def __init__(self, state=None):
        self.counters = Counter()
        self.watch = VendorWatch(Alerts(), self.counters)
        self.now = Timestamp(NOON, 1000.0)
        self.handle(Started(state=state or {}))

    def wait(self, seconds):
        wall = self.now.wall + timedelta(seconds=seconds)
        self.now = replace(self.now, wall=wall, mono_s=self.now.mono_s + seconds)

    def handle(self, event):
        return list(self.watch.handle(event, self.now))

    def say(self, *shape, **more):
        self.wait(600)
        return self.handle(VendorReplied(LIST, 200, shape=shape, **more))

    def learn(self):
        for _ in range(150):
            self.say(*SHAPE)
        assert not self.watch.facts


def odd(number):
    """Return an observation that is unknown."""
    return VendorOdd(((f"observation {number}", f"observation {number} is unknown"),))


def sentences(watched):
    """Return what was found."""
    return [fact.sentence for fact in watched.watch.facts.values()]


def test_what_the_program_knows_itself_is_found_at_once():
    """It is an alert, a line and a record, once; how often it was seen is counted."""
    watched, sentence = Watched(), "observation 9999 is unknown"
    effects = watched.handle(odd(9999))

    assert sentences(watched) == [sentence]
    kinds = [type(one) for one in effects if not isinstance(one, LogEntry)]
    assert kinds == [AlertRaised, SaveState]
    alert = next(one for one in effects if isinstance(one, AlertRaised))
    assert alert.kind == ALERT
    assert sentence in alert.message
    assert "doctor" in alert.hint
    assert watched.counters["vendor_changes"] == 1
    assert watched.handle(odd(9999)) == []
    assert [fact.count for fact in watched.watch.facts.values()] == [2]


def test_fields_are_learned_for_a_day():
    """What an object has in its first day is how it is, whatever comes and goes."""
    watched = Watched()
    for number in range(100):
        watched.say(*SHAPE, f"[]|field{'x' * number}|text")

    assert not watched.watch.facts


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ((*SHAPE, "[]|tier|text"), "has a new field tier"),
        (SHAPE[1:], "has no field id any more"),
        ((*SHAPE[:1], "[]|name|object", SHAPE[2]), "has name as object instead of text"),
    ],
)
def test_a_change_of_fields_is_found_behind_that(shape, sentence):
    """A new field, a missing one and another type are one fact each, however often seen."""
    watched = Watched()
    watched.learn()
    for _ in range(5):
        watched.say(*shape)

    assert sentences(watched) == [f"{LIST}: [] {sentence}"]


def test_what_is_missing_now_and_then_is_optional():
    """A field that came back is none that left, and a value that was null may have any type."""
    watched = Watched()
    watched.learn()
    watched.say(*SHAPE[:2])
    for _ in range(3):
        watched.say(*SHAPE)
    for _ in range(9):
        watched.say(*SHAPE[:2])
    watched.say(*SHAPE[:2], "[]|color|object", "[].color|id|number")

    assert not watched.watch.facts


def test_nothing_is_learned_by_a_clock_that_is_not_trusted():
    """A day by a clock that was never set is none."""
    watched = Watched()
    watched.now = replace(watched.now, trusted=False)
    watched.say(*SHAPE)

    assert not watched.watch._endpoints[LIST].objects


def test_announcements_limits_and_statuses_are_found():
    """Headers about an end, a lower limit, an unknown status, a hub message that has no reader."""
    watched = Watched()
    for event in (
        VendorReplied(LIST, 200, deprecation="@1", sunset="tomorrow", limit=60),
        VendorReplied(LIST, 200, limit=90),
        VendorReplied(LIST, 200, limit=30),
        VendorReplied(LIST, 418),
        StreamAnomaly("unknown_target", "ChargerUpdate"),
        StreamAnomaly("broken_frame", "x"),
    ):
        watched.handle(event)

    assert sentences(watched) == [
        f"{LIST} is announced to end (Deprecation: @1)",
        f"{LIST} is announced to end (Sunset: tomorrow)",
        f"{LIST} allows 30 requests instead of 60",
        f"{LIST} is answered with the unknown status 418",
        "the hub sends ChargerUpdate",
    ]


def test_a_path_is_gone_when_it_worked_before():
    """410 once, 404 twice in a row; not where it never worked, and not with an error code."""
    watched = Watched()
    watched.handle(VendorReplied("GET /a", 410))
    for endpoint in ("GET /b", "GET /c", "GET /d"):
        watched.handle(VendorReplied(endpoint, 200))
    for event in (
        VendorReplied("GET /b", 404, has_code=True),
        VendorReplied("GET /b", 404, has_code=True),
        VendorReplied("GET /c", 404),
        VendorReplied("GET /c", 200),
        VendorReplied("GET /c", 404),
    ):
        watched.handle(event)
    assert not watched.watch.facts
    watched.handle(VendorReplied("GET /c", 404))
    watched.handle(VendorReplied("GET /d", 410))

    assert sentences(watched) == [
        "GET /c worked and is answered with 404", "GET /d worked and is answered with 410",
    ]  # fmt: skip


def test_a_limit_is_tighter_when_it_is_met_again_and_again():
    """Three refusals within a day are; three in three days are not."""
    watched = Watched()
    for _ in range(3):
        watched.wait(24 * 3600)
        watched.handle(VendorReplied(LIST, 429))
    assert not watched.watch.facts
    for _ in range(2):
        watched.wait(3600)
        watched.handle(VendorReplied(LIST, 429))

    assert sentences(watched) == [f"{LIST} is refused for too many requests again and again"]


def test_a_process_that_is_young_pays_for_the_one_before():
    """What the vendor refuses in the first hour may be what a restart asked for again."""
    watched = Watched()
    for _ in range(5):
        watched.handle(VendorReplied(LIST, 429))
        watched.wait(700)
    assert not watched.watch.facts
    for _ in range(3):
        watched.wait(700)
        watched.handle(VendorReplied(LIST, 429))

    assert len(sentences(watched)) == 1


def test_what_is_known_survives_a_restart():
    """Facts and what was learned are in the document, and the alert stands again."""
    watched = Watched()
    watched.learn()
    effects = watched.handle(odd(9999))
    document = next(one.document for one in effects if isinstance(one, SaveState))
    again = Watched({NAME: document})
    again.now = watched.now

    assert again.watch.facts.keys() == watched.watch.facts.keys()
    assert again.watch._alerts.is_open(ALERT)
    for _ in range(3):
        again.say(*SHAPE, "[]|tier|text")
    assert len(again.watch.facts) == 2


@pytest.mark.parametrize(
    "document",
    [
        {"facts": 5, "endpoints": []},
        {"facts": {"x": {"sentence": 5}, "y": 1}, "endpoints": {"x": 1}},
        {"endpoints": {"x": {"limit": "y", "objects": {"a": {"fields": {"b": {"types": 5}}}}}}},
    ],
)
def test_a_document_that_cannot_be_read_is_learned_again(document):
    """Nothing in it raises, and what can be read counts."""
    watched = Watched({NAME: document})
    watched.learn()

    assert not watched.watch._alerts.is_open(ALERT)


def test_an_alert_stands_for_a_week():
    """Then the change is known; it is counted on, and not named again."""
    watched = Watched()
    watched.handle(odd(9999))
    cleared = []
    for _ in range(8 * 24):
        watched.wait(3600)
        cleared += [one for one in watched.handle(Tick()) if isinstance(one, AlertCleared)]
    watched.handle(odd(9999))

    assert cleared == [AlertCleared(ALERT)]
    assert not watched.watch._alerts.is_open(ALERT)
    assert watched.watch.deadline_s() is None


def test_little_is_written():
    """At most once an hour while something is learned, not at all when nothing is new."""
    watched = Watched()
    written = []
    for number in range(60):
        watched.say(*SHAPE, *([f"[]|x{'y' * number}|text"] if number < 30 else []))
        if (due_s := watched.watch.deadline_s()) is not None and due_s <= watched.now.mono_s:
            written += [one for one in watched.handle(Tick()) if isinstance(one, SaveState)]
    written += watched.handle(Stopping())

    assert 2 <= len(written) <= 60 * 600 / SAVE_EVERY_S + 2
    for _ in range(300):
        watched.say(*SHAPE)
        watched.handle(Tick())
    assert watched.handle(Stopping()) == []


def test_what_is_kept_is_limited():
    """Endless endpoints and endless changes cost no endless memory."""
    watched = Watched()
    for number in range(500):
        watched.handle(VendorReplied(f"GET /{'a' * number}", 418))
        watched.handle(odd(10_000 + number))

    assert len(watched.watch.facts) <= 200
    assert len(watched.watch._endpoints) <= 100
    alert = watched.watch._alerts._open[ALERT]
    assert alert.message.endswith("; and 190 more")

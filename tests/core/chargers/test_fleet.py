"""The fleet: whose observation it is, what cannot be read, and who is there."""

import json
from datetime import timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.core.alerts import Alerts
from bridge.core.chargers.fleet import SAME_TIME_S, ChargerRegistry, batched
from bridge.core.domain_events import UnreadableSession
from bridge.core.effects import LogEntry, SaveReport
from bridge.core.records.moment import Timestamp
from bridge.core.records.observation import RawObservation
from bridge.core.status import Status
from bridge.core.topics import Topics
from bridge.core.value_format import iso_utc
from bridge.settings import PublishSettings
from tests.conftest import NOON
from tests.native import as_messages, publishes

ONE = "EH123456"
TWO = "EH654321"
OFFLINE_AFTER_S = 20 * 60


def at(seconds):
    """Build the moment so many seconds after noon."""
    return Timestamp(NOON + timedelta(seconds=seconds), 1000.0 + seconds)


def a_status():
    """Make a status whose stream is up."""
    Topics()
    status = Status(Alerts(), "1", {})
    status.cloud.stream_up = True
    return status


def a_fleet(status):
    """Make two chargers nobody has heard of yet."""
    chargers = ChargerRegistry(PublishSettings(), b"salt", status)
    assert chargers.add((ONE, TWO)) == (ONE, TWO)
    return chargers


@pytest.fixture
def status():
    """A status whose stream is up."""
    return a_status()


@pytest.fixture
def fleet(status):
    """Two chargers nobody has heard of yet."""
    return a_fleet(status)


def tell(fleet, charger_id, number, value, seconds=0.0, *, measured_s=None, kind=None, now=None):
    """Let an observation arrive; return the effects."""
    now = now or at(seconds)
    measured_at = iso_utc(at(seconds if measured_s is None else measured_s).wall)
    raw = RawObservation(charger_id, number, kind, value, measured_at)
    effects = []
    observation = fleet.read(raw, "stream", now, effects)
    if observation is not None:
        fleet.apply(observation, "stream", now, effects, ours=False)
    return as_messages(batched(effects))


def published(effects):
    """Map topics to their newest payload."""
    return {e.topic: e.payload for e in publishes(effects)}


def test_adding_a_charger_twice_adds_it_once(fleet):
    """Only new serials are new."""
    assert fleet.add((TWO, "EH000003")) == ("EH000003",)
    assert list(fleet.chargers) == [ONE, TWO, "EH000003"]


def test_a_charger_is_online_while_it_is_heard_and_offline_after_20_minutes(fleet, status):
    """Silence takes a charger offline at its deadline, without any event of its own."""
    tell(fleet, ONE, 120, "1.5", 0)
    first = published(as_messages(fleet.availability(at(0))))
    due_s = fleet.deadline_s()
    later = published(as_messages(fleet.availability(at(OFFLINE_AFTER_S + 1))))

    assert first[f"charger/{ONE}/availability"] == b"online"
    assert first[f"charger/{TWO}/availability"] == b"offline"
    assert due_s == 1000.0 + OFFLINE_AFTER_S
    assert later == {f"charger/{ONE}/availability": b"offline"}
    assert status.online == 0


def test_news_before_the_silence_ends_moves_the_deadline(fleet):
    """A charger that speaks in time stays online; the deadline is looked at again."""
    tell(fleet, ONE, 120, "1.5", 0)
    list(fleet.availability(at(0)))
    tell(fleet, ONE, 120, "1.6", 600)
    list(fleet.availability(at(600)))

    assert published(as_messages(fleet.availability(at(OFFLINE_AFTER_S + 1)))) == {}
    assert fleet.deadline_s() == 1000.0 + 600 + OFFLINE_AFTER_S


def test_a_replay_brings_no_charger_to_life(fleet):
    """Values with old stamps are shown, and say nothing about now."""
    tell(fleet, ONE, 109, "3", 0, measured_s=-OFFLINE_AFTER_S - 60)

    told = published(as_messages(fleet.availability(at(0))))
    assert told[f"charger/{ONE}/availability"] == b"offline"


def test_what_arrived_before_the_time_was_known_is_not_believed_for_longer(fleet):
    """It is judged when the time is known, and again when its own 20 minutes are over (777012)."""
    unknown = Timestamp(NOON - timedelta(minutes=10), 1000.0, trusted=False)
    tell(fleet, ONE, 120, "1.5", 0, measured_s=-900, now=unknown)
    assert (
        published(as_messages(fleet.availability(unknown)))[f"charger/{ONE}/availability"]
        == b"online"
    )

    assert published(as_messages(fleet.availability(at(10)))) == {}
    assert fleet.deadline_s() == 1000.0 - 900 + OFFLINE_AFTER_S
    assert published(as_messages(fleet.availability(at(OFFLINE_AFTER_S - 900)))) == {
        f"charger/{ONE}/availability": b"offline"
    }


def test_the_time_of_the_cloud_judges_where_ours_cannot(fleet):
    """A clock a year and a half slow makes no silent charger alive: the Date tells (777022)."""
    told = Timestamp(NOON - timedelta(days=579), 1000.0, trusted=False, told=NOON)
    tell(fleet, ONE, 120, "1.5", 0, measured_s=-OFFLINE_AFTER_S - 60, now=told)
    tell(fleet, TWO, 120, "1.5", 0, measured_s=-60, now=told)

    shown = published(as_messages(fleet.availability(told)))
    assert shown[f"charger/{ONE}/availability"] == b"offline"
    assert shown[f"charger/{TWO}/availability"] == b"online"


CLOCKS = ("right", "slow_and_told", "fast_and_told")


@given(
    st.sampled_from(["unknown", *CLOCKS]),
    st.lists(
        st.one_of(
            st.tuples(st.just("heard"), st.integers(0, 3000)),
            st.tuples(st.just("passes"), st.integers(1, 1500)),
            st.tuples(st.just("sleeps"), st.integers(1, 3000)),
            st.tuples(st.sampled_from(CLOCKS), st.just(0)),
        ),
        max_size=12,
    ),
)
@example("unknown", [("heard", 1199), ("right", 0), ("sleeps", 1)])
def test_nobody_is_called_online_who_was_silent_for_20_minutes(clock, steps):
    """Whatever our clocks do; and nobody offline who was heard within them.

    A clock that was set, or a sleep, of less than SAME_TIME_S is not noticed at once.
    """
    slack_s = 0.0
    chargers, true_s, mono_s, newest_s, shown = a_fleet(a_status()), 0.0, 1000.0, -1e9, b"offline"

    def now():
        wall = NOON + timedelta(seconds=true_s)
        if clock == "right":
            return Timestamp(wall, mono_s)
        off = timedelta(days=579 if clock == "fast_and_told" else -579)
        return Timestamp(
            wall + off, mono_s, trusted=False, told=None if clock == "unknown" else wall
        )

    def look():
        nonlocal shown
        told = published(as_messages(chargers.availability(now())))
        shown = told.get(f"charger/{ONE}/availability", shown)
        is_told = abs(true_s - newest_s - OFFLINE_AFTER_S) >= slack_s
        if clock != "unknown" and is_told:
            assert shown == (b"online" if true_s - newest_s < OFFLINE_AFTER_S else b"offline")

    look()
    for step, seconds in steps:
        if step == "heard":
            tell(chargers, ONE, 120, "1.5", true_s, measured_s=true_s - seconds, now=now())
            newest_s = max(newest_s, true_s - seconds)
        elif step == "passes":
            end_s = mono_s + seconds
            while (due_s := chargers.deadline_s()) is not None and due_s <= end_s:
                true_s, mono_s = true_s + max(0.0, due_s - mono_s), max(mono_s, due_s)
                look()
            true_s, mono_s = true_s + end_s - mono_s, end_s
        elif step == "sleeps":
            true_s += seconds  # and our monotonic clock stands still
            slack_s = SAME_TIME_S
        else:
            clock = step
        look()


def test_without_the_cloud_nobody_is_available(fleet, status):
    """A lost link takes every charger offline; its return brings back those that are heard."""
    tell(fleet, ONE, 120, "1.5", 0)
    list(fleet.availability(at(0)))
    status.cloud.stream_up = False
    lost = published(as_messages(fleet.availability(at(1))))
    status.cloud.stream_up = True
    back = published(as_messages(fleet.availability(at(2))))

    assert lost == {f"charger/{ONE}/availability": b"offline"}
    assert back == {f"charger/{ONE}/availability": b"online"}


def test_noise_is_logged_once_per_id_and_stays_in_an_alert_until_it_is_good(fleet, status):
    """Counted each time, logged once, named in an alert, cleared by a good value."""
    first = tell(fleet, ONE, 120, "NaN", kind=3)
    second = tell(fleet, TWO, 120, "inf", kind=3)
    alert = json.loads(published(second)["charger/bridge/alert/undecodable"])
    tell(fleet, ONE, 120, "1.5", 1)
    cleared = published(tell(fleet, TWO, 120, "1.5", 1))

    assert next(e.event for e in first if isinstance(e, LogEntry)) == "observation.undecodable"
    assert not [e for e in second if isinstance(e, LogEntry)]
    assert f"{ONE}/120, {TWO}/120" in alert["message"]
    assert status.counters["observations_undecodable"] == 2
    assert cleared["charger/bridge/alert/undecodable"] == b""


def test_a_finished_session_is_saved_whatever_its_order(fleet):
    """Two 129s with falling stamps are both reports: they are exempt from newest-wins."""
    text = '{"Id":%d,"Start":"2026-11-22T10:00:00Z","Stop":"2026-11-22T11:00:00Z","EnergyKwh":1.5}'
    newer = tell(fleet, ONE, 129, text % 8, 10)
    older = tell(fleet, ONE, 129, text % 7, 11, measured_s=5)

    saved = [e.report.session_id for e in newer + older if isinstance(e, SaveReport)]
    assert saved == [8, 7]


def test_a_session_text_nobody_can_read_is_counted_and_its_text_is_not_logged(fleet, status):
    """A broken 129 saves nothing and shows nothing: a tag may be in it."""
    broken = '{"Auth":"04AABBCC","Id":7,"Start":"2026-11-22T10:00:00Z"'
    effects = tell(fleet, ONE, 129, broken)

    assert not [e for e in effects if isinstance(e, SaveReport)]
    assert status.counters["session_payloads_unreadable"] == 1
    assert "04AABBCC" not in repr(effects)
    (kept,) = [effect.text for effect in effects if isinstance(effect, UnreadableSession)]
    assert (kept.text, kept.session_id, kept.source) == (broken, 7, "stream")
    assert (kept.started_at, kept.ended_at) == (at(0).wall.replace(hour=10), None)


SESSION = '{"Id":7,"Start":"2026-11-22T10:00:00Z","Stop":"2026-11-22T11:00:00Z","EnergyKwh":1.5}'


@pytest.mark.parametrize("stamp", ["", "1970-01-01T00:00:07Z", "soon", "2026-13-01T00:00:00Z"])
def test_a_finished_session_without_a_stamp_is_saved(fleet, stamp):
    """A charger whose clock was never set stamps everything with 1970: its arrival counts."""
    effects = []
    raw = RawObservation(ONE, 129, 6, SESSION, stamp)

    assert fleet.read(raw, "poll", at(0), effects) is None
    (report,) = [effect.report for effect in effects if isinstance(effect, SaveReport)]
    assert (report.session_id, report.energy_kwh, report.source) == (7, 1.5, "poll")
    assert report.measured_at == report.received_at == at(0).wall
    assert "charger/bridge/alert/undecodable" in published(effects)
    assert f"charger/{ONE}/state/charging_session" not in published(effects)


@pytest.mark.parametrize("kind", [None, *range(1, 8), 99])
def test_a_finished_session_of_any_type_is_saved(fleet, kind):
    """A text with a wrong type is a bill all the same."""
    effects = tell(fleet, ONE, 129, SESSION, kind=kind)

    assert [e.report.session_id for e in effects if isinstance(e, SaveReport)] == [7]


def envelope(value, *, stamp="", kind=None):
    """Build a 129 as a record brings it whose fields may be anything."""
    return RawObservation(ONE, 129, kind, value, stamp)


@pytest.mark.parametrize(
    "raw",
    [
        envelope(SESSION),
        envelope(SESSION, stamp="1970-01-01T00:01:00Z"),
        envelope(json.loads(SESSION)),
    ],
    ids=["no stamp", "1970", "no text"],
)
def test_a_session_costs_no_report_for_what_its_observation_lacks(fleet, status, raw):
    """It is counted, logged once, named, and counts as told when it came."""
    effects = []
    for _ in range(2):
        assert fleet.read(raw, "poll", at(5), effects) is None

    reports = [effect.report for effect in effects if isinstance(effect, SaveReport)]
    assert [(one.session_id, one.energy_kwh, one.source) for one in reports] == [
        (7, 1.5, "poll"),
        (7, 1.5, "poll"),
    ]
    assert {one.measured_at for one in reports} == {at(5).wall}
    events = [one.event for one in effects if isinstance(one, LogEntry)]
    assert events == ["observation.undecodable", "alert.raised"]
    assert status.counters["observations_undecodable"] == 2
    assert status.alerts.kinds == ("undecodable",)


@pytest.mark.fault("F49")
@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (None, "null"),
        ("", ""),
        ({"Id": 7}, '{"Id": 7}'),
        (10**5000, ""),
        ("\ud800" + SESSION[:40], "?" + SESSION[:40]),
        (SESSION[:40], SESSION[:40]),
    ],
    ids=["null", "empty", "object", "too many digits", "no Unicode", "cut off"],
)
def test_a_session_without_a_stamp_that_cannot_be_read_is_kept_as_a_text(fleet, value, kept):
    """Contract 6: nothing unreadable is lost, and what is told again is the same."""
    texts = []
    for seconds in (5, 6):
        effects = []
        fleet.read(envelope(value), "stream", at(seconds), effects)
        texts += [effect.text for effect in effects if isinstance(effect, UnreadableSession)]

    assert [text.text for text in texts] == [kept, kept]
    assert texts[0].key == texts[1].key
    assert texts[0].measured_at == at(5).wall


def test_a_start_nobody_can_read_is_named_until_one_can_be(fleet, status):
    """It bills nobody: the session is shown by the op mode, and its report comes."""
    for _ in range(2):
        effects = tell(fleet, ONE, 223, '{"Auth":"04AABBCC"')
    good = tell(fleet, TWO, 223, '{"Id":7,"Start":"2026-11-22T10:00:00Z"}')

    events = [e.event for e in effects if isinstance(e, LogEntry)]
    assert events == ["observation.withheld"]  # said once, and never with its tag
    assert not [e for e in effects if isinstance(e, UnreadableSession | SaveReport)]
    assert status.counters["session_payloads_unreadable"] == 2
    assert status.alerts.kinds == ("undecodable",)
    assert not [e for e in publishes(good) if "alert" in e.topic]
    assert "04AABBCC" not in repr([*status.alerts.publications()])

    tell(fleet, ONE, 223, '{"Id":7,"Start":"2026-11-22T10:00:00Z"}', 1)
    assert status.alerts.kinds == ()


def test_a_start_nobody_can_read_does_not_replace_a_good_one(fleet):
    """The contract's rule of every value."""
    tell(fleet, ONE, 223, '{"Id":7,"Start":"2026-11-22T10:00:00Z"}')
    effects = tell(fleet, ONE, 223, '{"Id":8,"Start":"soon"}', 1)

    assert not [e for e in publishes(effects) if e.topic.endswith("/current")]
    (shown,) = [
        e.payload
        for e in publishes(fleet.chargers[ONE].publications(at(2)))
        if e.topic.endswith("session/current")
    ]
    assert json.loads(shown)["session_id"] == 7


def test_odd_side_fields_are_counted_by_name(fleet, status):
    """Case B1: whoever looks sees what a firmware does."""
    text = '{"Id":-1,"Start":"2026-11-22T10:00:00Z","Stop":"2026-11-22T11:00:00Z","EnergyKwh":1.5}'
    tell(fleet, ONE, 129, text)
    tell(fleet, ONE, 223, text)

    assert status.counters["session_session_id_unreadable"] == 2

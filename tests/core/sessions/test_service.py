"""The parts of the room work together: accepted, delivered, settled, and nothing forgotten."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from msgspec import structs

from bridge.core.alerts import Alerts
from bridge.core.changes import AlertCleared, AlertRaised, ReportCounts, ReportsGivenUp
from bridge.core.effects import (
    Acknowledge,
    ForgetTexts,
    KeepReports,
    KeepText,
    LogEntry,
    MaintainStore,
    MarkPublished,
    ReadReports,
    SaveReport,
    SendRequest,
    SettleReports,
)
from bridge.core.events import (
    CloudFailed,
    CloudResponse,
    MqttMessage,
    ReportSaved,
    ReportSaveFailed,
    ReportsDelivered,
    ReportsRead,
    ReportsReadFailed,
    StoreMaintained,
    StoreOpened,
)
from bridge.core.messages import AckToken, Publish, Tag
from bridge.core.records.moment import Timestamp
from bridge.core.records.store_problem import StoreProblem
from bridge.core.records.unread_text import UnreadText
from bridge.core.sessions.delivery import MAX_REDELIVERIES, SETTLE_S
from bridge.core.sessions.report_merge import entered
from bridge.core.sessions.service import AT_ONCE_S, SessionService
from bridge.core.topics import SessionAckTopic, SessionReplayTopic, Topics
from bridge.core.value_format import iso_utc
from bridge.errors import CloudUnavailable, StoreError, StoreFull
from bridge.settings import EaseeSettings, Secret, Settings
from tests.core.sessions.rows import HOUR, NOON, ONE, REPORT, TAG, row
from tests.native import as_messages

PROBLEMS = (StoreProblem("store_incomplete", "a part is gone", "check the disk"),)

RECEIPT = AckToken(1, 5, 1)
SETTINGS = Settings(EaseeSettings("x@example.com", Secret("p")))


class Room:
    """The room, a clock, and what came out of it."""

    def __init__(self, *rows, settings=SETTINGS):
        Topics()
        self.alerts = Alerts()
        self.room = SessionService(settings, self.alerts, salt=b"salt")
        self.now = Timestamp(NOON + 100 * HOUR, 5000.0)
        self.take(self.room.opened(StoreOpened(rows), self.now))

    def take(self, effects):
        """Let something happen and time be looked at, as the router does."""
        effects, due_s = list(effects), self.room.deadline_s()
        if due_s is not None and due_s <= self.now.mono_s:
            effects += self.room.tick(self.now)
        return as_messages(effects)

    def wait(self, seconds):
        self.now = Timestamp(self.now.wall + timedelta(seconds=seconds), self.now.mono_s + seconds)
        return self.take([])

    def message(self, topic, payload, *, retained=False):
        message = MqttMessage("x", payload, RECEIPT, retained=retained)
        return self.take(self.room.message(message, topic, self.now))

    def saved(self, stored, changed=True):
        return self.take(self.room.saved(ReportSaved(stored, changed), self.now))


def published(effects):
    """Return the reports that go out."""
    return [e for e in effects if isinstance(e, Publish) and e.topic.endswith("/report")]


def test_from_committed_to_settled():
    """Commit, publish, PUBACK, mark, and after the settle window done with."""
    room = Room()
    room.take(room.room.connected(room.now))
    (report,) = published(room.saved(row(1)))
    assert room.room.standing == ReportCounts(1, 0, 0, 0)
    assert room.take(room.room.acked(report, 0, room.now)) == [MarkPublished(f"{ONE}-1", 1)]
    assert room.room.standing == ReportCounts(0, 1, 0, 0)
    room.wait(SETTLE_S / 2)

    for _ in range(2):
        assert room.room.deadline_s() <= room.now.mono_s + SETTLE_S / 2
    assert room.take([]) == []
    assert SettleReports(((f"{ONE}-1", 1),)) in room.wait(SETTLE_S / 2)
    assert room.room.standing == ReportCounts(0, 0, 0, 0)


def test_a_consumer_s_acknowledgement_settles_and_is_acknowledged_itself():
    """The message must not come again and again."""
    room = Room(row(1))
    room.take(room.room.connected(room.now))

    assert room.message(SessionAckTopic(), b"EH123456-1") == [
        Acknowledge(RECEIPT),
        SettleReports(((f"{ONE}-1", 1),)),
    ]


def test_what_another_channel_delivered_is_settled_when_the_native_topics_are_done():
    """The convention says so by an event."""
    now = Timestamp(NOON + 100 * HOUR, 5000.0)
    service = SessionService(SETTINGS, Alerts(), salt=b"salt", channels=("plant",))
    list(service.opened(StoreOpened((row(1),)), now))
    list(service.connected(now))
    message = MqttMessage("x", b"EH123456-1", RECEIPT)
    acknowledged = service.message(message, SessionAckTopic(), now)
    assert list(acknowledged) == [Acknowledge(RECEIPT)]

    delivered = service.handle(ReportsDelivered("plant", ((f"{ONE}-1", 1),)), now)
    assert list(delivered) == [SettleReports(((f"{ONE}-1", 1),))]


def test_a_host_that_never_comes_is_told_of_and_given_up_in_the_end():
    """After a day there is an alert, after keep_days the report is settled and the alert over."""
    service = SessionService(SETTINGS, Alerts(), salt=b"salt", channels=("plant",))
    at, keep_days = Timestamp(NOON + 2 * HOUR, 5000.0), SETTINGS.store.keep_days
    list(service.opened(StoreOpened((row(1),)), at))
    list(service.connected(at))
    list(service.message(MqttMessage("x", b"EH123456-1", RECEIPT), SessionAckTopic(), at))

    def tended(days, *, trusted=True):
        now = Timestamp(NOON + HOUR + timedelta(days=days), at.mono_s + days * 86400, trusted)
        return list(service.handle(StoreMaintained(0.1, 2**30), now))

    def alerts(found):
        return [each.kind for each in found if isinstance(each, AlertRaised | AlertCleared)]

    assert alerts(tended(0.9)) == []
    assert alerts(tended(1.1, trusted=False)) == []
    raised = tended(1.1)
    assert alerts(raised) == ["sparkplug_host_missing"]
    assert "2026-11-22T13:00:00Z" in str(raised)
    assert SettleReports(((f"{ONE}-1", 1),)) not in tended(keep_days - 0.1)
    given_up = tended(keep_days + 0.1)
    assert ReportsGivenUp(((f"{ONE}-1", 1),)) in given_up
    assert LogEntry("warning", "session.given_up", {"reports": 1}) in given_up
    assert SettleReports(((f"{ONE}-1", 1),)) in given_up
    assert alerts(given_up) == ["sparkplug_host_missing"]
    assert tended(keep_days + 1) == []


def test_a_link_that_never_holds_is_told_of_until_something_settles():
    """Time settles nothing there: somebody has to acknowledge, and has to know that."""
    room = Room(row(1))
    alert = "charger/bridge/alert/reports_unsettled"
    for _ in range(MAX_REDELIVERIES + 1):
        out = room.take(room.room.connected(room.now))
        (report,) = published(out)
        room.take(room.room.acked(report, 0, room.now))
        room.wait(SETTLE_S / 2)
        room.room.disconnected()
    (told,) = [e for e in out if isinstance(e, Publish) and e.topic == alert]
    assert b"acknowledge" in told.payload

    assert Publish(alert, b"") in room.message(SessionAckTopic(), b"EH123456-1")


@pytest.mark.parametrize("topic", [SessionAckTopic(), SessionReplayTopic()])
@pytest.mark.parametrize(("payload", "retained"), [(b"{", False), (b"{}", True), (b"", False)])
def test_what_cannot_be_read_or_is_retained_changes_nothing_and_is_noted(topic, payload, retained):
    """A retained acknowledgement would be said again at every start."""
    room = Room(row(1))
    room.take(room.room.connected(room.now))
    ack, note = room.message(topic, payload, retained=retained)

    assert ack == Acknowledge(RECEIPT)
    assert isinstance(note, LogEntry)
    assert note.event == "session.message_ignored"


def test_a_replay_reads_the_store_and_publishes_again():
    """What was settled long ago goes out once more."""
    room = Room()
    room.take(room.room.connected(room.now))
    _, read = room.message(SessionReplayTopic(), b'{"since":"2026-11-22T12:00:00Z"}')
    assert (read.charger_id, read.since) == (None, NOON)
    settled = row(1, published=True, settled=True)
    effects = room.take(room.room.reports_read(ReportsRead(read.tag, (settled,)), room.now))

    assert [message.tag for message in published(effects)] == [f"report:{ONE}-1:1"]


def test_a_replay_goes_out_at_once_whatever_was_thought_of_the_consumers():
    """Case B6: reports are owed, nobody was there for minutes, and now somebody asks."""
    rows = [row(n) for n in range(1, 201)]
    room = Room(*rows)
    (probe,) = published(room.take(room.room.connected(room.now)))
    for _ in range(9):  # nobody is there, and it is tried less and less often
        room.take(room.room.acked(probe, 16, room.now))
        (probe,) = published(room.wait(300))
    room.take(room.room.acked(probe, 16, room.now))
    assert room.room.standing.pending == len(rows)
    effects = room.message(SessionReplayTopic(), b"{}")
    sent = []
    for effect in effects:  # grows while it is walked through
        match effect:
            case ReadReports(asked, _, since):
                page = [one for one in rows if since is None or one.report.ended_at >= since]
                found = ReportsRead(asked, tuple(page))
                effects += room.take(room.room.reports_read(found, room.now))
            case Publish(tag=tag) if tag:
                sent.append(tag)
                effects += room.take(room.room.acked(effect, 0, room.now))

    assert {tag.split(":")[1] for tag in sent} == {one.key for one in rows}


def test_a_replay_of_one_charger_does_not_wait_for_another_s_consumer():
    """Case B6: hundreds are owed where nobody listens."""
    room = Room(*(row(n, charger_id="EH999999") for n in range(1, 301)))
    (probe,) = published(room.take(room.room.connected(room.now)))
    room.take(room.room.acked(probe, 16, room.now))
    effects = room.message(SessionReplayTopic(), b'{"charger":"EH123456"}')
    (probe,) = published(effects)  # whoever asks may be there for these too
    effects += room.take(room.room.acked(probe, 16, room.now))
    (read,) = [effect for effect in effects if isinstance(effect, ReadReports)]
    found = ReportsRead(read.tag, (row(1, settled=True),))

    out = published(room.take(room.room.reports_read(found, room.now)))
    assert f"report:{ONE}-1:1" in [message.tag for message in out]


def test_what_nobody_ever_asked_for_is_kept_and_the_first_consumer_gets_it():
    """Contract 6: not owed, no alarm; a replay brings it, and from then on reports are owed."""
    room = room_without_consumer()
    (report,) = published(room.saved(row(1)))
    assert KeepReports(((f"{ONE}-1", 1),)) in room.take(room.room.acked(report, 16, room.now))
    assert room.room.standing == ReportCounts(0, 0, 0, 0, kept=1)
    room.take(room.room.tended(StoreMaintained(0.1, 2**30, kept=7), room.now))
    assert room.room.standing.kept == 7  # the store counts those of earlier processes too
    assert published(room.wait(3600)) == []
    assert published(room.take(room.room.connected(room.now))) == []
    _, read = room.message(SessionReplayTopic(), b"{}")
    kept = ReportsRead(read.tag, (row(1, settled=True),))
    (report,) = published(room.take(room.room.reports_read(kept, room.now)))
    assert MarkPublished(f"{ONE}-1", 1) in room.take(room.room.acked(report, 0, room.now))

    (report,) = published(room.saved(row(2)))
    room.take(room.room.acked(report, 16, room.now))
    assert room.room.standing.pending == 1


def test_who_requires_acknowledgements_has_a_consumer():
    """Contract 6: the operator said so, and nothing is kept aside."""
    room = room_without_consumer(require_acknowledgement=True)
    (report,) = published(room.saved(row(1)))
    room.take(room.room.acked(report, 16, room.now))

    assert room.room.standing.pending == 1


def room_without_consumer(**publish):
    """A room whose store was made just now, at a broker."""
    settings = replace(SETTINGS, publish=replace(SETTINGS.publish, **publish))
    room = Room()
    alerts = room.alerts
    room.room = SessionService(settings, alerts, salt=b"salt")
    room.take(room.room.opened(StoreOpened((), has_consumer=False), room.now))
    room.take(room.room.connected(room.now))
    return room


def test_a_session_nobody_can_read_is_looked_up_within_a_minute_and_named_until_it_came():
    """Case B2: kept, named, asked for, and emptied when the list brought it."""
    room = Room()
    (read,) = [e for e in room.take(room.room.serve((ONE,))) if isinstance(e, ReadReports)]
    room.take(room.room.reports_read(ReportsRead(read.tag, ()), room.now))
    (call,) = [e for e in room.wait(6) if isinstance(e, SendRequest)]
    room.take(room.room.answered(CloudResponse(call.tag, 200, b"[]"), room.now))
    room.wait(1000)
    at = room.now.wall
    text = UnreadText(ONE, "{", "no JSON", "stream", at, at, session_id=7)
    effects = room.take(room.room.unreadable(text, room.now))
    assert KeepText(text) in effects
    assert room.alerts.kinds == (f"session_unreadable/{ONE}",)
    (call,) = [e for e in room.wait(59) if isinstance(e, SendRequest)]

    body = b'[{"id":7,"carConnected":"%b","carDisconnected":"%b","kiloWattHours":1}]' % (
        iso_utc(at - HOUR).encode(),
        iso_utc(at).encode(),
    )
    effects = room.take(room.room.answered(CloudResponse(call.tag, 200, body), room.now))
    (saved,) = [effect.report for effect in effects if isinstance(effect, SaveReport)]
    effects = room.take(room.room.saved(ReportSaved(*entered(saved, ())), room.now))
    assert ForgetTexts((text.key,)) in effects
    assert room.alerts.kinds == ()


def test_a_replay_that_waits_already_is_not_asked_for_twice():
    """Impatience costs a line in the log."""
    room = Room()
    room.message(SessionReplayTopic(), b"{}")

    assert [type(e) for e in room.message(SessionReplayTopic(), b"{}")] == [Acknowledge, LogEntry]


def test_a_replay_that_cannot_be_read_is_given_up():
    """The store is in trouble; whoever asked can ask again."""
    room = Room()
    _, read = room.message(SessionReplayTopic(), b"{}")
    event = ReportsReadFailed(read.tag, StoreError("gone"))

    assert [e.event for e in room.take(room.room.reports_not_read(event, room.now))] == [
        "session.replay_failed"
    ]


def test_a_report_that_cannot_be_committed_is_an_alert_and_is_tried_again():
    """In a minute, and at once when the store is well again; nothing is said of it before."""
    room = Room()
    room.take(room.room.connected(room.now))
    event = ReportSaveFailed(REPORT, StoreFull("no space", hint="free some"))
    effects = room.take(room.room.not_saved(event, room.now))
    assert "storage" in room.alerts.kinds
    assert published(effects) == []
    assert room.room.standing.unsaved == 1
    assert room.wait(59) == []
    assert SaveReport(REPORT) in room.wait(1)

    again = room.take(room.room.not_saved(event, room.now))
    assert not [e for e in again if isinstance(e, LogEntry)]
    assert SaveReport(REPORT) in room.take(room.room.opened(StoreOpened(()), room.now))


def test_the_cloud_is_asked_for_what_did_not_reach_us():
    """Charger served, store read, stream open, cloud asked, sessions saved."""
    room = Room()
    (read,) = [e for e in room.take(room.room.serve((ONE,))) if isinstance(e, ReadReports)]
    room.take(room.room.reports_read(ReportsRead(read.tag, (row(1),)), room.now))
    room.room.stream_opened(room.now)
    (call,) = [e for e in room.wait(6) if isinstance(e, SendRequest)]
    assert call.tag.owner == room.room.name
    body = (
        b'[{"id":2,"carConnected":"2026-11-22T13:00:00Z",'
        b'"carDisconnected":"2026-11-22T14:00:00Z","kiloWattHours":1}]'
    )
    effects = room.take(room.room.answered(CloudResponse(call.tag, 200, body), room.now))

    assert [e.report.session_id for e in effects if isinstance(e, SaveReport)] == [2]
    assert room.take(room.room.answered(CloudResponse(call.tag, 200, body), room.now)) == []


def test_a_cloud_that_does_not_answer_is_noted():
    """And asked again later."""
    room = Room()
    (read,) = [e for e in room.take(room.room.serve((ONE,))) if isinstance(e, ReadReports)]
    room.take(room.room.reports_read(ReportsRead(read.tag, ()), room.now))
    (call,) = [e for e in room.wait(6) if isinstance(e, SendRequest)]
    event = CloudFailed(call.tag, CloudUnavailable("down"))

    (note,) = room.take(room.room.failed(event, room.now))
    assert note.event == "session.backfill_failed"


def test_a_store_that_could_not_be_read_is_read_again_when_it_opens():
    """Backfill waits for it."""
    room = Room()
    (read,) = [e for e in room.take(room.room.serve((ONE,))) if isinstance(e, ReadReports)]
    event = ReportsReadFailed(read.tag, StoreError("gone"))
    assert room.take(room.room.reports_not_read(event, room.now)) == []

    effects = room.take(room.room.opened(StoreOpened((), PROBLEMS), room.now))
    assert [type(e) for e in effects] == [ReadReports]


def test_rows_nobody_waits_for_any_more_change_nothing():
    """A read whose asker gave up is answered late."""
    room = Room()
    late = ReportsRead(Tag("sessions", 99), (row(1),))

    assert room.take(room.room.reports_read(late, room.now)) == []
    gone = ReportsReadFailed(Tag("sessions", 99), StoreError("gone"))
    assert room.take(room.room.reports_not_read(gone, room.now)) == []


def test_a_new_report_of_the_time_of_a_text_nobody_can_read_is_its_session():
    """A repeated one is another's: it was known before the text came."""
    room = Room()
    at = row(3).report.ended_at
    for reason in "ab":
        text = UnreadText(ONE, reason, "no JSON", "stream", at, at)
        room.take(room.room.unreadable(text, room.now))
    assert not [e for e in room.saved(row(3, revision=2)) if isinstance(e, ForgetTexts)]
    assert not [e for e in room.saved(row(3), changed=False) if isinstance(e, ForgetTexts)]
    assert [e for e in room.saved(row(3)) if isinstance(e, ForgetTexts)]
    assert room.alerts.kinds == ()


def test_sessions_whose_times_cannot_be_are_named():
    """When they are stored, and after a start when the store is read."""
    doubted = structs.replace(row(1), report=replace(row(1).report, doubtful=("started_at",)))
    room, again = Room(), Room()
    room.saved(doubted)
    (read,) = again.take(again.room.serve([ONE]))
    again.take(again.room.reports_read(ReportsRead(read.tag, (doubted,)), again.now))

    assert room.alerts.kinds == again.alerts.kinds == ("session_clock",)


@pytest.mark.parametrize("is_shown", [True, False])
def test_the_choice_about_personal_data_reaches_the_delivery(is_shown):
    """A tag is shown as it is only where the operator wants it."""
    publish = replace(SETTINGS.publish, personal_data=is_shown)
    room = Room(row(1), settings=replace(SETTINGS, publish=publish))
    (report,) = published(room.take(room.room.connected(room.now)))

    assert (TAG.encode() in report.payload) is is_shown


def test_that_a_broker_holds_nothing_reaches_the_delivery():
    """What it took there is neither published nor settled, however long ago."""
    room = Room(row(1))
    (report,) = published(room.take(room.room.connected(room.now, holds=False)))
    assert room.take(room.room.acked(report, 0, room.now)) == []
    assert [e for e in room.wait(SETTLE_S) if isinstance(e, SettleReports)] == []
    assert room.room.standing == ReportCounts(1, 0, 0, 0)


def test_after_a_loss_of_rows_the_cloud_is_asked_for_a_month():
    """Whatever the store says is gone of it."""
    room = Room()
    opened = room.take(room.room.serve([ONE]))
    opened += room.take(room.room.opened(StoreOpened((row(99),), PROBLEMS), room.now))
    for read in [effect for effect in opened if isinstance(effect, ReadReports)]:
        room.take(room.room.reports_read(ReportsRead(read.tag, (row(99),)), room.now))
    (call,) = [effect for effect in room.wait(10) if isinstance(effect, SendRequest)]

    assert (NOON + 100 * HOUR - timedelta(days=31)).strftime("%Y-%m-%d") in call.request.path


def test_where_no_subscriber_is_required_the_setting_reaches_the_delivery():
    """The broker's word that nobody listens is then as good as any other."""
    settings = replace(SETTINGS, publish=replace(SETTINGS.publish, require_subscriber=False))
    room = Room(row(1), settings=settings)
    (report,) = published(room.take(room.room.connected(room.now)))
    assert MarkPublished(f"{ONE}-1", 1) in room.take(room.room.acked(report, 16, room.now))


def test_what_happened_counts_in_the_next_deadline():
    """Whoever sleeps until then is woken in time, and not for what is not wanted any more."""
    bench = Room()
    room, parts = bench.room, vars(bench.room).values()

    def after(event, *facts):
        """Let something happen: a look is wanted at once, and then what the parts want."""
        effects = as_messages(event(*facts) or ())
        assert room.deadline_s() == AT_ONCE_S
        effects += as_messages(room.tick(bench.now))
        due = [part.deadline_s() for part in parts if hasattr(part, "deadline_s")]
        assert room.deadline_s() == min((at for at in due if at is not None), default=None)
        return effects

    def asked():
        """Wait for the cloud to be asked; return the call."""
        while True:
            for effect in bench.wait(max(0.0, room.deadline_s() - bench.now.mono_s)):
                if isinstance(effect, SendRequest):
                    return effect.tag

    (read,) = after(room.serve, [ONE])
    after(room.reports_read, ReportsRead(read.tag, (row(1),)), bench.now)
    after(room.answered, CloudResponse(asked(), 200, b"[]"), bench.now)
    after(room.stream_opened, bench.now)
    after(room.failed, CloudFailed(asked(), CloudUnavailable("down")), bench.now)
    after(room.not_saved, ReportSaveFailed(REPORT, StoreFull("full")), bench.now)
    after(room.opened, StoreOpened((row(2),)), bench.now)
    bench.wait(0)
    (report,) = published(after(room.connected, bench.now))
    after(room.acked, report, 0, bench.now)
    after(room.disconnected)
    (report,) = published(after(room.connected, bench.now))
    after(room.acked, report, 0, bench.now)
    message = MqttMessage("x", f"{ONE}-2".encode(), RECEIPT)
    after(room.message, message, SessionAckTopic(), bench.now)
    after(room.answered, CloudResponse(asked(), 200, b"[]"), bench.now)
    after(room.saved, ReportSaved(row(9), True), bench.now)
    after(room.leave, [ONE], bench.now)
    text = UnreadText(ONE, "{", "no JSON", "stream", NOON, NOON)
    after(room.serve, [ONE])
    after(room.unreadable, text, bench.now)
    after(room.tended, StoreMaintained(0.1, 9), bench.now)


def test_the_store_is_tended_and_its_size_told():
    """Retention has its turn."""
    room = Room()
    assert [type(e) for e in room.wait(60)] == [MaintainStore]
    room.take(room.room.tended(StoreMaintained(0.9, 2**30), room.now))

    assert room.alerts.kinds == ("storage_filling",)


def test_without_a_connection_everything_waits():
    """And goes out when there is one."""
    room = Room(row(1))
    room.take(room.room.connected(room.now))
    room.room.disconnected()
    assert published(room.saved(row(2, charger_id="EH999999"))) == []

    assert len(published(room.take(room.room.connected(room.now)))) == 2


class Life(RuleBasedStateMachine):
    """Charger, store, broker, consumer and cloud, each of which may fail, in any order.

    What the store committed reaches the consumer in its newest revision, whatever happens, also
    over crashes of the bridge; what it did not commit is not said to anybody.
    """

    def __init__(self):
        super().__init__()
        self.now = Timestamp(NOON + 1000 * HOUR, 1e6)
        self.rows = {}
        self.flying = []
        self.broker = []  # what the broker took and may lose
        self.consumed = {}
        self.full = False
        self.begin()

    def begin(self):
        alerts = Alerts()
        self.room = SessionService(SETTINGS, alerts, salt=b"s")
        unsettled = tuple(o for o in self.rows.values() if not o.settled)
        self.do(self.room.opened(StoreOpened(unsettled), self.now))
        self.do(self.room.serve((ONE,)))
        self.do(self.room.connected(self.now))

    def do(self, effects):  # noqa: C901 - one case per effect
        work, due_s = as_messages(effects), self.room.deadline_s()
        if due_s is not None and due_s <= self.now.mono_s:
            work += as_messages(self.room.tick(self.now))
        for effect in work:
            match effect:
                case Publish(tag=tag) if tag:
                    _, key, revision = tag.split(":")
                    assert self.rows[key].revision >= int(revision)
                    self.flying.append(effect)
                case SaveReport(report):
                    self.save(report)
                case MarkPublished(key, revision) if self.rows[key].revision == revision:
                    self.rows[key] = structs.replace(self.rows[key], published=True)
                case SettleReports(reports):
                    for key, revision in reports:
                        assert self.consumed.get(key, 0) >= revision
                        if self.rows[key].revision == revision:
                            self.rows[key] = structs.replace(self.rows[key], settled=True)
                case ReadReports(asked):
                    found = tuple(sorted(self.rows.values(), key=lambda o: o.report.ended_at))
                    self.do(self.room.reports_read(ReportsRead(asked, found), self.now))
                case SendRequest(asked):
                    error = CloudUnavailable("down")
                    self.do(self.room.failed(CloudFailed(asked, error), self.now))

    def save(self, report):
        if self.full:
            event = ReportSaveFailed(report, StoreFull("full"))
            self.do(self.room.not_saved(event, self.now))
            return
        stored, changed = entered(report, self.same(report))
        self.rows[stored.key] = stored
        self.do(self.room.saved(ReportSaved(stored, changed), self.now))

    def same(self, report):
        return [o for o in self.rows.values() if o.report.session_id == report.session_id]

    @rule(number=st.integers(1, 6), kwh=st.integers(1, 3), known=st.booleans())
    def a_report_comes(self, number, kwh, known):
        report = replace(
            row(number).report,
            energy_kwh=float(kwh),
            measured_at=self.now.wall,
            source="stream" if known else "backfill",
            auth_reason=3 if known else None,
            auth="",
        )
        self.save(report)

    @rule()
    def the_store_fills_or_has_room_again(self):
        self.full = not self.full

    @precondition(lambda self: self.flying)
    @rule(code=st.sampled_from([0, 0, 0, 16, 135]))
    def the_broker_answers(self, code):
        message = self.flying.pop(0)
        if code == 0:
            self.broker.append((message, self.now.mono_s))
        self.do(self.room.acked(message, code, self.now))

    @precondition(lambda self: self.broker)
    @rule(speaks=st.booleans())
    def the_consumer_gets_one(self, speaks):
        key = self.deliver(self.broker.pop(0)[0])
        if speaks:
            payload = b'{"key":"%b","revision":%d}' % (key.encode(), self.consumed[key])
            message = MqttMessage("x", payload, RECEIPT)
            self.do(self.room.message(message, SessionAckTopic(), self.now))

    def deliver(self, message):
        _, key, revision = message.tag.split(":")
        self.consumed[key] = max(self.consumed.get(key, 0), int(revision))
        return key

    @rule()
    def the_broker_is_killed(self):
        self.broker.clear()
        self.flying.clear()
        self.room.disconnected()
        self.do(self.room.connected(self.now))

    @rule()
    def the_bridge_is_killed(self):
        self.flying.clear()
        self.begin()

    @rule(minutes=st.integers(0, 60))
    def time_passes(self, minutes):
        seconds = minutes * 60.0
        wall, mono_s = self.now.wall + timedelta(seconds=seconds), self.now.mono_s + seconds
        self.now = Timestamp(wall, mono_s)
        for message, since_s in self.broker:
            if mono_s - since_s >= SETTLE_S:
                self.deliver(message)
        self.broker = [one for one in self.broker if mono_s - one[1] < SETTLE_S]
        self.do([])

    @rule()
    def somebody_wants_everything_again(self):
        self.do(self.room.message(MqttMessage("x", b"{}", RECEIPT), SessionReplayTopic(), self.now))

    def teardown(self):
        """Let the trouble end: every row reaches the consumer and is settled."""
        self.full = False
        self.the_broker_is_killed()
        for _ in range(3):
            while self.flying:
                self.the_broker_answers(code=0)
            self.time_passes(minutes=46)
        for key, stored in self.rows.items():
            assert stored.settled
            assert self.consumed[key] == stored.revision
        assert self.room.standing == ReportCounts(0, 0, 0, 0)


TestLife = Life.TestCase
TestLife.settings = hypothesis_settings(stateful_step_count=40)

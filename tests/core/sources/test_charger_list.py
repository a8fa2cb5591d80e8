"""The account's list: asked for when it is due, read, and what is wrong with it told."""

import pytest

from bridge.core.alerts import Alerts
from bridge.core.domain_events import ChargerForgotten, ChargersConfigured, ChargersListed
from bridge.core.easee.rest_requests import charger_list_request
from bridge.core.effects import LogEntry, SendRequest, not_answered
from bridge.core.events import (
    CloudFailed,
    CloudResponse,
    Started,
    StreamAnomaly,
    StreamOpened,
    Tick,
)
from bridge.core.messages import Tag
from bridge.core.records.moment import Timestamp
from bridge.core.sources.charger_list import ChargerListReader
from bridge.core.sources.discovery import FIRST_RETRY_S
from bridge.core.status import CloudStatus
from bridge.errors import (
    TOO_LARGE,
    AnswerUnusable,
    CloudRejected,
    CloudUnavailable,
    RateLimited,
)
from tests.conftest import NOON

ONE, TWO = "EH123456", "EH654321"


class Desk:
    """A reader, the chargers that are served, and a clock."""

    def __init__(self, *configured, served=(), is_part=False):
        self.served = dict.fromkeys(served)
        self.alerts, self.cloud = Alerts(), CloudStatus()
        self.reader = ChargerListReader(
            configured, self.served, self.cloud, self.alerts, is_part=is_part
        )
        self.seconds = 1000.0

    @property
    def now(self):
        return Timestamp(NOON, self.seconds)

    def take(self, event):
        """Let something happen; who is listed is served."""
        outputs = []
        for output in self.reader.handle(event, self.now):
            outputs.append(output)
            if isinstance(output, ChargersListed):
                self.served |= dict.fromkeys(output.listed.charger_ids)
        return outputs

    def answer(self, body):
        return self.take(CloudResponse(Tag("discovery"), 200, body))


def test_it_is_asked_for_at_the_start_and_then_awaited():
    """One question at a time; the answer brings the next."""
    desk = Desk()
    desk.take(Started())
    assert desk.reader.deadline_s() == desk.seconds
    assert desk.take(Tick()) == [SendRequest(Tag("discovery"), charger_list_request(), 30.0)]
    assert desk.reader.deadline_s() is None
    assert desk.take(Tick()) == []
    desk.answer(b"[]")
    assert desk.reader.deadline_s() > desk.seconds


def test_what_it_says_is_told_with_what_follows_for_the_configured():
    """Whom it does not know, and that it does not decide."""
    (told,) = [one for one in Desk(ONE).answer(b'[{"id":"EH654321"}]') if is_list(one)]
    assert (told.listed.charger_ids, told.decides, told.missing) == ((TWO,), False, (ONE,))


def is_list(one):
    """Say whether an output tells of the list."""
    return isinstance(one, ChargersListed)


def test_who_is_missing_from_it_again_and_again_has_left():
    """At first it is only doubtful; remembered chargers count as listed before."""
    desk = Desk(served=(ONE, TWO))
    desk.take(Started((ONE, TWO)))
    told = []
    for _ in range(12):
        desk.seconds += 60.0
        told += [one for one in desk.answer(b'[{"id":"EH123456"}]') if is_list(one)]
    assert (TWO,) in [one.left for one in told]
    assert (TWO,) in [one.doubtful for one in told]
    assert told[0].left == told[0].doubtful == ()


@pytest.mark.parametrize(
    ("served", "answer", "kind"),
    [
        ((), b"[]", "no_chargers"),
        ((), b"[5]", "no_chargers"),
        ((), b"{}", "no_chargers"),
        ((), CloudRejected("no", status=403, reason="forbidden"), "no_chargers"),
        ((), RateLimited("slow down", retry_after_s=60.0), "cloud_unreachable"),
        ((), RateLimited("spent", retry_after_s=5.0, local=True), None),
        ((), CloudUnavailable("down"), None),
        ((), b'[{"id":"EH123456"},5]', "charger_not_understood"),
        ((ONE,), b"[5]", "charger_not_understood"),
        ((ONE,), b"{}", None),
        ((ONE,), CloudRejected("no", status=403, reason="forbidden"), None),
        ((ONE,), RateLimited("slow down", retry_after_s=60.0), None),
    ],
)
def test_why_no_charger_is_served_is_told(served, answer, kind):
    """Unless some are, or an alert about the account says it."""
    desk = Desk(served=served)
    if isinstance(answer, bytes):
        desk.answer(answer)
    else:
        outputs = desk.take(CloudFailed(Tag("discovery"), answer))
        notes = [one for one in outputs if isinstance(one, LogEntry) and "alert" not in one.event]
        assert notes == [not_answered("discovery.failed", answer)]
    assert desk.alerts.kinds == ((kind,) if kind else ())


def test_a_list_over_the_bound_is_one_line_and_one_alert_until_it_can_be_read():
    """What is served goes on being served; it is requested less and less often."""
    desk = Desk(served=(ONE,))
    error = AnswerUnusable("the answer is over 65536 KiB", status=200, reason=TOO_LARGE)
    desk.take(Started())
    outputs, waits = [], []
    for _ in range(3):
        outputs += desk.take(CloudFailed(Tag("discovery"), error))
        waits.append(desk.reader.deadline_s() - desk.seconds)
        desk.seconds = desk.reader.deadline_s()
        desk.take(Tick())

    (line,) = [one for one in outputs if isinstance(one, LogEntry)]
    assert (line.event, line.fields["kind"]) == ("alert.raised", "charger_list_too_large")
    assert "is over 65536 KiB" in line.fields["message"]
    assert waits == sorted(set(waits))
    assert (desk.alerts.kinds, tuple(desk.served)) == (("charger_list_too_large",), (ONE,))
    desk.answer(b'[{"id":"EH123456"}]')
    assert desk.alerts.kinds == ()


@pytest.mark.parametrize("answer", [b"[]", b"[5]"])
def test_a_partition_may_have_no_charger(answer):
    """Others serve those of the account; an entry that nobody can read is told by one of them."""
    desk = Desk(is_part=True)
    list(desk.alerts.raise_("no_chargers", "x", "y", desk.now))
    desk.answer(answer)

    assert desk.alerts.kinds == (() if answer == b"[]" else ("charger_not_understood",))


def test_a_list_that_came_ends_what_was_told():
    """That the cloud is out of reach only where no other trouble is known."""
    for state, kinds in (("ok", ()), ("blocked", ("cloud_unreachable",))):
        desk = Desk()
        desk.cloud.rest = state
        for kind in ("cloud_unreachable", "no_chargers", "charger_not_understood"):
            list(desk.alerts.raise_(kind, "x", "y", desk.now))
        desk.answer(b'[{"id":"EH123456"}]')
        assert desk.alerts.kinds == kinds


@pytest.mark.parametrize("hint", [StreamOpened(), StreamAnomaly("odd", ""), ChargerForgotten(ONE)])
def test_what_suggests_a_change_has_it_asked_for_soon(hint):
    """Where the list decides."""
    desk = Desk()
    desk.take(Started())
    desk.take(Tick())
    desk.answer(b"[]")
    desk.take(hint)
    assert desk.reader.deadline_s() == desk.seconds + FIRST_RETRY_S


def test_other_configured_chargers_have_it_asked_for_now():
    """Without any, those that are served count as listed."""
    desk = Desk(ONE, served=(ONE,))
    desk.take(Started())
    desk.take(Tick())
    desk.answer(b'[{"id":"EH123456"}]')
    desk.take(ChargersConfigured(()))
    assert desk.reader.deadline_s() == desk.seconds
    (told,) = [one for one in desk.answer(b"[]") if is_list(one)]
    assert told.decides

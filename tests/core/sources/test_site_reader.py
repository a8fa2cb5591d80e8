"""The sites are read when the chargers are known, and again in time."""

import json

from bridge.core.alerts import Alerts
from bridge.core.domain_events import ChargersListed, SitesListed
from bridge.core.easee.rest_responses import ChargerList
from bridge.core.effects import LogEntry, SendRequest
from bridge.core.events import CloudFailed, CloudResponse, Started, Tick
from bridge.core.messages import Tag
from bridge.core.records.moment import Timestamp
from bridge.core.sources.site_reader import EVERY_S, MISSING_EVERY_S, SiteReader
from bridge.errors import TOO_LARGE, AnswerUnusable, CloudUnavailable
from tests.conftest import NOON

TAG = Tag("site_reader")
QP = "QP000001"


def body(*equalizers):
    """The account's list: one site with these Equalizers."""
    return json.dumps([{"id": 7, "equalizers": [{"id": one} for one in equalizers]}]).encode()


class Desk:
    """The reader on simulated time."""

    def __init__(self, served=(QP,)):
        self.alerts = Alerts()
        self.reader = SiteReader(served, self.alerts)
        self.seconds = 1000.0

    def take(self, event):
        return list(self.reader.handle(event, Timestamp(NOON, self.seconds)))

    def chargers(self, *serials):
        return self.take(ChargersListed(ChargerList(serials, 0), True))

    def answer(self, text):
        self.seconds = self.reader.deadline_s()
        (call,) = self.take(Tick())
        assert isinstance(call, SendRequest)
        return self.take(CloudResponse(TAG, 200, text))


def test_the_sites_are_read_once_the_chargers_are_known():
    """Not before; and every ten minutes from then on."""
    desk = Desk()
    assert desk.reader.deadline_s() is None
    assert desk.take(Tick()) == []
    desk.chargers("EH000001")
    (call,) = desk.take(Tick())
    assert (call.tag, call.request.method, call.request.path) == (
        TAG,
        "GET",
        "/api/accounts/products",
    )
    assert desk.reader.deadline_s() is None
    (listed,) = desk.take(CloudResponse(TAG, 200, body(QP)))
    assert isinstance(listed, SitesListed)
    assert (listed.listed.equalizers, listed.left) == ((QP,), ())
    assert desk.reader.deadline_s() == 1000.0 + EVERY_S


def test_another_list_of_chargers_has_the_sites_read_again():
    """The same list does not."""
    desk = Desk()
    desk.chargers("EH000001")
    desk.answer(body())
    desk.chargers("EH000001")
    assert desk.reader.deadline_s() > desk.seconds
    desk.chargers("EH000001", "EH000002")
    assert desk.reader.deadline_s() == desk.seconds


def test_an_equalizer_has_left_when_three_lists_do_not_name_it():
    """They are read more often meanwhile."""
    desk = Desk()
    desk.take(Started(equalizers=(QP,)))
    desk.chargers("EH000001")
    left = []
    for _ in range(3):
        before_s = desk.reader.deadline_s()
        (listed,) = desk.answer(body())
        left.append(listed.left)
        assert desk.reader.deadline_s() - before_s in (MISSING_EVERY_S, EVERY_S)
    assert left == [(), (), (QP,)]


def test_a_failure_is_repeated_later_and_later():
    """One that cannot be read as well, and the vendor's time is kept."""
    desk = Desk()
    desk.chargers("EH000001")
    (note,) = desk.answer(b"<html>")
    assert note.event == "sites.failed"
    first_s = desk.reader.deadline_s() - desk.seconds
    desk.seconds = desk.reader.deadline_s()
    desk.take(Tick())
    (note,) = desk.take(CloudFailed(TAG, CloudUnavailable("down")))
    assert isinstance(note, LogEntry)
    assert desk.reader.deadline_s() - desk.seconds > first_s
    desk.seconds = desk.reader.deadline_s()
    desk.take(Tick())
    desk.take(CloudFailed(TAG, CloudUnavailable("down", retry_after_s=5000.0)))
    assert desk.reader.deadline_s() == desk.seconds + 5000.0


def test_a_list_over_the_bound_is_an_alert_until_it_can_be_read():
    """One line in the log; nobody leaves for it."""
    desk = Desk()
    desk.chargers("EH000001")
    error = AnswerUnusable("the answer is over 65536 KiB", status=200, reason=TOO_LARGE)
    outputs = []
    for _ in range(2):
        desk.seconds = desk.reader.deadline_s()
        desk.take(Tick())
        outputs += desk.take(CloudFailed(TAG, error))

    (line,) = [one for one in outputs if isinstance(one, LogEntry)]
    assert (line.event, line.fields["kind"]) == ("alert.raised", "site_list_too_large")
    assert desk.alerts.kinds == ("site_list_too_large",)
    desk.answer(body(QP))
    assert desk.alerts.kinds == ()


def test_entries_that_cannot_be_read_are_noted_and_nobody_leaves_for_them():
    """Among them may be the one that is missed."""
    desk = Desk()
    desk.take(Started(equalizers=(QP,)))
    desk.chargers("EH000001")
    for _ in range(4):
        note, listed = desk.answer(b'[{"id":7},"x"]')
        assert (note.event, note.fields) == ("sites.entries_dropped", {"count": 1})
        assert listed.left == ()

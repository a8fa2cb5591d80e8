"""Sessions as documents, without the tag where they are retained."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from bridge.conventions.native.sessions import SessionMessages
from bridge.core.changes import CurrentSessionChanged, LastSessionChanged, ReportDue, RunningSession
from bridge.core.messages import Publish
from bridge.core.records.stored_report import StoredReport
from bridge.core.topics import Topics
from tests.core.sessions.rows import REPORT, TAG

ONE = REPORT.charger_id
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def sessions():
    """The messages under a base of two levels."""
    return SessionMessages(Topics("home/charger"))


def test_the_running_session_is_a_document_and_none_empties_it(sessions):
    """Retained, in the order of the reference, numbers as plain decimals."""
    session = RunningSession(435, NOON, 1277.5, 7.0, 3, (), "ok")
    (shown,) = sessions.current(CurrentSessionChanged(ONE, session))
    assert shown == Publish(
        f"home/charger/{ONE}/session/current",
        b'{"charger_id":"%b","session_id":435,"started_at":"2026-11-22T12:00:00Z",'
        b'"meter_start_kwh":1277.5,"energy_kwh":7,"auth_reason":3,'
        b'"auth_reason_name":"offline_whitelist","incomplete":[],"clock":"ok"}' % ONE.encode(),
    )
    assert sessions.current(CurrentSessionChanged(ONE, None)) == (Publish(shown.topic, b""),)


def test_a_session_without_a_start_says_so_with_null(sessions):
    """What only a start tells is null, what could not be read is named."""
    session = RunningSession(None, None, None, None, None, ("auth",), "suspect")
    (shown,) = sessions.current(CurrentSessionChanged(ONE, session))
    assert b'"session_id":null,"started_at":null' in shown.payload
    assert shown.payload.endswith(
        b'"auth_reason_name":null,"incomplete":["auth"],"clock":"suspect"}'
    )


def test_the_last_session_has_its_name_and_no_tag(sessions):
    """Key and revision come first; the tag does not come at all."""
    change = LastSessionChanged(ONE, replace(REPORT, energy_kwh=16.0, auth_reason=None), ("k", 2))
    (shown,) = sessions.last(change)
    assert (shown.topic, shown.retained) == (f"home/charger/{ONE}/session/last", True)
    assert shown.payload.startswith(b'{"key":"k","revision":2,"charger_id":')
    assert b'"energy_kwh":16,' in shown.payload
    assert b'"auth_reason":null,"auth_reason_name":null,"offline":null' in shown.payload
    assert TAG.encode() not in shown.payload


def test_a_report_is_not_retained_and_can_be_recognised_when_it_is_acknowledged(sessions):
    """It goes out with the tag of the change, and the RFID tag as the row has it."""
    (sent,) = sessions.report(ReportDue(StoredReport("k", 2, replace(REPORT, auth="x")), "t"))
    assert (sent.topic, sent.retained, sent.tag) == (
        f"home/charger/{ONE}/session/report",
        False,
        "t",
    )
    assert b'"auth":"x"' in sent.payload
    (without,) = sessions.report(ReportDue(StoredReport("k", 2, replace(REPORT, auth="")), "t"))
    assert b'"auth":null' in without.payload

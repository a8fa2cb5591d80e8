"""The probe: asks while REST is in trouble, at its pace, and only then."""

from datetime import timedelta

import pytest

from bridge.core.easee.rate_limits import LIMITS
from bridge.core.easee.rest_requests import READ_TIMEOUT_S, Endpoint
from bridge.core.events import CloudStatusChanged
from bridge.core.records.moment import Timestamp
from bridge.core.sources.recovery_probe import EVERY_S, FIRST_S, RecoveryProbe
from tests.conftest import NOON

OK = CloudStatusChanged("ok")


def at(seconds):
    """Build the moment so many seconds after noon."""
    return Timestamp(NOON + timedelta(seconds=seconds), seconds)


def in_trouble(state="unavailable"):
    """Make a probe that heard of trouble at noon."""
    probe = RecoveryProbe()
    probe.link(CloudStatusChanged(state, "no answer"), at(0))
    return probe


def test_nothing_is_asked_while_all_is_well():
    """A REST side that works is left alone."""
    probe = RecoveryProbe()
    probe.link(OK, at(0))

    assert probe.deadline_s() is None
    assert not probe.take(at(9999))


@pytest.mark.parametrize("state", ["unavailable", "auth_failed", "blocked"])
def test_any_trouble_is_asked_about_again_and_again(state):
    """Whatever the trouble is, the end of it is noticed; also when a call is never answered."""
    probe = in_trouble(state)

    assert not probe.take(at(FIRST_S - 1))
    assert probe.take(at(FIRST_S))
    assert probe.deadline_s() == FIRST_S + EVERY_S
    assert probe.take(at(FIRST_S + EVERY_S))


def test_the_end_of_an_outage_is_seen_within_a_minute():
    """Between two questions less than a minute goes by, and they keep to the list's limit."""
    limit = LIMITS[Endpoint.CHARGER_LIST]

    assert limit.window_s / limit.requests < EVERY_S < 60
    assert READ_TIMEOUT_S + FIRST_S < 60


def test_trouble_that_is_told_again_does_not_put_it_off():
    """A trouble that changes its name every few seconds is asked about in time all the same."""
    probe = in_trouble()
    probe.link(CloudStatusChanged("auth_failed", "refused"), at(FIRST_S - 1))

    assert probe.deadline_s() == FIRST_S


@pytest.mark.parametrize(("named_s", "due_s"), [(None, 2), (0.0, 2), (5.0, 2), (1800.0, 41)])
def test_the_time_the_vendor_names_is_kept(named_s, due_s):
    """A failure with a time to wait is not followed by a question before it."""
    probe = in_trouble()
    assert probe.take(at(EVERY_S))

    probe.failed(at(EVERY_S), named_s)

    assert probe.deadline_s() == due_s * EVERY_S


def test_what_comes_after_the_trouble_is_over_changes_nothing():
    """A call that fails late does not bring the questions back."""
    probe = in_trouble()
    probe.take(at(EVERY_S))
    probe.link(OK, at(EVERY_S + 1))
    probe.failed(at(EVERY_S + 2), 5.0)

    assert probe.deadline_s() is None

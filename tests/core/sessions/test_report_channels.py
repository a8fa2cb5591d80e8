"""Other channels that deliver reports."""

from bridge.core.sessions.report_channels import ReportChannels
from tests.core.sessions.rows import HOUR, NOON, ONE, row

FIRST = (f"{ONE}-1", 1)
SECOND = (f"{ONE}-1", 2)


def test_without_channels_the_native_topics_decide():
    """Nothing is held, and nobody is given a report."""
    channels = ReportChannels()

    assert not channels.owe(row())
    assert channels.ended([FIRST]) == [FIRST]
    assert channels.waiting == 0


def test_a_report_waits_for_its_channel():
    """Whichever of the two is last settles it."""
    channels = ReportChannels(["plant"])
    assert channels.owe(row())
    assert channels.ended([FIRST]) == []
    assert channels.waiting == 1
    assert channels.delivered("plant", [FIRST]) == [FIRST]
    assert channels.waiting == 0

    assert channels.owe(row(2))
    assert channels.delivered("plant", [(f"{ONE}-2", 1)]) == []
    assert channels.ended([(f"{ONE}-2", 1)]) == [(f"{ONE}-2", 1)]


def test_every_channel_has_to_deliver():
    """One for the other does not do; twice the same neither."""
    channels = ReportChannels(["plant", "mill"])
    channels.owe(row())
    channels.ended([FIRST])

    assert channels.delivered("plant", [FIRST, FIRST]) == []
    assert channels.delivered("mill", [FIRST]) == [FIRST]


def test_a_newer_revision_is_owed_anew():
    """What is said of the older one, by whom ever, does not settle it."""
    channels = ReportChannels(["plant"])
    channels.owe(row())
    channels.ended([FIRST])
    assert channels.owe(row(revision=2))
    assert not channels.owe(row())
    assert channels.delivered("plant", [FIRST]) == []
    assert channels.ended([FIRST]) == [FIRST]  # the store leaves the newer one pending
    assert channels.ended([SECOND]) == []

    assert channels.delivered("plant", [SECOND]) == [SECOND]


def test_what_is_not_owed_is_not_delivered():
    """A channel that repeats itself settles nothing."""
    assert ReportChannels(["plant"]).delivered("plant", [FIRST]) == []


def test_what_only_waits_for_a_channel_is_given_up_by_its_age():
    """What the native topics still owe stays; so does what is younger; a late word is nothing."""
    channels = ReportChannels(["plant"])
    for number in (1, 2, 3):
        channels.owe(row(number))
    assert channels.oldest is None
    channels.ended([FIRST, (f"{ONE}-3", 1)])
    assert channels.oldest == NOON + HOUR

    assert channels.give_up(NOON + HOUR) == []
    assert channels.give_up(NOON + 2 * HOUR) == [FIRST]
    assert channels.oldest == NOON + 3 * HOUR
    assert channels.delivered("plant", [FIRST]) == []
    assert channels.waiting == 1

"""A session as it is held: when it counts as ended, what is compared, and no tag in its text."""

from dataclasses import replace
from datetime import timedelta

from tests.core.sessions.rows import HOUR, REPORT, TAG


def test_no_repr_holds_the_tag():
    """It may come into a log line with everything else."""
    assert TAG not in repr(REPORT)


def test_a_time_that_cannot_be_is_replaced_by_another():
    """What it counts as ended, what two records are compared by, and whether its times can be."""
    odd = replace(
        REPORT,
        doubtful=("ended_at",),
        placed_at=REPORT.ended_at - HOUR,
        ranked_at=REPORT.measured_at - timedelta(seconds=1),
    )

    assert (REPORT.at, REPORT.rank, REPORT.clock) == (REPORT.ended_at, REPORT.measured_at, "ok")
    assert (odd.at, odd.rank, odd.clock) == (odd.placed_at, odd.ranked_at, "suspect")


def test_a_report_without_a_stamp_says_so():
    """Its stamp is when it arrived."""
    assert not REPORT.is_stampless
    assert replace(REPORT, ranked_at=REPORT.measured_at).is_stampless

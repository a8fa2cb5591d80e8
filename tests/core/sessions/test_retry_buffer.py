"""A report the store refuses is tried again, as long as we live and within reason."""

from dataclasses import replace

import pytest

from bridge.core.effects import SaveReport
from bridge.core.sessions.retry_buffer import MAX_UNSAVED, RETRY_S, SaveRetryBuffer
from tests.core.sessions.rows import REPORT


@pytest.mark.fault("F7")
def test_what_was_refused_is_tried_again_and_comes_back_when_refused_again():
    """Once a minute, all of it."""
    unsaved = SaveRetryBuffer()
    other = replace(REPORT, session_id=436)
    assert unsaved.deadline_s() is None
    unsaved.add(REPORT, 100.0)
    unsaved.add(other, 110.0)

    assert unsaved.deadline_s() == 100.0 + RETRY_S
    assert list(unsaved.tick(100.0 + RETRY_S - 1)) == []
    assert list(unsaved.tick(100.0 + RETRY_S)) == [SaveReport(REPORT), SaveReport(other)]
    assert len(unsaved) == 0
    unsaved.add(REPORT, 170.0)
    assert unsaved.deadline_s() == 170.0 + RETRY_S


def test_a_store_that_is_well_again_is_tried_at_once():
    """Nobody waits a minute for nothing."""
    unsaved = SaveRetryBuffer()
    unsaved.add(REPORT, 100.0)
    unsaved.retry_now(101.0)

    assert list(unsaved.tick(101.0)) == [SaveReport(REPORT)]


def test_only_the_first_of_a_streak_is_worth_a_line_in_the_log():
    """A full store must not fill the log as well."""
    unsaved = SaveRetryBuffer()

    assert unsaved.add(REPORT, 0.0)
    assert not unsaved.add(REPORT, 1.0)
    unsaved.saved()
    assert unsaved.add(REPORT, 2.0)


def test_what_the_cloud_lists_is_not_kept_and_not_too_much_of_the_rest():
    """The memory is bounded, and the cloud can be asked again."""
    unsaved = SaveRetryBuffer()
    unsaved.add(replace(REPORT, source="backfill"), 0.0)
    assert len(unsaved) == 0
    for number in range(MAX_UNSAVED + 3):
        unsaved.add(replace(REPORT, session_id=number), 0.0)

    assert [effect.report.session_id for effect in unsaved.tick(RETRY_S)][:1] == [3]

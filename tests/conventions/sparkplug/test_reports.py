"""Reports that are owed to the host."""

from bridge.conventions.sparkplug.reports import (
    BURST,
    HOLDS_S,
    PROBE_S,
    REPORTS_A_SECOND,
    ReportQueue,
)
from tests.core.sessions.rows import ONE, row


def sent(queue, mono_s=0.0):
    """Send what may go now; return key and history of each."""
    found = []
    while (stored := queue.first(mono_s)) is not None:
        found.append((stored.key, queue.send(mono_s)))
    return found


def test_nothing_is_sent_without_a_session_of_the_host():
    """It is kept, and goes out as history in the next session, oldest end first."""
    queue = ReportQueue()
    queue.add(row(2), is_late=True)
    queue.add(row(1), is_late=False)
    assert sent(queue) == []
    assert not queue.waits(ONE)
    queue.begin()

    assert queue.waits(ONE)
    assert sent(queue) == [(f"{ONE}-1", True), (f"{ONE}-2", True)]


def test_what_ends_during_a_session_is_no_history():
    """It comes behind what was owed."""
    queue = ReportQueue()
    queue.begin()
    queue.add(row(1), is_late=False)

    assert sent(queue) == [(f"{ONE}-1", False)]


def test_a_report_is_sent_once_in_a_session_and_again_in_the_next():
    """Until it counts as delivered."""
    queue = ReportQueue()
    queue.begin()
    queue.add(row(1), is_late=False)
    sent(queue)
    assert sent(queue, 1.0) == []
    queue.end()
    queue.begin()

    assert sent(queue, 2.0) == [(f"{ONE}-1", True)]


def test_a_report_counts_as_delivered_when_the_session_held():
    """Not a moment before, and only once."""
    queue = ReportQueue()
    queue.begin()
    queue.add(row(1), is_late=False)
    sent(queue, 10.0)
    assert queue.probe(10.0 + PROBE_S) == 1
    assert queue.deadline_s() == 10.0 + HOLDS_S
    assert queue.delivered(10.0 + HOLDS_S - 0.001) == ()
    assert queue.delivered(10.0 + HOLDS_S) == ((f"{ONE}-1", 1),)
    assert len(queue) == 0
    queue.end()
    queue.begin()

    assert sent(queue, 999.0) == []
    assert queue.deadline_s() is None


def test_a_session_that_ended_proves_nothing():
    """However long ago it sent the report."""
    queue = ReportQueue()
    queue.begin()
    queue.add(row(1), is_late=False)
    sent(queue)
    queue.end()

    assert queue.delivered(10 * HOLDS_S) == ()
    assert len(queue) == 1


def test_a_newer_revision_takes_the_place_of_an_older_one():
    """Also while that one is sent, and never the reverse."""
    queue = ReportQueue()
    queue.begin()
    queue.add(row(1), is_late=False)
    sent(queue)
    queue.add(row(1, revision=2), is_late=False)
    queue.add(row(1), is_late=False)
    assert queue.first(0.0).revision == 2
    sent(queue, 5.0)

    assert queue.delivered(HOLDS_S) == ()
    assert queue.delivered(5.0 + HOLDS_S) == ((f"{ONE}-1", 2),)


def test_a_replaced_revision_is_not_sent():
    """Its place in the line is skipped."""
    queue = ReportQueue()
    queue.begin()
    queue.add(row(1), is_late=False)
    queue.add(row(1, revision=2), is_late=False)
    assert sent(queue) == [(f"{ONE}-1", False)]
    assert queue.delivered(HOLDS_S) == ((f"{ONE}-1", 2),)


def test_a_drain_is_paced():
    """A burst, then so many a second; the queue says when there is more to do."""
    queue = ReportQueue()
    for number in range(1, BURST + 41):
        queue.add(row(number), is_late=True)
    queue.begin()
    assert len(sent(queue)) == BURST
    assert queue.deadline_s() == 1 / REPORTS_A_SECOND

    assert len(sent(queue, 1.0)) == REPORTS_A_SECOND
    assert len(sent(queue, 2.0)) == REPORTS_A_SECOND
    assert sent(queue, 3.0) == []


def test_a_rebirth_that_was_asked_for_has_reports_sent_again():
    """Those that may have been missed, as history; a replaced revision is not."""
    queue = ReportQueue()
    queue.begin()
    queue.add(row(1), is_late=False)
    queue.add(row(2), is_late=False)
    sent(queue)
    queue.add(row(2, revision=2), is_late=False)
    sent(queue, 1.0)
    queue.again()

    assert sent(queue, 100.0) == [(f"{ONE}-1", True), (f"{ONE}-2", True)]
    assert queue.delivered(HOLDS_S + 1.0) == ()
    assert len(queue.delivered(HOLDS_S + 100.0)) == 2


def test_what_was_sent_is_told_once_behind_it():
    """A host that missed it finds a gap then; not without a session."""
    queue = ReportQueue()
    assert queue.probe(1000.0) is None
    queue.begin()
    queue.add(row(1), is_late=False)
    sent(queue, 10.0)
    assert queue.deadline_s() == 10.0 + PROBE_S
    assert queue.probe(10.0 + PROBE_S - 0.001) is None
    assert queue.probe(10.0 + PROBE_S) == 1
    assert queue.probe(10.0 + PROBE_S) is None
    queue.add(row(2), is_late=False)
    sent(queue, 100.0)
    queue.end()

    assert queue.probe(1000.0) is None


def test_what_is_given_up_is_not_owed_any_more():
    """Of that revision, whether it was sent or not."""
    queue = ReportQueue()
    for number in (1, 2, 3):
        queue.add(row(number), is_late=True)
    queue.drop([(f"{ONE}-1", 1), (f"{ONE}-2", 9), ("x", 1)])
    queue.begin()
    assert sent(queue) == [(f"{ONE}-2", True), (f"{ONE}-3", True)]
    queue.drop([(f"{ONE}-2", 1)])
    queue.again()

    assert sent(queue) == [(f"{ONE}-3", True)]
    assert len(queue) == 1

"""What is logged of a request that failed."""

import pytest

from bridge.core.effects import LogEntry, not_answered
from bridge.errors import CloudRejected, CloudUnavailable, OutcomeUnknown, RateLimited


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (CloudUnavailable("down"), "debug"),
        (OutcomeUnknown("lost"), "debug"),
        (CloudUnavailable("in trouble", status=503), "warning"),
        (CloudRejected("no", status=403, reason="forbidden"), "warning"),
        (RateLimited("slow down", retry_after_s=60.0), "warning"),
        (RateLimited("spent", retry_after_s=5.0, local=True), "warning"),
    ],
)
def test_that_the_cloud_cannot_be_reached_is_logged_once(error, level):
    """The alert and the state of the cloud say it; each answer is a line of its own."""
    assert not_answered("poll.failed", error) == LogEntry(
        level, "poll.failed", {"error": str(error)}
    )

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.commands.retry_policy import Expire, GiveUp, InDoubt, RetryIn, Taken, decide
from bridge.errors import (
    AnswerUnusable,
    AuthFailed,
    Blocked,
    CloudError,
    CloudRejected,
    CloudUnavailable,
    OutcomeUnknown,
    RateLimited,
)

ERRORS = [
    CloudError("?"),
    CloudRejected("no", status=400, reason="charger_disconnected", code=410),
    CloudUnavailable("503", status=503),
    CloudUnavailable("503", status=503, retry_after_s=20.0),
    CloudUnavailable("cannot connect"),
    OutcomeUnknown("read timeout"),
    AnswerUnusable("large", status=202, reason="answer_too_large"),
    RateLimited("429", retry_after_s=20.0),
    RateLimited("429", retry_after_s=0.0),
    RateLimited("budget", retry_after_s=20.0, local=True),
    RateLimited("budget", retry_after_s=60.0, local=True),
    AuthFailed("401"),
    Blocked("403", status=403, retry_after_s=3600.0),
]


@pytest.mark.parametrize(
    ("error", "repeatable", "once"),
    [
        *zip(
            ERRORS,
            [
                GiveUp("cloud_error"),
                GiveUp("charger_disconnected"),
                RetryIn(2.0),
                RetryIn(20.0),
                RetryIn(2.0),
                InDoubt(),
                Taken(),
                RetryIn(20.0),
                RetryIn(2.0),
                RetryIn(20.0),
                Expire(),
                GiveUp("auth_failed"),
                GiveUp("blocked"),
            ],
            [
                GiveUp("cloud_error"),
                GiveUp("charger_disconnected"),
                GiveUp("cloud_unavailable"),
                GiveUp("cloud_unavailable"),
                RetryIn(2.0),
                InDoubt(),
                Taken(),
                GiveUp("rate_limited"),
                GiveUp("rate_limited"),
                RetryIn(20.0),
                Expire(),
                GiveUp("auth_failed"),
                GiveUp("blocked"),
            ],
            strict=True,
        )
    ],
)
def test_an_error_says_what_follows(error, repeatable, once):
    """Only what is harmless to repeat is repeated; what our own budget held back always is."""
    assert decide(error, idempotent=True, attempts=2, left_s=60.0) == repeatable
    assert decide(error, idempotent=False, attempts=2, left_s=60.0) == once


def test_a_lookup_may_always_be_repeated():
    """A question carries nothing out, so a lost answer to it leaves no doubt."""
    lost = OutcomeUnknown("read timeout")
    cut = AnswerUnusable("cut", status=200)
    large = AnswerUnusable("large", status=200, reason="answer_too_large")

    assert decide(cut, idempotent=True, attempts=1, left_s=60.0, is_lookup=True) == RetryIn(1.0)
    assert decide(large, idempotent=True, attempts=1, left_s=60.0, is_lookup=True) == GiveUp(
        "answer_too_large"
    )
    assert decide(lost, idempotent=False, attempts=1, left_s=60.0, is_lookup=True) == RetryIn(1.0)


@given(
    st.sampled_from(ERRORS),
    st.booleans(),
    st.integers(min_value=1, max_value=10_000),
    st.floats(min_value=-10, max_value=600),
)
def test_nothing_is_tried_again_after_its_time(error, idempotent, attempts, left_s):
    """A retry always falls inside the time the command has left, and never at once."""
    decision = decide(error, idempotent=idempotent, attempts=attempts, left_s=left_s)

    if isinstance(decision, RetryIn):
        assert 1.0 <= decision.wait_s < left_s

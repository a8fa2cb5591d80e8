"""Decides what follows a failed request of a command.

Rules:

1. What may have been carried out is not repeated, whatever it was.
2. What was certainly not sent (no status, no doubt) may be tried again, whatever it is.
3. What was refused for being too early is repeated only if repeating is harmless.
4. Nothing is tried again after its time, so waiting that long is giving up.
5. Our own rate limit is no answer of the cloud: what it delays waits, and expires at once where it
   would have to wait beyond its time, so that it does not delay the commands behind it.
6. A 2xx says that the cloud accepted it, also where the body cannot be used. A query needs the
   body: one that was too large will be so again, one that was truncated is asked for again.
"""

import msgspec

from bridge.core.backoff import exponential_delay_s
from bridge.errors import (
    TOO_LARGE,
    AnswerUnusable,
    AuthFailed,
    Blocked,
    CloudError,
    CloudRejected,
    CloudUnavailable,
    OutcomeUnknown,
    RateLimited,
)

MIN_WAIT_S = 1.0
FIRST_WAIT_S = 1.0
MAX_WAIT_S = 30.0


class RetryIn(msgspec.Struct, frozen=True):
    """Try again later."""

    wait_s: float


class GiveUp(msgspec.Struct, frozen=True):
    """Answer ``failed``.

    Attributes:
        reason: A snake_case word.
    """

    reason: str


class Expire(msgspec.Struct, frozen=True):
    """Answer ``expired``: it would have to wait beyond its time, and not because of the cloud."""


class InDoubt(msgspec.Struct, frozen=True):
    """It may have been carried out: wait for the charger's response."""


class Taken(msgspec.Struct, frozen=True):
    """The cloud accepted it and the body is lost: the charger's response decides the rest."""


RetryDecision = RetryIn | GiveUp | Expire | InDoubt | Taken


def decide(
    error: CloudError,
    *,
    idempotent: bool,
    attempts: int,
    left_s: float,
    is_lookup: bool = False,
) -> RetryDecision:
    """Decide what follows from a failed request.

    Args:
        error: What went wrong.
        idempotent: Sending it twice does the same as once.
        attempts: How often it was tried, this time included; at least 1.
        left_s: Seconds until its time is over.
        is_lookup: The call only asked for something; it carried nothing out.
    """
    idempotent = idempotent or is_lookup
    backoff_s = exponential_delay_s(attempts, first_s=FIRST_WAIT_S, longest_s=MAX_WAIT_S)
    match error:
        case AnswerUnusable() if not is_lookup:
            return Taken()
        case AnswerUnusable() if error.reason == TOO_LARGE:
            return GiveUp(error.reason)
        case OutcomeUnknown() if not is_lookup:
            return InDoubt()
        case RateLimited(local=True):
            wait_s = max(MIN_WAIT_S, error.retry_after_s)
            return RetryIn(wait_s) if wait_s < left_s else Expire()
        case RateLimited():
            wait_s = max(backoff_s, error.retry_after_s)
            may_wait = idempotent and wait_s < left_s
            return RetryIn(wait_s) if may_wait else GiveUp("rate_limited")
        case CloudUnavailable():
            wait_s = max(backoff_s, error.retry_after_s or 0.0)
            may_wait = (idempotent or error.status is None) and wait_s < left_s
            return RetryIn(wait_s) if may_wait else GiveUp("cloud_unavailable")
        case AuthFailed():
            return GiveUp("auth_failed")
        case Blocked():
            return GiveUp("blocked")
        case CloudRejected():
            return GiveUp(error.reason)
        case _:
            return GiveUp("cloud_error")

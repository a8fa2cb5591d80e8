"""Back-off times for retries.

Whether a thing may be retried is decided where its promise is kept; this says only when.
"""

# 2**20 times any first wait is longer than any longest wait; a larger exponent could overflow.
MAX_EXPONENT = 20


def exponential_delay_s(failures: int, *, first_s: float, longest_s: float) -> float:
    """Return how long to wait before the next attempt: exponential, without jitter.

    Args:
        failures: How many attempts failed in a row, counting this one; at least 1.
        first_s: The first wait.
        longest_s: No wait is longer.

    Returns:
        Seconds.
    """
    exponent = min(max(failures - 1, 0), MAX_EXPONENT)
    return min(longest_s, first_s * 2.0**exponent)


def reconnect_delay_s(failures: int, jitter: float, *, first_s: float, longest_s: float) -> float:
    """Return how long to wait before the next attempt: exponential, with equal jitter.

    Half of the wait is certain, so nobody hammers; the other half is drawn, so that many bridges
    which lost the same server do not come back in step.

    Args:
        failures: How many attempts failed in a row, counting this one; at least 1.
        jitter: A random number in [0, 1), drawn by the caller.
        first_s: Ceiling of the first wait.
        longest_s: Ceiling of every wait.

    Returns:
        Seconds, from half the ceiling up to the ceiling.
    """
    ceiling = exponential_delay_s(failures, first_s=first_s, longest_s=longest_s)
    return ceiling * (0.5 + jitter / 2)

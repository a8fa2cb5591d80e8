"""The judge of a memory soak: a leak is found out, what comes and goes is not."""

import pytest

from tests.soak.memory import Samples, judged

MINUTES = 10
SECONDS = 60 * MINUTES


def samples(**changes):
    """Make measurements of a healthy run, with some of them changed."""
    healthy = {
        "rss_mib": [74.0 + min(second, 120) / 100 for second in range(SECONDS)],
        "descriptors": [13.0 + second % 9 for second in range(SECONDS)],
        "threads": [8.0] * SECONDS,
        "tasks": [10.0 + second % 20 for second in range(SECONDS)],
    }
    return Samples(**(healthy | changes))


@pytest.mark.fault("F40")
def test_what_warms_up_and_what_comes_and_goes_is_no_leak():
    """Memory that settles, connections and tasks that end: nothing to say."""
    assert judged(samples()) == []


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("rss_mib", [74.0 + second / 60 for second in range(SECONDS)], "memory grew by 5"),
        (
            "descriptors",
            [13.0 + second // 60 for second in range(SECONDS)],
            "descriptors only ever",
        ),
        ("threads", [8.0 + second // 120 for second in range(SECONDS)], "threads only ever"),
        (
            "tasks",
            [9.0 + second // 30 + second % 7 for second in range(SECONDS)],
            "tasks only ever",
        ),
    ],
)
def test_a_leak_is_found_out(name, values, said):
    """A megabyte a minute, a descriptor a minute, a thread, a task: each is named."""
    (problem,) = judged(samples(**{name: values}))

    assert problem.startswith(said)

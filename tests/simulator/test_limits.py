from datetime import timedelta

import pytest

from bridge.simulator.limits import DOCUMENTED, Limits
from tests.simulator.lab import NOON


@pytest.mark.parametrize(
    ("method", "path", "count", "wait_s"),
    [
        ("GET", "/api/chargers", 2, 60),
        ("POST", "/api/chargers/EH000001/settings", 20, 60),
        ("POST", "/api/sites/8001/circuits/8101/settings", 20, 60),
        ("GET", "/state/EH000001/observations", 100, 300),
        ("GET", "/api/sessions/charger/EH000001/sessions/a/b", 10, 3600),
    ],
)
def test_the_documented_limits_hold(method, path, count, wait_s):
    """Exactly as many as documented pass, and the wait is the rest of the window."""
    limits = Limits()

    assert [limits.wait_s(method, path, NOON) for _ in range(count)] == [0] * count
    assert limits.wait_s(method, path, NOON) == wait_s
    assert limits.wait_s(method, path, NOON + timedelta(seconds=wait_s - 1)) == 1
    assert limits.wait_s(method, path, NOON + timedelta(seconds=wait_s)) == 0


def test_chargers_are_counted_apart_where_the_vendor_does():
    """One charger's settings do not use up another's."""
    limits = Limits()
    for _ in range(20):
        limits.wait_s("POST", "/api/chargers/EH000001/settings", NOON)

    assert limits.wait_s("POST", "/api/chargers/EH000001/settings", NOON) > 0
    assert limits.wait_s("POST", "/api/chargers/EH000002/settings", NOON) == 0


def test_what_has_no_limit_passes():
    """Commands have no published figure."""
    limits = Limits(DOCUMENTED)

    assert all(
        limits.wait_s("POST", "/api/chargers/EH000001/commands/reboot", NOON) == 0
        for _ in range(500)
    )

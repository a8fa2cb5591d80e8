"""A health that is told, for tests of those that read it."""

from typing import Any

from msgspec.structs import replace

from bridge.core.changes import HealthChanged, ReportCounts
from tests.conftest import NOON

WELL = HealthChanged(
    verdict="ok",
    at=NOON,
    cloud="connected",
    stream=True,
    polling=False,
    store=True,
    clock_trusted=True,
    chargers=1,
    chargers_online=1,
    alerts=(),
    reports=ReportCounts(),
    counters={},
)


def health(**facts: Any) -> HealthChanged:
    """Make a health that is well but for some facts."""
    return replace(WELL, **facts)

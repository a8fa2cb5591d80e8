"""The document of a charger's schedules, retained and as the result of the query."""

from datetime import datetime
from typing import Final

from bridge.core.easee.schedule_times import Standing
from bridge.core.easee.schedules import KINDS, Schedules, schedule_fields

FIELDS: Final = ("charger_id", "in_force", "in_period", "next_start", "next_stop")


def schedules_document(
    charger_id: str, schedules: Schedules, standing: Standing, read_at: datetime | None
) -> dict[str, object]:
    """Return the document: each schedule as its command takes it, null where there is none.

    Args:
        charger_id: Serial.
        schedules: What the cloud holds.
        standing: What the one in force means now.
        read_at: When the cloud was asked, or None.
    """
    told = (
        charger_id,
        schedules.in_force,
        standing.in_period,
        standing.next_start,
        standing.next_stop,
    )
    held: dict[str, object] = {}
    for kind in KINDS:
        schedule = schedules.of(kind)
        is_in_force = schedules.in_force == kind
        held[kind] = schedule and schedule_fields(schedule, is_in_force=is_in_force)
    return {**dict(zip(FIELDS, told, strict=True)), **held, "read_at": read_at}

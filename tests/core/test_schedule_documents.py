"""The document of a charger's schedules: every field there, whatever the cloud holds."""

from datetime import UTC, datetime

from bridge.core.easee.schedule_times import UNKNOWN, Standing
from bridge.core.easee.schedules import Period, Schedule, Schedules
from bridge.core.schedule_documents import schedules_document

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
DELAYED = Schedule("UTC", (Period(60),), enabled=True)
WEEKLY = Schedule("UTC", (Period(60, 120, 16, 0, 0),))


def test_every_schedule_is_shown_and_one_is_enabled():
    """What a schedule says of itself does not count: one is in force."""
    document = schedules_document(
        "EH123456",
        Schedules("weekly", DELAYED, None, WEEKLY),
        Standing(in_period=False, next_start=NOON),
        NOON,
    )

    assert document == {
        "charger_id": "EH123456",
        "in_force": "weekly",
        "in_period": False,
        "next_start": NOON,
        "next_stop": None,
        "delayed": {"enabled": False, "timezone": "UTC", "periods": [{"start": "01:00"}]},
        "daily": None,
        "weekly": {
            "enabled": True,
            "timezone": "UTC",
            "periods": [
                {"start": "01:00", "stop": "02:00", "amps": 16, "from": "monday", "to": "monday"}
            ],
        },
        "read_at": NOON,
    }


def test_without_any_the_document_has_nulls():
    """No field is missing."""
    document = schedules_document("EH123456", Schedules(), UNKNOWN, None)

    assert document.pop("charger_id") == "EH123456"
    assert document.pop("in_force") == "none"
    assert set(document.values()) == {None}

"""Requests to the gateway over MQTT, independent of a convention's topics.

How a request arrived (retained, its age, where an answer is wanted) is in the message that brought
it.
"""

from datetime import datetime

import msgspec


class IncomingCommand(msgspec.Struct, frozen=True):
    """Something is to be done with a charger.

    Attributes:
        charger_id: Serial, as it came; not checked here.
        command: Of the catalogue, as it came; likewise.
        payload: As the catalogue has it.
    """

    charger_id: str
    command: str
    payload: bytes


class IncomingQuery(msgspec.Struct, frozen=True):
    """A query for a charger; attributes as in :class:`IncomingCommand`."""

    charger_id: str
    query: str
    payload: bytes


class ReportAck(msgspec.Struct, frozen=True):
    """A consumer has a report.

    Attributes:
        key: Of the report.
        revision: The one it has, or None where it did not say.
    """

    key: str
    revision: int | None = None


class ReplayRequest(msgspec.Struct, frozen=True):
    """A consumer requests stored reports again.

    Attributes:
        since: Only sessions that ended then or later, or None.
        charger_id: Only this charger's, or None.
    """

    since: datetime | None = None
    charger_id: str | None = None


IncomingRequest = IncomingCommand | IncomingQuery | ReportAck | ReplayRequest

"""Responses of the cloud: success and errors, in the vendor's format."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

CHARGER_DISCONNECTED = 410
INVALID_USER_PASSWORD = 100
REFRESH_TOKEN_EXPIRED = 105


class NoBody:
    """An answer without a body; JSON ``null`` is something else."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request is answered with.

    Attributes:
        status: HTTP status.
        document: JSON value, or :class:`NoBody`.
        headers: Further headers.
    """

    status: int
    document: object = NoBody
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


NOT_FOUND = Answer(404)
NOTHING_CHANGED = Answer(202, [])
UNAUTHORIZED = Answer(401)
NOT_ALLOWED = Answer(405)
CONFLICT = Answer(409)


def business_error(code: int, name: str, title: str, *, status: int = 400) -> Answer:
    """Build an answer with an ``errorCode``."""
    return Answer(
        status,
        {
            "errorCode": code,
            "errorCodeName": name,
            "type": None,
            "title": title,
            "status": status,
            "detail": "[Empty in production]",
            "instance": None,
            "extensions": {},
        },
    )


def validation_error(errors: Mapping[str, list[str]]) -> Answer:
    """Build a 400 that names the fields that are wrong."""
    return Answer(
        400,
        {
            "type": None,
            "title": "One or more validation errors occurred.",
            "status": 400,
            "errors": dict(errors),
        },
    )


def forbidden(title: str) -> Answer:
    """Build a 403 that is not a block."""
    return Answer(403, {"type": None, "title": title, "status": 403})


def charger_disconnected() -> Answer:
    """Build the answer to a pause or resume without a car."""
    return business_error(
        CHARGER_DISCONNECTED, "ChargerDisconnected", "Charger is not connected to a car"
    )

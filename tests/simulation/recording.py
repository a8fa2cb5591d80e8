"""What a life did, in three digests: two revisions that do the same have the same.

A recording knows no name of the program, only what left it: publications, requests, rows. It is
compared across a change that must not change behaviour, ``play --record`` before it and
``play --compare`` after it.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from hashlib import sha256

from tests.simulation.cloud import Request
from tests.simulation.disk import Disk


def plain(value: object) -> object:
    """Return a value without the names of its classes and fields."""
    if is_dataclass(value) and not isinstance(value, type):
        return [plain(getattr(value, field.name)) for field in fields(value)]
    if isinstance(value, Mapping):
        return sorted((str(key), plain(one)) for key, one in value.items())
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    return value


class Recording:
    """Takes down what leaves the program in one life."""

    def __init__(self) -> None:
        self._published = sha256()
        self._requests = sha256()
        self._rows = sha256()

    def published(self, at_s: float, topic: str, payload: bytes, *, retained: bool) -> None:
        """Take down a publication, as the broker received it."""
        self._published.update(repr((round(at_s, 6), topic, payload, retained)).encode())

    def ended(self, requests: list[Request], disk: Disk) -> None:
        """Take down every request as the vendor received it, and the rows at the end."""
        for one in requests:
            said = (one.life, one.method, one.path, one.body, round(one.sent_s, 6), one.status)
            self._requests.update(repr(said).encode())
        for rows in (
            disk.rows.reports,
            disk.rows.commands,
            disk.rows.texts,
            {"list": disk.charger_list, **disk.left},
        ):
            self._rows.update(repr(plain(rows)).encode())
        self._rows.update(str(disk.commits).encode())

    def digests(self) -> str:
        """Return the three digests: publications, requests, rows."""
        parts = (self._published, self._requests, self._rows)
        return " ".join(one.hexdigest()[:16] for one in parts)

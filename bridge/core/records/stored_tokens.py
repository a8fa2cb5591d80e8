"""The account's tokens as they are kept between two runs."""

import hashlib
from datetime import datetime

import msgspec

from bridge.settings import EaseeSettings, Secret


class StoredTokens(msgspec.Struct, frozen=True):
    """What is kept between two runs.

    Attributes:
        access: The newest access token, or None.
        refresh: Its refresh token, or None when it is used up.
        expires_at: Until when the access token is probably valid, by the wall clock; a hint.
        blocked_until: End of the silence after a block, by the wall clock; None when not blocked.
        blocked_s: How long that silence is altogether: no clock can make it longer. None when not
            known.
    """

    access: Secret | None = None
    refresh: Secret | None = None
    expires_at: datetime | None = None
    blocked_until: datetime | None = None
    blocked_s: float | None = None


def account_of(settings: EaseeSettings) -> str:
    """Return a hash that identifies an account at a cloud."""
    name = f"{settings.api_url}\n{settings.username}"
    return hashlib.sha256(name.encode(errors="backslashreplace")).hexdigest()

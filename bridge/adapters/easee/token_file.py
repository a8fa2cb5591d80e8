"""Token file: stores the account's tokens across restarts.

Rules:

1. The file is ours alone: mode 0600, a regular file of our own user. Anything else is not read.
2. It is replaced, never changed: written beside its place, synced, moved, and the folder synced.
3. It belongs to one account at one cloud. A token of another one is never read, let alone sent.
4. A refresh token is removed from the file before it is used: after a crash no process can
   use it a second time, which the vendor would take for theft.

The file also remembers until when the vendor's block of this address means silence. Deleting it
while the program is stopped ends that silence early and costs one login.
"""

import contextlib
import json
from datetime import UTC, datetime
from pathlib import Path

import structlog

from bridge.adapters.state_files.private_file import read_own, replace
from bridge.core.records.stored_tokens import StoredTokens
from bridge.settings import Secret

log = structlog.get_logger()


class TokenFile:
    """Implements :class:`bridge.ports.TokenVault` with one file, for one process."""

    def __init__(self, path: Path, account: str) -> None:
        self._path = path
        self._account = account

    def load(self) -> StoredTokens:
        """Read what is there; nothing usable is an empty value and, unless new, a warning."""
        try:
            document = json.loads(read_own(self._path))
            if document["account"] != self._account:
                reason = "of another account"
            else:
                return StoredTokens(
                    access=_secret(document["access_token"]),
                    refresh=_secret(document["refresh_token"]),
                    expires_at=_moment(document["expires_at"]),
                    blocked_until=_moment(document["blocked_until"]),
                    blocked_s=_seconds(document.get("blocked_s")),
                )
        except FileNotFoundError:
            return StoredTokens()
        except OSError as exc:
            reason = exc.strerror or "unreadable"
        except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
            reason = "broken"
        log.warning("tokens.ignored", path=str(self._path), reason=reason)
        return StoredTokens()

    def save(self, tokens: StoredTokens) -> None:
        """Replace the file. Trouble is a warning: without it only a restart costs a login."""
        document = {
            "account": self._account,
            "access_token": tokens.access.reveal() if tokens.access else None,
            "refresh_token": tokens.refresh.reveal() if tokens.refresh else None,
            "expires_at": tokens.expires_at.isoformat() if tokens.expires_at else None,
            "blocked_until": tokens.blocked_until.isoformat() if tokens.blocked_until else None,
            "blocked_s": tokens.blocked_s,
        }
        try:
            replace(self._path, json.dumps(document).encode())
        except OSError as exc:
            log.warning("tokens.not_saved", path=str(self._path), reason=exc.strerror)

    def renewing(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Return a context without effect: no other process uses the file."""
        return contextlib.nullcontext()


def _secret(value: object) -> Secret | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError("a token is text")
    return Secret(value)


def _moment(value: object) -> datetime | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError("a moment is text")
    return datetime.fromisoformat(value).astimezone(UTC)


def _seconds(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("seconds are a number")
    return float(value)

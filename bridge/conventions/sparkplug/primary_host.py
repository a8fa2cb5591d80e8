"""State of the primary host, as its STATE messages tell it.

Rules:

1. Without a configured host it counts as online.
2. A message that is older than the newest one that was believed changes nothing: a will of an
   earlier connection of the host may arrive late.
3. Each online message with another timestamp begins a new session of the host.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from bridge.core.value_format import format_json, iso_utc
from bridge.errors import DecodeError

# For a host that does not exist there is one session, for ever.
NO_HOST_SESSION = 0


class _State(msgspec.Struct):
    """The payload of a STATE message."""

    online: bool
    timestamp: int


def _time(stamp_ms: int) -> str:
    """Return a timestamp of a host as ISO 8601; as it is where it is no time."""
    try:
        return iso_utc(datetime.fromtimestamp(stamp_ms / 1000, UTC))
    except (ValueError, OverflowError, OSError):
        return str(stamp_ms)


_decode = msgspec.json.Decoder(_State).decode


class PrimaryHost:
    """What is known of the primary host.

    Attributes:
        session: Timestamp of its session while it is online, else None.
    """

    def __init__(self, host_id: str | None) -> None:
        """Start without a message.

        Args:
            host_id: The configured host, or None.
        """
        self._without = NO_HOST_SESSION if host_id is None else None
        self.session = self._without
        self._newest: int | None = None

    @property
    def is_online(self) -> bool:
        """Return whether the node may publish."""
        return self.session is not None

    def told(self, payload: bytes) -> None:
        """Handle a STATE message of the configured host.

        Raises:
            DecodeError: It is none, or older than one before.
        """
        try:
            state = _decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
            shown = format_json(str(exc)).decode()
            raise DecodeError(f"unreadable: {shown}", source="STATE message", raw=payload) from exc
        if self._newest is not None and state.timestamp < self._newest:
            older = f"its timestamp is older than {self._newest}, which was believed"
            raise DecodeError(older, source="STATE message", raw=payload)
        self._newest = state.timestamp
        self.session = state.timestamp if state.online else None

    def explain(self, host_id: str | None) -> Iterator[str]:
        """Say whether the node may publish.

        Args:
            host_id: The configured host, or None.
        """
        if host_id is None:
            yield "no primary host is configured (sparkplug.host_id): none is waited for"
        elif self.session is None:
            yield f"the primary host {host_id} is not online: nothing is published without it"
        else:
            yield f"the primary host {host_id} is online, by its STATE of {_time(self.session)}"

    def disconnected(self) -> None:
        """Handle the end of our connection: the host may go offline meanwhile."""
        self.session = self._without

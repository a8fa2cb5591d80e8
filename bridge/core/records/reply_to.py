"""Where a result goes besides the fixed result topic."""

import msgspec


class ReplyTo(msgspec.Struct, frozen=True):
    """A caller that waits for a result; part of a command's row in the store.

    Attributes:
        response_topic: Of the caller, where that may be published to, or None.
        correlation: Correlation Data to be returned there, or None.
    """

    response_topic: str | None = None
    correlation: bytes | None = None

"""The result of a command or a query."""

from datetime import datetime

import msgspec


class CommandResult(msgspec.Struct, frozen=True):
    """Where a command or a query is.

    Attributes:
        id: The caller's name for it, or None.
        command: Name of the command or query.
        state: A word of the contract.
        final: No other result follows.
        received_at: When it arrived.
        at: When this was found out.
        elapsed_ms: How long the caller has waited.
        reason: A snake_case word for why not, or None.
        detail: A sentence for people, or None.
        http_status: Status of the cloud's answer, or None.
        ticks: The vendor's name for the command, or None; more than a double holds exactly.
    """

    id: str | None
    command: str
    state: str
    final: bool
    received_at: datetime
    at: datetime
    elapsed_ms: int
    reason: str | None = None
    detail: str | None = None
    http_status: int | None = None
    ticks: int | None = None

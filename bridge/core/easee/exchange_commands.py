"""Commands that the exchange of the partner feed can carry, as the catalogue's rows name them.

A row names one where number and arguments of the command are known from the vendor's documents.
Everything else goes over REST. Rules:

1. A command says until when it may be carried out (``ExpiresAt``); without a clock that can be
   believed it goes over REST.
2. Its ticks name it. They are made before the command is written down, so that its response is
   recognized after a restart too.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from msgspec.structs import replace

YEAR_ONE: Final = datetime(1, 1, 1, tzinfo=UTC)
TICKS_PER_MICROSECOND: Final = 10


class ExchangeCommand(msgspec.Struct, frozen=True):
    """A command as the exchange carries it.

    Attributes:
        charger_id: Serial of the charger.
        command_id: The vendor's number of the command.
        arguments: Number and text of each argument.
        ticks: .NET ticks that name the command; 0 while it is not to be sent through the exchange.
        expires_at: It is not carried out later, UTC; None likewise.
    """

    charger_id: str
    command_id: int
    arguments: tuple[tuple[int, str], ...] = ()
    ticks: int = 0
    expires_at: datetime | None = None


def named(command: ExchangeCommand, at: datetime, seq: int, left_s: float) -> ExchangeCommand:
    """Return a command with ticks and expiry.

    Args:
        command: As its row names it.
        at: Wall clock, aware.
        seq: Its place in the order of arrival; tells commands of one microsecond apart.
        left_s: Seconds until it is not carried out any more.
    """
    microseconds = (at - YEAR_ONE) // timedelta(microseconds=1)
    ticks = microseconds * TICKS_PER_MICROSECOND + seq % TICKS_PER_MICROSECOND
    return replace(command, ticks=ticks, expires_at=at + timedelta(seconds=left_s))

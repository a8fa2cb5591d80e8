"""A command as stored: one row from admission to its final result.

The store knows nothing of commands. It keeps the newest row of each key and gives all of them back
when it is opened; what the fields mean is decided in :mod:`bridge.core.commands`.
"""

from datetime import datetime

import msgspec

MAX_TTL_S = 600.0
# How long a broker is asked to keep what waits for us: a day beyond the longest life, so that what
# is too late by then gets an answer all the same.
SESSION_S = MAX_TTL_S + 24 * 3600.0


class CommandRow(msgspec.Struct, frozen=True):
    """One command.

    Attributes:
        key: Unique, chosen by the core: ``"<received ms>-<counter>-<charger>"``.
        charger_id: Whom it is for.
        command: Name in the catalogue.
        name: What its caller calls it (id or correlation data), for recognising a repetition;
            empty when it was not named.
        digest: Hash of topic and payload: tells a conflict, and a redelivery without a name.
        state: Value of a :class:`~bridge.core.commands.state_machine.State`.
        received_at: UTC, by our clock, whether that could be trusted or not.
        expires_at: UTC; it is not sent afterwards.
        body: JSON: everything else the core needs to go on after a restart.
        answer: The document of the final answer; empty while there is none.
        flash: It wrote the charger's flash memory when it was sent.
    """

    key: str
    charger_id: str
    command: str
    name: str
    digest: str
    state: str
    received_at: datetime
    expires_at: datetime
    body: bytes
    answer: bytes
    flash: bool

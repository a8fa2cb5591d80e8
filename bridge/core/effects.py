"""Effects: what the core can request, a closed set of types.

Effects are values. An effect never has an answer inside the same call; the answer is a new event.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

import msgspec

from bridge.core.changes import Change
from bridge.core.easee.rest_requests import CloudRequest
from bridge.core.messages import AckToken, Publish, Tag
from bridge.core.records.command_row import CommandRow
from bridge.core.records.discovery_record import PublishedDiscovery
from bridge.core.records.session_report import SessionReport
from bridge.core.records.unread_text import UnreadText
from bridge.errors import CloudUnavailable

Level = Literal["debug", "info", "warning", "error"]


class Acknowledge(msgspec.Struct, frozen=True):
    """Send the PUBACK of an incoming message."""

    ack_token: AckToken


class SendRequest(msgspec.Struct, frozen=True):
    """Make one REST call; answered by ``CloudResponse`` or ``CloudFailed``.

    Attributes:
        tag: Who asks, and for what.
        request: What to send.
        within_s: Seconds it may take altogether, waiting for the budget included.
    """

    tag: Tag
    request: CloudRequest
    within_s: float = 30.0


class Subscribe(msgspec.Struct, frozen=True):
    """Keep exactly these chargers subscribed on the stream, now and after every reconnect."""

    charger_ids: tuple[str, ...]


class Reconnect(msgspec.Struct, frozen=True):
    """Give up the connection to the broker and make a new one.

    Attributes:
        reason: A sentence for the log.
    """

    reason: str


class ReadRetained(msgspec.Struct, frozen=True):
    """Have the broker send again what it keeps of topics that are subscribed to.

    Attributes:
        topic_filter: One of the filters of every connection.
    """

    topic_filter: str


class Listen(msgspec.Struct, frozen=True):
    """Keep exactly these filters subscribed, besides those of every connection.

    Attributes:
        filters: Of commands and queries.
        echoes: Of retained topics of this bridge.
    """

    filters: tuple[str, ...]
    echoes: tuple[str, ...]


class SaveChargerList(msgspec.Struct, frozen=True):
    """Keep in mind which chargers there are, for the next start.

    Attributes:
        charger_ids: The configured ones, or those the account lists.
        left: Since when which one is away, while the broker still has something of it.
        equalizers: The Equalizers that are served.
    """

    charger_ids: tuple[str, ...]
    left: Mapping[str, datetime] = msgspec.field(default_factory=dict)
    equalizers: tuple[str, ...] = ()


class SavePublishedDiscovery(msgspec.Struct, frozen=True):
    """Keep in mind which descriptions the broker holds, by topic, so that they can be removed."""

    published: Mapping[str, PublishedDiscovery]


class SaveState(msgspec.Struct, frozen=True):
    """Keep a small document of a component for the next start, in place of the one before.

    Attributes:
        name: Of the document, as in :attr:`~bridge.core.events.Started.state`.
        document: Plain values, for JSON.
    """

    name: str
    document: Mapping[str, object]


class SaveReport(msgspec.Struct, frozen=True):
    """Commit a report; answered by ``ReportSaved`` or ``ReportSaveFailed``."""

    report: SessionReport


class MarkPublished(msgspec.Struct, frozen=True):
    """The broker acknowledged this revision of a report."""

    key: str
    revision: int


class SettleReports(msgspec.Struct, frozen=True):
    """These reports are done with: a consumer has them, or the broker has written them down.

    Attributes:
        reports: Key and revision of each. A newer revision stays pending.
    """

    reports: tuple[tuple[str, int], ...]


class KeepReports(msgspec.Struct, frozen=True):
    """Keep reports without making them pending: there is no consumer yet.

    Attributes:
        reports: Key and revision of each. A newer revision stays pending.
    """

    reports: tuple[tuple[str, int], ...]


class KeepText(msgspec.Struct, frozen=True):
    """Keep a text that should be a session and cannot be read; the core has it until then."""

    text: UnreadText


class ForgetTexts(msgspec.Struct, frozen=True):
    """These texts are done with, by key."""

    keys: tuple[str, ...]


class ReadReports(msgspec.Struct, frozen=True):
    """Read stored reports; answered by ``ReportsRead`` or ``ReportsReadFailed``.

    Attributes:
        tag: Who asks, and for what.
        charger_id: Only this charger's, or None for all.
        since: Only sessions that ended then or later, or None.
        until: Only sessions that ended before, or None.
        limit: At most so many.
    """

    tag: Tag
    charger_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 1000


class MaintainStore(msgspec.Struct, frozen=True):
    """Remove what need not be kept, and measure what is left; answered by ``StoreMaintained``.

    Attributes:
        settled_before: Settled reports that ended before this go; None: nothing is removed.
        commands_before: Commands that got their final answer before this go, likewise.
    """

    settled_before: datetime | None = None
    commands_before: datetime | None = None


class SaveCommand(msgspec.Struct, frozen=True):
    """Commit a command; answered by ``CommandSaved`` or ``CommandSaveFailed``.

    There is never more than one of a key without an answer.
    """

    row: CommandRow


class RetryRejectedPublications(msgspec.Struct, frozen=True):
    """Send once more what the broker refused and nothing newer has replaced."""


class LogEntry(msgspec.Struct, frozen=True):
    """A log line.

    Attributes:
        level: How much an operator should care.
        event: ``subsystem.happened``, a literal.
        fields: Everything else; quantities end in their unit.
    """

    level: Level
    event: str
    fields: Mapping[str, object] = msgspec.field(default_factory=dict)


def not_answered(event: str, error: Exception) -> LogEntry:
    """Return the line about a request that failed and is made again.

    That the cloud cannot be reached is logged once, by the alert and the state of the cloud.
    """
    is_told = isinstance(error, CloudUnavailable) and error.status is None
    return LogEntry("debug" if is_told else "warning", event, {"error": str(error)})


# What the gateway does itself; a change is published by the conventions.
Action = (
    Publish
    | Acknowledge
    | SendRequest
    | Subscribe
    | Reconnect
    | ReadRetained
    | Listen
    | SaveChargerList
    | SavePublishedDiscovery
    | SaveState
    | SaveReport
    | MarkPublished
    | SettleReports
    | KeepReports
    | KeepText
    | ForgetTexts
    | ReadReports
    | MaintainStore
    | SaveCommand
    | RetryRejectedPublications
    | LogEntry
)
Effect = Change | Action

"""Effects: what the core can request, a closed set of types.

Effects are values. An effect never has an answer inside the same call; the answer is a new event.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from bridge.core.changes import Change
from bridge.core.easee.rest_requests import CloudRequest
from bridge.core.messages import AckToken, Publish, Tag
from bridge.core.records.command_row import CommandRow
from bridge.core.records.discovery_record import PublishedDiscovery
from bridge.core.records.session_report import SessionReport
from bridge.core.records.unread_text import UnreadText

Level = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """Send the PUBACK of an incoming message."""

    ack_token: AckToken


@dataclass(frozen=True, slots=True)
class SendRequest:
    """Make one REST call; answered by ``CloudResponse`` or ``CloudFailed``.

    Attributes:
        tag: Who asks, and for what.
        request: What to send.
        within_s: Seconds it may take altogether, waiting for the budget included.
    """

    tag: Tag
    request: CloudRequest
    within_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Keep exactly these chargers subscribed on the stream, now and after every reconnect."""

    charger_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reconnect:
    """Give up the connection to the broker and make a new one.

    Attributes:
        reason: A sentence for the log.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class ReadRetained:
    """Have the broker send again what it keeps of topics that are subscribed to.

    Attributes:
        topic_filter: One of the filters of every connection.
    """

    topic_filter: str


@dataclass(frozen=True, slots=True)
class Listen:
    """Keep exactly these filters subscribed, besides those of every connection.

    Attributes:
        filters: Of commands and queries.
        echoes: Of retained topics of this bridge.
    """

    filters: tuple[str, ...]
    echoes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SaveChargerList:
    """Keep in mind which chargers there are, for the next start.

    Attributes:
        charger_ids: The configured ones, or those the account lists.
        left: Since when which one is away, while the broker still has something of it.
        equalizers: The Equalizers that are served.
    """

    charger_ids: tuple[str, ...]
    left: Mapping[str, datetime] = field(default_factory=dict)
    equalizers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SavePublishedDiscovery:
    """Keep in mind which descriptions the broker holds, by topic, so that they can be removed."""

    published: Mapping[str, PublishedDiscovery]


@dataclass(frozen=True, slots=True)
class SaveState:
    """Keep a small document of a component for the next start, in place of the one before.

    Attributes:
        name: Of the document, as in :attr:`~bridge.core.events.Started.state`.
        document: Plain values, for JSON.
    """

    name: str
    document: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class SaveReport:
    """Commit a report; answered by ``ReportSaved`` or ``ReportSaveFailed``."""

    report: SessionReport


@dataclass(frozen=True, slots=True)
class MarkPublished:
    """The broker acknowledged this revision of a report."""

    key: str
    revision: int


@dataclass(frozen=True, slots=True)
class SettleReports:
    """These reports are done with: a consumer has them, or the broker has written them down.

    Attributes:
        reports: Key and revision of each. A newer revision stays pending.
    """

    reports: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class KeepReports:
    """Keep reports without making them pending: there is no consumer yet.

    Attributes:
        reports: Key and revision of each. A newer revision stays pending.
    """

    reports: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class KeepText:
    """Keep a text that should be a session and cannot be read; the core has it until then."""

    text: UnreadText


@dataclass(frozen=True, slots=True)
class ForgetTexts:
    """These texts are done with, by key."""

    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReadReports:
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


@dataclass(frozen=True, slots=True)
class MaintainStore:
    """Remove what need not be kept, and measure what is left; answered by ``StoreMaintained``.

    Attributes:
        settled_before: Settled reports that ended before this go; None: nothing is removed.
        commands_before: Commands that got their final answer before this go, likewise.
    """

    settled_before: datetime | None = None
    commands_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class SaveCommand:
    """Commit a command; answered by ``CommandSaved`` or ``CommandSaveFailed``.

    There is never more than one of a key without an answer.
    """

    row: CommandRow


@dataclass(frozen=True, slots=True)
class RetryRejectedPublications:
    """Send once more what the broker refused and nothing newer has replaced."""


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A log line.

    Attributes:
        level: How much an operator should care.
        event: ``subsystem.happened``, a literal.
        fields: Everything else; quantities end in their unit.
    """

    level: Level
    event: str
    fields: Mapping[str, object] = field(default_factory=dict)


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

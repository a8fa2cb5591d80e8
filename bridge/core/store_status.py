"""The state of the store as reported by it."""

import msgspec

from bridge.core.events import StoreOpened
from bridge.core.records.command_row import CommandRow
from bridge.core.records.store_problem import StoreProblem
from bridge.core.records.stored_report import StoredReport
from bridge.core.records.unread_text import UnreadText


class StoreContents(msgspec.Struct, frozen=True):
    """What a store held when it was opened.

    Attributes:
        owed: Reports that are not delivered, oldest end first. Those with ``published`` set were
            taken by the broker, and wait for a consumer or for the settle window.
        commands: Every command still kept, oldest first: those without an answer go on, those
            with one are remembered.
        problems: What was lost or is damaged; the cloud is asked for what may be missing.
        texts: What should be sessions and could not be read, oldest first.
        has_consumer: A consumer received a report since the store was created.
    """

    owed: tuple[StoredReport, ...] = ()
    commands: tuple[CommandRow, ...] = ()
    problems: tuple[StoreProblem, ...] = ()
    texts: tuple[UnreadText, ...] = ()
    has_consumer: bool = True


class StoreUsage(msgspec.Struct, frozen=True):
    """How full the store is.

    Attributes:
        used_share: Of its quota, 0.0 to 1.0 (a damaged file can be a little above). From 0.8 on
            the operator should know, from 0.95 on settled reports make room for new ones, at 1.0
            nothing new is taken.
        free_bytes: What the filesystem has left for us.
        kept: How many kept reports it holds.
    """

    used_share: float
    free_bytes: int
    kept: int = 0


class StoreSpace(msgspec.Struct, frozen=True):
    """Size and free space of a store.

    Attributes:
        used_bytes: Its size.
        free_bytes: What its filesystem has left.
        mode: Permissions of its file.
    """

    used_bytes: int
    free_bytes: int
    mode: int


def store_opened(opened: StoreContents, *, again: bool = False) -> StoreOpened:
    """Return the event that tells the core.

    Args:
        opened: What the store held.
        again: It was open before in this process: the core knows its commands better.
    """
    return StoreOpened(
        opened.owed,
        opened.problems,
        () if again else opened.commands,
        opened.texts,
        opened.has_consumer,
    )

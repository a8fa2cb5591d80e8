"""Recording and replay of conventions with a connection of their own.

What such a convention says depends on what happened on its connection. Rules:

1. Every call of the connection is recorded, with its time and how many results it had: messages,
   requests, reports. Changes of the core are not: a replay has them.
2. Several messages that are taken at the same time are one call.
3. The state of the convention is copied with that of the core. A convention of another package is
   not recorded: no record can hold its classes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from msgspec.structs import replace

from bridge.conventions.convention import ConnectionNeed, Convention, EndConnection, Session
from bridge.core.changes import Change, ValuesChanged
from bridge.core.effects import Effect
from bridge.core.events import MqttMessage
from bridge.core.messages import Publish
from bridge.core.records.moment import Timestamp
from bridge.core.requests import IncomingRequest
from bridge.errors import RecordError
from bridge.recorder.values import is_named
from bridge.settings import Settings


class LinkCall(msgspec.Struct, frozen=True):
    """A call of a convention by its connection.

    Attributes:
        link: Name of the connection.
        call: What was called, of the convention or its session.
        message: That was received; None for another call.
        times: How often it was called at that time.
    """

    link: str
    call: str
    message: MqttMessage | None = None
    times: int = 1


# More messages than a connection takes at once.
MAX_TAKEN = 10_000
Note = Callable[[LinkCall, Timestamp, int], None]


class RecordedSession:
    """A session of a convention, whose calls are recorded.

    Args:
        session: The session.
        link: Name of its connection.
        note: Records a call and how many results it had.
    """

    def __init__(self, session: Session, link: str, note: Note) -> None:
        self._session = session
        self._note = note
        self._calls = {
            name: LinkCall(link, name)
            for name in ("will", "farewell", "connected", "disconnected", "take", "unsent",
                         "delivered")
        }  # fmt: skip
        self._link = link
        self._taken_at: Timestamp | None = None

    def will(self, now: Timestamp) -> Publish:
        """Return the will of the next attempt to connect."""
        self._note(self._calls["will"], now, 1)
        return self._session.will(now)

    def farewell(self, now: Timestamp) -> Publish:
        """Return what is published last, before an intended end of the connection."""
        self._note(self._calls["farewell"], now, 1)
        return self._session.farewell(now)

    def connected(self, now: Timestamp) -> None:
        """Handle a connection on which the subscriptions were answered."""
        self._note(self._calls["connected"], now, 0)
        self._session.connected(now)

    def disconnected(self, now: Timestamp) -> None:
        """Handle the end of the connection."""
        self._note(self._calls["disconnected"], now, 0)
        self._session.disconnected(now)

    def received(self, message: MqttMessage, now: Timestamp) -> Iterable[IncomingRequest]:
        """Handle a message of one of the subscriptions; return what it asks of the core."""
        found: tuple[IncomingRequest, ...] = ()
        try:
            found = tuple(self._session.received(message, now))
        finally:
            self._note(LinkCall(self._link, "received", message), now, len(found))
        return found

    def take(self, now: Timestamp) -> Publish | EndConnection | None:
        """Return what is to be sent next, or None where there is nothing to say."""
        step = None
        try:
            step = self._session.take(now)
        finally:
            self._taken_at = now
            self._note(self._calls["take"], now, 0 if step is None else 1)
        return step

    def unsent(self, message: Publish) -> None:
        """Handle a message that can never be sent; it is the last one that was taken."""
        if self._taken_at is not None:
            self._note(self._calls["unsent"], self._taken_at, 0)
        self._session.unsent(message)

    def delivered(self, now: Timestamp) -> tuple[tuple[str, int], ...]:
        """Return key and revision of the session reports that count as delivered from now on."""
        found = self._session.delivered(now)
        if found:
            self._note(self._calls["delivered"], now, len(found))
        return found

    def deadline_s(self) -> float | None:
        """Return when, on the monotonic clock, there may be something to do, or None."""
        return self._session.deadline_s()


class RecordedConvention:
    """A convention with a connection of its own, whose calls by that are recorded.

    Args:
        convention: The convention.
        need: The connection that it needs.
        note: Records a call and how many results it had.
    """

    def __init__(self, convention: Convention, need: ConnectionNeed, note: Note) -> None:
        session = need.session
        if session is not None:
            session = RecordedSession(session, need.name, note)
        self.connection: ConnectionNeed | None = replace(need, session=session)
        self.name = convention.name
        self.subscriptions = convention.subscriptions
        self.publish = convention.publish
        self._convention = convention
        self._link = need.name
        self._note = note
        self._now: Timestamp | None = None

    def snapshot(self, now: Timestamp) -> Iterable[Publish]:
        """Return everything retained, after its own connection was made."""
        self._now = now
        found = tuple(self._convention.snapshot(now))
        self._note(LinkCall(self._link, "snapshot"), now, len(found))
        return found

    def parse(self, message: MqttMessage) -> IncomingRequest | None:
        """Read a message of one of its subscriptions; None where it asks for nothing."""
        found = None
        try:
            found = self._convention.parse(message)
        finally:
            if self._now is not None:
                call = LinkCall(self._link, "parse", message)
                self._note(call, self._now, 0 if found is None else 1)
        return found


def is_recordable(convention: Convention) -> bool:
    """Return whether a record can hold the state of a convention with a connection of its own."""
    return convention.connection is not None and is_named(type(convention))


def recorded(conventions: Iterable[Convention], note: Note) -> tuple[Convention, ...]:
    """Return conventions, of which those with a connection of their own are recorded."""
    return tuple(
        RecordedConvention(each, need, note)
        if (need := each.connection) is not None and is_recordable(each)
        else each
        for each in conventions
    )


# -- replaying -----------------------------------------------------------------------------------


def own_conventions(settings: Settings) -> tuple[Convention, ...]:
    """Return the conventions of the program with a connection of their own that are enabled."""
    if not settings.sparkplug.enabled:
        return ()
    from bridge.conventions.sparkplug.convention import (  # noqa: PLC0415 - most do not need it
        Sparkplug,
    )

    return (Sparkplug(settings),)


def report_channels(conventions: Sequence[Convention]) -> tuple[str, ...]:
    """Return the names of the conventions that tell which reports were delivered."""
    return tuple(each.name for each in conventions if each.connection and each.connection.session)


class Links:
    """Conventions with a connection of their own, as a record has them.

    Args:
        conventions: The conventions.
    """

    def __init__(self, conventions: Sequence[Convention]) -> None:
        needs = ((each.connection, each) for each in conventions)
        self.conventions: Mapping[str, Convention] = {
            need.name: each for need, each in needs if need is not None
        }
        self._last: Publish | None = None

    def explain(self, topic: str, now: Timestamp) -> tuple[str, ...]:
        """Return why a topic of a convention is as it is, in its sentences."""
        return explained(self.conventions.values(), topic, now)

    def publish(self, effects: Iterable[Effect], now: Timestamp) -> list[Publish]:
        """Return the messages that conventions make of the changes among some effects."""
        changes = [effect for effect in effects if isinstance(effect, Change)]
        found: list[Publish] = []
        for change in changes:
            for each in self.conventions.values():
                found += published(each, change, now)
        return found

    def call(self, call: LinkCall, now: Timestamp) -> list[Any]:
        """Repeat a call, and return its results: messages, requests, delivered reports.

        Raises:
            RecordError: It is none of a convention of this version.
        """
        convention = self.conventions.get(str(call.link))
        if convention is None or convention.connection is None:
            raise RecordError(f"this version has no convention with a connection {call.link}")
        session = convention.connection.session
        found: list[Any] = []
        with suppress(Exception):  # as in the process, where it was contained
            results = (
                _called(convention, call, now)
                if session is None
                else self._session_called(session, call, now)
            )
            for one in results:
                found.append(one)  # noqa: PERF402 - what was before an error counts
        return found

    def _session_called(self, session: Session, call: LinkCall, now: Timestamp) -> Iterator[Any]:
        match call.call:
            case "take":
                yield from self._taken(session, now, call.times)
            case "received" if call.message is not None:
                yield from session.received(call.message, now)
            case "unsent" if self._last is not None:
                session.unsent(self._last)
            case "connected":
                session.connected(now)
            case "disconnected":
                session.disconnected(now)
            case "delivered":
                yield from session.delivered(now)
            case "will":
                yield session.will(now)
            case "farewell":
                yield session.farewell(now)

    def _taken(self, session: Session, now: Timestamp, times: int) -> Iterator[Any]:
        for _ in range(min(times, MAX_TAKEN)):
            step = session.take(now)
            if isinstance(step, Publish):
                self._last = step
            if step is not None:
                yield step


def explained(conventions: Iterable[Convention], topic: str, now: Timestamp) -> tuple[str, ...]:
    """Return what conventions with a connection of their own say about a topic."""
    asked = [each.explain for each in conventions if hasattr(each, "explain")]
    return tuple(sentence for one in asked for sentence in one(topic, now))


def _called(convention: Convention, call: LinkCall, now: Timestamp) -> Iterator[Any]:
    if call.call == "snapshot":
        yield from convention.snapshot(now)
    elif call.call == "parse" and call.message is not None:
        request = convention.parse(call.message)
        if request is not None:
            yield request


def published(convention: Convention, change: Change, now: Timestamp) -> Iterator[Publish]:
    """Yield what a convention makes of a change, as the loop does where it raises an error."""
    try:
        yield from convention.publish(change, now)
    except Exception:  # noqa: BLE001 - it did so in the process too
        if isinstance(change, ValuesChanged) and len(change.values) > 1:
            for value in change.values:
                with suppress(Exception):
                    yield from convention.publish(ValuesChanged((value,)), now)

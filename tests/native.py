"""What changes become under the native convention, for tests that speak of topics."""

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache

from bridge.conventions.native.convention import Native
from bridge.core.changes import Change
from bridge.core.composition import Core
from bridge.core.effects import Effect
from bridge.core.events import Event
from bridge.core.messages import Publish
from bridge.core.records.moment import Timestamp
from bridge.core.topics import Topics
from bridge.settings import PublishSettings

NOW = Timestamp(datetime(2026, 11, 22, 12, tzinfo=UTC), 0.0)


@lru_cache
def _native(base: str, publish: PublishSettings) -> Native:
    return Native(Topics(base), publish)


def as_messages(
    effects: Iterable[Effect], *, base: str = "charger", publish: PublishSettings | None = None
) -> list[Effect]:
    """Return effects in their order, each change replaced by its messages."""
    native = _native(base, publish or PublishSettings())
    found: list[Effect] = []
    for effect in effects:
        if isinstance(effect, Change):
            found += native.publish(effect, NOW)
        else:
            found.append(effect)
    return found


def publishes(effects: Iterable[Effect]) -> list[Publish]:
    """Return the messages among effects, changes as theirs."""
    return [effect for effect in as_messages(effects) if isinstance(effect, Publish)]


def handled(core: Core, event: Event, now: Timestamp) -> list[Effect]:
    """Have a core handle an event; return what follows, changes as their messages."""
    effects = core.handle(event, now)
    return as_messages(effects, base=core.topics.base, publish=core.settings.publish)

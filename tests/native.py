"""What changes become under the native convention, for tests that speak of topics."""

from collections.abc import Iterable

from bridge.conventions.native.convention import Native
from bridge.core.changes import Change
from bridge.core.effects import Effect
from bridge.core.events import Moment
from bridge.core.topics import Topics
from bridge.settings import PublishSettings
from tests.conftest import NOON

NOW = Moment(NOON, 0.0)


def as_messages(
    effects: Iterable[Effect], *, base: str = "charger", publish: PublishSettings | None = None
) -> list[Effect]:
    """Return effects in their order, each change replaced by its messages."""
    native = Native(Topics(base), publish or PublishSettings())
    found: list[Effect] = []
    for effect in effects:
        if isinstance(effect, Change):
            found += native.publish(effect, NOW)
        else:
            found.append(effect)
    return found

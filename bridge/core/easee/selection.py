"""Selects the values that are published, by ``publish.only`` and ``publish.except``.

Rules:

1. A word of these lists is the name of a value, the id of an observation, or a group.
2. ``except`` has precedence over ``only``; an empty ``only`` selects everything.
3. Availability, events, sessions, results and the topics of the bridge are not values.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final

import msgspec

from bridge.core.easee.derived_state import DERIVED, TOUCH_BUTTON
from bridge.core.easee.equalizer import EQUALIZER, equalizer_spec_of
from bridge.core.easee.equalizer_derived import EQUALIZER_DERIVED
from bridge.core.easee.observation_registry import REGISTRY, spec_named, spec_of
from bridge.core.easee.observation_spec import SETTINGS, ObservationSpec
from bridge.settings import PublishSettings

# Unknown ids were seen below this one only.
UNNAMED_BELOW: Final = 256
# Beyond it no observation was seen; an id is a whole number below 10 digits.
MAX_ID_DIGITS: Final = 9
# Names of derived values and their groups.
DERIVED_GROUPS: Final[Mapping[str, str]] = {
    **{topic.name: topic.group for topic in DERIVED},
    TOUCH_BUTTON: SETTINGS,
}
_EQUALIZER_DERIVED_GROUPS: Final = {topic.name: topic.group for topic in EQUALIZER_DERIVED}
_EVERY_DERIVED: Final = {**DERIVED_GROUPS, **_EQUALIZER_DERIVED_GROUPS}
_SPECS: Final = (*REGISTRY.values(), *EQUALIZER.values())
GROUPS: Final = tuple(sorted({spec.group for spec in _SPECS} | set(DERIVED_GROUPS.values())))
_NAMES: Final = frozenset(spec.name for spec in _SPECS)


def names() -> Iterator[str]:
    """Yield every name of a charger's value that a filter can contain besides groups and ids."""
    yield from (spec.name for spec in REGISTRY.values())
    yield from DERIVED_GROUPS


def is_known(word: str) -> bool:
    """Return whether a word of a filter can select something."""
    digits = word.removeprefix("observation_")
    is_id = digits.isascii() and digits.isdecimal() and len(digits) <= MAX_ID_DIGITS
    return is_id or word in GROUPS or word in _EVERY_DERIVED or word in _NAMES


class Selection(msgspec.Struct, frozen=True):
    """The values that are published.

    Attributes:
        only: Words of what is published; empty for everything.
        excepted: Words of what is not.
    """

    only: frozenset[str] = frozenset()
    excepted: frozenset[str] = frozenset()

    @classmethod
    @lru_cache(maxsize=4)  # each charger has it
    def of(cls, publish: PublishSettings) -> "Selection":
        """Return the selection of a configuration."""
        return cls(frozenset(publish.only), frozenset(publish.except_))

    @property
    def is_everything(self) -> bool:
        """Return whether nothing is left out."""
        return not self.only and not self.excepted

    def has(self, spec: ObservationSpec) -> bool:
        """Return whether an observation is published."""
        return self.is_everything or self._has({spec.name, str(spec.id), spec.group})

    def has_derived(self, name: str) -> bool:
        """Return whether a derived value is published."""
        return self.is_everything or self._has({name, _EVERY_DERIVED[name]})

    def has_named(self, name: str) -> bool:
        """Return whether the value of this name is published, derived or not."""
        if name in _EVERY_DERIVED:
            return self.has_derived(name)
        spec = spec_named(name)
        return spec is None or self.has(spec)

    def hidden(self) -> Iterator[str]:
        """Yield the names of values that are not published, up to :data:`UNNAMED_BELOW`."""
        numbers = sorted(REGISTRY.keys() | set(range(UNNAMED_BELOW)))
        yield from (spec.name for spec in map(spec_of, numbers) if not self.has(spec))
        yield from (name for name in DERIVED_GROUPS if not self.has_derived(name))

    def hidden_of_equalizer(self) -> Iterator[str]:
        """Yield the same of an Equalizer."""
        numbers = sorted(EQUALIZER.keys() | set(range(UNNAMED_BELOW)))
        yield from (s.name for s in map(equalizer_spec_of, numbers) if not self.has(s))
        yield from (name for name in _EQUALIZER_DERIVED_GROUPS if not self.has_derived(name))

    def _has(self, words: set[str]) -> bool:
        return not (self.only and self.only.isdisjoint(words)) and self.excepted.isdisjoint(words)


EVERYTHING: Final = Selection()


@lru_cache(maxsize=4)
def hidden_names(selection: Selection) -> frozenset[str]:
    """Return the names of values with a row, or an id below 256, that are not published."""
    return frozenset(selection.hidden())


@lru_cache(maxsize=4)
def hidden_equalizer_names(selection: Selection) -> frozenset[str]:
    """Return the same of an Equalizer."""
    return frozenset(selection.hidden_of_equalizer())

"""Determines which changes of the configuration take effect without a restart.

Rules:

1. :data:`RELOADABLE` names the sections that can change: who may command what, and what is logged;
   and :data:`RELOADABLE_KEYS` single keys: which chargers are served, and their names.
   The others are woven into connections and files; for them the bridge is restarted.
2. A configuration is taken as a whole or not at all: one that cannot be used changes nothing.
"""

from dataclasses import replace
from typing import Final

import msgspec

from bridge.config.keys import KEYS
from bridge.settings import Settings

RELOADABLE: Final = ("commands", "log")
RELOADABLE_KEYS: Final = frozenset({"easee.chargers", "easee.names"})


class Change(msgspec.Struct, frozen=True):
    """A configuration beside the one that is in force.

    Attributes:
        settings: What is in force from now on.
        taken: Keys that changed and take effect.
        waiting: Keys that changed and wait for a restart.
    """

    settings: Settings
    taken: tuple[str, ...]
    waiting: tuple[str, ...]


def change(running: Settings, wanted: Settings) -> Change:
    """Compare what is in force with what was read."""
    changed = [key.path for key in KEYS if key.of(running) != key.of(wanted)]
    parts = {name: getattr(wanted, name) for name in RELOADABLE}
    easee = replace(running.easee, chargers=wanted.easee.chargers, names=wanted.easee.names)
    return Change(
        replace(running, easee=easee, **parts),
        tuple(path for path in changed if _is_reloadable(path)),
        tuple(path for path in changed if not _is_reloadable(path)),
    )


def _is_reloadable(path: str) -> bool:
    return path in RELOADABLE_KEYS or path.split(".", maxsplit=1)[0] in RELOADABLE

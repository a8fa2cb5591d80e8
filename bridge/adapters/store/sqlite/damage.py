"""Damage of a store's files, and the alerts about it."""

from collections.abc import Iterator

import msgspec

from bridge.adapters.store.row_format.digest import DAMAGE_HINT, damaged_rows
from bridge.core.records.store_problem import StoreProblem


class Damage(msgspec.Struct, frozen=True):
    """What was found when a store was opened; nothing is wrong with the defaults.

    Attributes:
        moved_to: Where a file that could not be used was moved to; empty when there was none.
        damaged: How many rows fail their check; they stay in the file and are not handed out.
        recovered: How many rows were saved out of damaged parts; they are among the others.
        is_incomplete: The write-ahead log was gone, or not all was looked through: what was
            committed last may be missing.
    """

    moved_to: str = ""
    damaged: int = 0
    recovered: int = 0
    is_incomplete: bool = False

    @property
    def problems(self) -> tuple[StoreProblem, ...]:
        """Return the problems for the operator, each with a hint."""
        return tuple(self._problems())

    def _problems(self) -> Iterator[StoreProblem]:
        if self.moved_to:
            yield StoreProblem(
                "store_replaced",
                f"the store was damaged; it was set aside as {self.moved_to},"
                f" and {self.recovered} rows of it were saved"
                f"{'; not all of it could be looked through' * self.is_incomplete}",
                "check the disk, and keep that file; missing sessions are read from the cloud",
            )
        elif self.is_incomplete:
            yield StoreProblem(
                "store_incomplete",
                f"a part of the store was missing or damaged; {self.recovered} rows of it were"
                f" saved",
                DAMAGE_HINT,
            )
        if self.damaged:
            yield damaged_rows(self.damaged)

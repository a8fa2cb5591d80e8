"""Problems found when a store was opened."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StoreProblem:
    """Something that was lost or is damaged; raised as an alert.

    Attributes:
        kind: Of the alert, snake_case.
        message: What is wrong.
        hint: What to do about it.
    """

    kind: str
    message: str
    hint: str

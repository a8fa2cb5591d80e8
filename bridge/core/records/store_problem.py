"""Problems found when a store was opened."""

import msgspec


class StoreProblem(msgspec.Struct, frozen=True):
    """Something that was lost or is damaged; raised as an alert.

    Attributes:
        kind: Of the alert, snake_case.
        message: What is wrong.
        hint: What to do about it.
    """

    kind: str
    message: str
    hint: str

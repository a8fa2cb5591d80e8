"""The reason why a connection is lost: reported once, and again when it changes."""


class LossReason:
    """Holds the reason that was reported last."""

    def __init__(self) -> None:
        """Hold none."""
        self._reported: str | None = None

    def is_new(self, reason: str) -> bool:
        """Record a reason; return whether it differs from the one before."""
        is_new = reason != self._reported
        self._reported = reason
        return is_new

    def clear(self) -> None:
        """Forget the reason: the connection is back, so the next loss is new."""
        self._reported = None

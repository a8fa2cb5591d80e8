"""Who waits for an answer: Response Topic and Correlation Data of a request."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReplyTo:
    """Somebody who waits for an answer.

    Attributes:
        response_topic: A topic that may be published to, or None.
        correlation: To be returned there, or None.
    """

    response_topic: str | None = None
    correlation: bytes | None = None


def correlation_text(correlation: bytes | None, longest: int) -> str | None:
    """Return Correlation Data as a text where it is one, for the ``id`` of the answer.

    Args:
        correlation: As received.
        longest: Characters; longer ones are not shown.
    """
    try:
        text = (correlation or b"").decode()
    except UnicodeDecodeError:
        return None
    return text if 0 < len(text) <= longest and text.isprintable() else None

"""Exceptions of the program, named by how their catcher can react.

::

    BridgeError
     ├── ConfigError          the operator mends the configuration (exit 78)
     ├── DecodeError          a remote party sent bytes we cannot read: drop and count
     ├── CommandRefused       answer the caller: the bridge says no, and why
     ├── CloudError
     │    ├── CloudRejected   the cloud understood and said no: answer the caller
     │    ├── CloudUnavailable  nobody is to blame: retry what may be retried
     │    │    └── OutcomeUnknown  it may have been carried out: look before repeating
     │    │         ├── AnswerUnusable  it was taken, and what was answered cannot be had
     │    │         └── PublishUnconfirmed  the exchange did not confirm it
     │    ├── RateLimited     wait as long as told
     │    ├── AuthFailed      credentials are wrong or revoked: retry slowly
     │    └── Blocked         the vendor blocked us: be silent for hours
     ├── ConnectionLost             a connection is gone: reconnect
     ├── TooLarge             a message the broker does not take: tell, do not repeat
     ├── TaskFailed           a part of the process is gone: end, be started again (exit 75)
     ├── RecordError          a record cannot be written or read: say why
     └── StoreError
          ├── StoreLocked     another process owns the store: stop (exit 75)
          │    └── LeaseLost  another worker took the partition over: end it (exit 75)
          └── StoreFull       the quota or the disk is full: say so, take nothing new

Facts are attributes, not only words. An error is raised or logged, never both.
"""

import math

EXCERPT_CHARACTERS = 80


class BridgeError(Exception):
    """Base of everything this project raises on purpose.

    Attributes:
        retry_after_s: How long the other side asked us to wait, or None.
        refused: The other side is there, and does not want us.
    """

    retry_after_s: float | None = None
    refused: bool = False


class ConfigError(BridgeError):
    """The configuration cannot be used; nothing was connected.

    Attributes:
        problems: One sentence per thing that is wrong, each starting with its path, e.g.
            ``"mqtt.port: must be 1 to 65535, not 'abc'"``.
    """

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class DecodeError(BridgeError):
    """Data of a remote party cannot be read.

    Attributes:
        source: Where it came from, e.g. ``"observation 109"``.
        excerpt: The first characters of it, for a log line at debug level.
    """

    def __init__(self, reason: str, *, source: str, raw: object = "") -> None:
        super().__init__(f"{source}: {reason}")
        self.reason = reason
        self.source = source
        self.excerpt = repr(raw)[:EXCERPT_CHARACTERS]


class CommandRefused(BridgeError):
    """The bridge will not carry a command out; nothing was sent.

    Attributes:
        reason: One of the contract's refusal words, e.g. ``"invalid_value"``.
        detail: A sentence that tells the caller what to do instead.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class CloudError(BridgeError):
    """The vendor's cloud did not do what was asked.

    Attributes:
        status: HTTP status, or None when there was no answer.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class CloudRejected(CloudError):
    """The cloud understood the request and refused it.

    Attributes:
        code: The vendor's ``errorCode``, or None when it gave none.
        reason: A snake_case word for it, e.g. ``"charger_disconnected"`` (410), or one derived
            from the status, e.g. ``"forbidden"``.
    """

    def __init__(self, message: str, *, status: int, reason: str, code: int | None = None) -> None:
        super().__init__(message, status=status)
        self.code = code
        self.reason = reason


class CloudUnavailable(CloudError):
    """No usable response: refused connection, 5xx, or a local limit without room.

    Without a status nothing was sent, unless it is :class:`OutcomeUnknown`.
    """

    def __init__(
        self, message: str, *, status: int | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message, status=status)
        self.retry_after_s = retry_after_s


class OutcomeUnknown(CloudUnavailable):
    """The request went out and no answer came: it may have been carried out."""


TOO_LARGE = "answer_too_large"


class AnswerUnusable(OutcomeUnknown):
    """The cloud took the request (2xx), and the body of its answer cannot be had.

    Attributes:
        reason: :data:`TOO_LARGE`: over the cap, and so it would be again;
            ``"answer_unusable"``: cut, broken, or packed in a way we did not ask for.
    """

    def __init__(self, message: str, *, status: int, reason: str = "answer_unusable") -> None:
        super().__init__(message, status=status)
        self.reason = reason


class PublishUnconfirmed(OutcomeUnknown):
    """The exchange of the partner feed did not confirm a command; it may be carried out."""


class RateLimited(CloudError):
    """429, a redirect to another host, or the request budget is exhausted.

    Attributes:
        retry_after_s: Seconds until another request of this kind may be sent.
        local: True when our own budget said no and nothing was sent.
    """

    retry_after_s: float

    def __init__(
        self, message: str, *, retry_after_s: float, local: bool = False, status: int = 429
    ) -> None:
        super().__init__(message, status=None if local else status)
        self.retry_after_s = retry_after_s
        self.local = local


class AuthFailed(CloudError):
    """The account cannot be used.

    Attributes:
        credentials_wrong: True when the cloud named the user or password wrong (errorCode 100);
            False when it is refused for another reason.
        state: What it makes of :class:`~bridge.core.events.CloudStatusChanged`: ``"auth_failed"``,
            ``"login_refused"`` or ``"token_refused"``.
        retry_after_s: Seconds until the next attempt is due; 0 where none will be made.
    """

    retry_after_s: float

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        credentials_wrong: bool = False,
        state: str = "auth_failed",
        retry_after_s: float = 0.0,
    ) -> None:
        super().__init__(message, status=status)
        self.credentials_wrong = credentials_wrong
        self.state = state
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        """Return what is wrong, and when it is tried again, if it is."""
        why = super().__str__()
        if self.retry_after_s <= 0:
            return why
        return f"{why}; next try in {math.ceil(self.retry_after_s / 60)} min"


class Blocked(CloudError):
    """The vendor blocked this address; every request makes it longer.

    Attributes:
        retry_after_s: Seconds of silence that are left.
    """

    retry_after_s: float

    def __init__(self, message: str, *, status: int | None, retry_after_s: float) -> None:
        super().__init__(message, status=status)
        self.retry_after_s = retry_after_s


class ConnectionLost(BridgeError):
    """A connection ended or could not be made."""

    def __init__(
        self, message: str, *, retry_after_s: float | None = None, refused: bool = False
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.refused = refused


class TooLarge(BridgeError, ValueError):
    """A message is larger than the broker takes; nothing was sent."""


class TaskFailed(BridgeError):
    """A part of the process ended that never should; what is left would be half alive."""


class RecordError(BridgeError):
    """A record of the recorder is damaged, or cannot be written or used by this version."""


class StoreError(BridgeError):
    """The store could not do what was asked; nothing was accepted.

    Attributes:
        hint: What the operator can do about it.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class StoreLocked(StoreError):
    """Another process has this store open."""


class LeaseLost(StoreLocked):
    """Another worker has taken the partition over: nothing was committed, nor will be."""


class StoreFull(StoreError):
    """The quota or the disk is full."""

"""Describes connection errors of the vendor's servers in words."""

import errno
import re
import socket
import ssl
from collections.abc import Iterator

import httpx

_NUMBER = re.compile(r"\[Errno (\d+)\]")
_NOWHERE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN})
_REFUSED = "it refuses the connection"
_NO_ROUTE = "no network leads there"
_NO_ANSWER = "no answer in time"
MAX_TEXT_LENGTH = 120


def in_words(error: BaseException) -> str:
    """Return the cause of an error as text; the innermost error is the most specific."""
    for cause in reversed(list(_chain(error))):
        words = _words(cause)
        if words is not None:
            return words
    return str(error)[:MAX_TEXT_LENGTH] or type(error).__name__


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Return an error and what caused it, outermost first."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _words(error: BaseException) -> str | None:
    match error:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted ({error.verify_message}); is the clock right?"
        case ssl.SSLError():
            reason = getattr(error, "reason", None) or str(error)[:MAX_TEXT_LENGTH]
            return f"the TLS handshake failed ({reason})"
        case socket.gaierror():
            return "its name cannot be resolved; check the network and its DNS"
        case ConnectionRefusedError():
            return _REFUSED
        case TimeoutError() | httpx.TimeoutException():
            return _NO_ANSWER
        case ConnectionError():
            return "the connection was cut"
        case OSError():
            return _by_number(error)
        case _:
            return None


def _by_number(error: OSError) -> str | None:
    """Return the text for an error number, or for those of several addresses that were tried."""
    found = {int(number) for number in _NUMBER.findall(str(error))}
    numbers = {error.errno} if error.errno is not None else found
    if errno.ECONNREFUSED in numbers:
        return _REFUSED
    if numbers & _NOWHERE:
        return _NO_ROUTE
    return _NO_ANSWER if errno.ETIMEDOUT in numbers else error.strerror

"""Words for what keeps a server from being reached."""

import errno
import socket
import ssl

import httpx
import pytest

from bridge.adapters.easee.unreached import in_words

UNTRUSTED = ssl.SSLCertVerificationError(1, "certificate verify failed")
UNTRUSTED.verify_message = "certificate has expired"
ERRORS = [
    (socket.gaierror(-2, "Name or service not known"), "cannot be resolved"),
    (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed"), "refuses the connection"),
    (OSError("Multiple exceptions: [Errno 111] Connect, [Errno 101] x"), "refuses the connection"),
    (OSError(errno.ENETUNREACH, "Network is unreachable"), "no network leads there"),
    (OSError(errno.EHOSTUNREACH, "No route to host"), "no network leads there"),
    (ConnectionResetError(104, "reset"), "the connection was cut"),
    (TimeoutError(), "no answer in time"),
    (httpx.ConnectTimeout("x"), "no answer in time"),
    (UNTRUSTED, "certificate has expired"),
    (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong"), "TLS handshake failed"),
]


@pytest.mark.parametrize(("error", "words"), ERRORS)
def test_what_keeps_us_away_is_said_in_words(error, words):
    """No error number, also where a library wrapped it in an error of its own."""
    wrapped = httpx.ConnectError(str(error))
    wrapped.__cause__ = error
    said = in_words(wrapped)

    assert words in said
    assert "Errno" not in said
    assert in_words(error) == said


def test_anything_else_is_named():
    """The text if there is one, and the type otherwise."""
    assert in_words(ValueError("odd")) == "odd"
    assert in_words(ValueError()) == "ValueError"

"""The words for what went wrong."""

import socket
import ssl

import pytest

from bridge.adapters.mqtt import connect_errors
from bridge.adapters.mqtt.connect_errors import AttemptFailed, Cause
from bridge.settings import MqttSettings, Secret, TlsSettings

PLAIN = MqttSettings(host="broker", port=1883, username="me", password=Secret("hunter2"))
OVER_TLS = MqttSettings(host="broker", port=8883, tls=TlsSettings(enabled=True))


def ssl_error(reason: str) -> ssl.SSLError:
    """Build an error as OpenSSL names it."""
    error = ssl.SSLError(1, f"[SSL: {reason}] something (_ssl.c:1006)")
    error.reason = reason
    return error


def verify_error(code: int) -> ssl.SSLCertVerificationError:
    """Build a verification error with OpenSSL's code."""
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, f"code {code}"
    return error


@pytest.mark.parametrize(
    ("error", "words", "cause"),
    [
        (ConnectionRefusedError(111, "refused"), "is the broker running", Cause.UNREACHED),
        (TimeoutError("timed out"), "firewall", Cause.UNREACHED),
        (socket.gaierror(-2, "unknown"), "cannot be resolved; check mqtt.host", Cause.UNREACHED),
        (OSError(113, "No route to host"), "No route to host", Cause.UNREACHED),
        (UnicodeError("label too long"), "mqtt.host 'broker' cannot be used", Cause.UNREACHED),
        (ConnectionResetError(104, "reset"), "reset", Cause.UNREACHED),
        (verify_error(10), "has expired", Cause.OTHER),
        (verify_error(9), "clock", Cause.OTHER),
        (verify_error(18), "mqtt.tls.ca_file", Cause.OTHER),
        (verify_error(62), "set mqtt.host", Cause.OTHER),
        (verify_error(99), "code 99", Cause.OTHER),
        (ssl_error("WRONG_VERSION_NUMBER"), "mqtt.tls.enabled", Cause.OTHER),
        (ssl_error("TLSV13_ALERT_CERTIFICATE_REQUIRED"), "mqtt.tls.cert_file", Cause.OTHER),
        (ssl_error("TLSV1_ALERT_UNKNOWN_CA"), "refused the client certificate", Cause.OTHER),
        (ssl_error("SOMETHING_ELSE"), "something_else", Cause.OTHER),
        (AttemptFailed("as it is", Cause.QOS), "as it is", Cause.QOS),
    ],
)
def test_every_way_of_not_reaching_a_broker_has_words_and_a_cause(error, words, cause):
    """What a socket or OpenSSL says becomes a sentence that names what to check."""
    failure = connect_errors.dial_failure(error, PLAIN)

    assert words in str(failure)
    assert failure.cause is cause
    assert "hunter2" not in str(failure)


def test_a_reset_during_the_handshake_is_about_tls():
    """A server that hangs up on a TLS greeting probably does not speak it."""
    failure = connect_errors.dial_failure(ConnectionResetError(104, "reset"), OVER_TLS)

    assert "check mqtt.port and mqtt.tls.enabled" in str(failure)


@pytest.mark.parametrize(("code", "cause"), [(0x84, Cause.OLD_BROKER), (0x9B, Cause.QOS)])
def test_refusals_that_another_attempt_can_answer_have_a_cause(code, cause):
    """The link changes its request instead of asking a person."""
    assert connect_errors.connack_failure(code, "name", PLAIN).cause is cause


@pytest.mark.parametrize("code", [*connect_errors.CONNACK_HINTS, 0x80])
def test_every_refusal_names_the_broker_and_a_hint(code):
    """Known or not, a CONNACK that says no is one readable sentence."""
    text = str(connect_errors.connack_failure(code, "Some name", PLAIN))

    assert text.startswith("the broker at broker:1883 refused the connection (Some name): ")
    assert "hunter2" not in text


@pytest.mark.parametrize(
    ("settings", "socket_error", "words"),
    [
        (PLAIN, "", "does it require TLS?"),
        (OVER_TLS, "", "does it require a client certificate"),
        (MqttSettings(version="5"), "", "set mqtt.version to auto or 3.1.1"),
        (OVER_TLS, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] x", "set mqtt.tls.cert_file"),
        (
            MqttSettings(tls=TlsSettings(enabled=True, cert_file="c.pem")),
            "",
            "does it accept the client certificate",
        ),
    ],
)
def test_a_silent_close_asks_the_likely_question(settings, socket_error, words):
    """A closed socket has no reason, so the text names what usually is behind it."""
    assert words in str(connect_errors.silent_close(settings, socket_error))


def test_silence_has_a_cause_of_its_own():
    """A broker that hangs is told from one that closes."""
    failure = connect_errors.no_connack(MqttSettings(version="5"), 10.0)

    assert failure.cause is Cause.SILENT
    assert "10 s" in str(failure)
    assert "mqtt.version" in str(failure)

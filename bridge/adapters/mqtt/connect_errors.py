"""Describes failed MQTT connections for the operator.

Rules:

1. Every text says what happened and, where there is one, which setting to look at.
2. No text holds a password, and none repeats what the broker chose to say beyond a standard name.
3. A failure carries a :class:`Cause`, because what happens next depends on it, never on the words.
"""

import enum
import socket
import ssl
from typing import Final

from bridge.errors import ConnectionLost
from bridge.settings import MqttSettings


class Cause(enum.Enum):
    """What kind of failure it was."""

    UNREACHED = "unreached"  # nobody accepted the TCP connection
    OLD_BROKER = "old_broker"  # the broker refused the protocol version in so many words
    NO_ANSWER = "no_answer"  # the broker closed before CONNACK, as some old ones do on MQTT 5
    SILENT = "silent"  # the broker took the connection and never answered
    QOS = "qos"  # the broker does not take a will at QoS 1
    POISON = "poison"  # something arrived that paho cannot parse
    OTHER = "other"  # everything that only a person can solve


class AttemptFailed(ConnectionLost):
    """A connection could not be made, or was not granted what it needs.

    Attributes:
        cause: What kind of failure it was.
    """

    def __init__(self, message: str, cause: Cause = Cause.OTHER) -> None:
        super().__init__(message)
        self.cause = cause


CHECK_LOGIN: Final = "check mqtt.username and mqtt.password_file"

# CONNACK reason codes of MQTT 5; paho translates the five of 3.1.1 into them. Mosquitto says 135
# for a wrong password too, so both name the same settings.
CONNACK_HINTS: Final[dict[int, str]] = {
    0x84: "it supports only an older version of MQTT; set mqtt.version to auto or 3.1.1",
    0x85: "choose another mqtt.client_id",
    0x86: CHECK_LOGIN,
    0x87: f"{CHECK_LOGIN}, and what the broker's access list grants this user",
    0x88: "it is not ready; trying again",
    0x89: "it is overloaded; trying again",
    0x8A: "this client was banned there",
    0x90: "it does not accept the topic of the will; check mqtt.base_topic",
    0x95: "the CONNECT packet is larger than it accepts",
    0x97: "a quota is used up there",
    0x9A: "it keeps no retained messages, which the bridge requires",
    0x9B: "it accepts only QoS 0",
    0x9C: "it points to another server; set mqtt.host to that one",
    0x9D: "it moved; set mqtt.host to its new address",
    0x9F: "too many connections in a short time; trying again later",
}
CONNACK_CAUSES: Final[dict[int, Cause]] = {0x84: Cause.OLD_BROKER, 0x9B: Cause.QOS}

# DISCONNECT reason codes that an operator can do something about.
DISCONNECT_HINTS: Final[dict[int, str]] = {
    0x8E: "another client connected with the same id; give each its own mqtt.client_id",
    0x87: "the broker's access list does not grant what was asked",
    0x93: "it counts unacknowledged messages in another way; we send fewer at a time",
    0x95: "a message was larger than the broker accepts",
    0x96: "it accepts fewer messages per second",
    0x97: "a quota is used up at the broker",
    0x98: "an administrator of the broker ended it",
}

# OpenSSL's verification results (X509_V_ERR_*).
VERIFY_HINTS: Final[dict[int, str]] = {
    9: "its certificate is not valid yet; is this machine's clock right?",
    10: "its certificate has expired; renew it, or set this machine's clock if that is wrong",
    18: "its certificate is self-signed; set mqtt.tls.ca_file to that certificate",
    19: "its authority is not known here; set mqtt.tls.ca_file to that authority",
    20: "its authority is not known here; set mqtt.tls.ca_file to that authority",
    21: "its authority is not known here; set mqtt.tls.ca_file to that authority",
    62: "its certificate is for another name; set mqtt.host to a name it holds",
    64: "its certificate is for another address; set mqtt.host to a name it holds",
}

# Pieces of OpenSSL's names for what went wrong, first match wins.
TLS_HINTS: Final[tuple[tuple[str, str], ...]] = (
    (
        "CERTIFICATE_REQUIRED",
        "it requires a client certificate; set mqtt.tls.cert_file and key_file",
    ),
    ("HANDSHAKE_FAILURE", "no common ground; a client certificate may be missing (mqtt.tls)"),
    ("ALERT", "it refused the client certificate; check mqtt.tls.cert_file"),
    ("WRONG_VERSION_NUMBER", "this port does not use TLS; check mqtt.port and mqtt.tls.enabled"),
    ("RECORD_LAYER_FAILURE", "this port does not use TLS; check mqtt.port and mqtt.tls.enabled"),
    ("PROTOCOL_VERSION", "it supports only versions of TLS older than 1.2, which are not secure"),
    ("EOF", "it closed during the TLS handshake; check mqtt.port and mqtt.tls.enabled"),
)


def endpoint(settings: MqttSettings) -> str:
    """Return host and port of the broker as the operator wrote them."""
    return f"{settings.host}:{settings.port}"


def dial_failure(error: Exception, settings: MqttSettings) -> AttemptFailed:
    """Translate what went wrong before a CONNECT could be sent."""
    where = endpoint(settings)
    match error:
        case AttemptFailed():
            return error
        case ssl.SSLCertVerificationError():
            hint = VERIFY_HINTS.get(error.verify_code, error.verify_message)
            return AttemptFailed(f"the broker at {where} is not trusted: {hint}")
        case ssl.SSLError():
            return AttemptFailed(f"no TLS with {where}: {tls_hint(error.reason or str(error))}")
        case socket.gaierror():
            text = f"the name {settings.host!r} cannot be resolved; check mqtt.host and the network"
        case ConnectionRefusedError():
            text = f"nothing listens at {where}; is the broker running, is mqtt.port right?"
        case TimeoutError():
            text = f"no answer from {where} in time; check mqtt.host, mqtt.port and the firewall"
        case ConnectionError() if settings.tls.enabled:
            return AttemptFailed(f"no TLS with {where}: {tls_hint('EOF')}")
        case OSError():
            text = f"{where} cannot be reached: {error.strerror or type(error).__name__}"
        case _:
            text = f"mqtt.host {settings.host!r} cannot be used ({type(error).__name__})"
    return AttemptFailed(text, Cause.UNREACHED)


def tls_hint(reason: str) -> str:
    """Return what to do about an error of OpenSSL."""
    spelled = reason.upper().replace(" ", "_")
    return next((hint for piece, hint in TLS_HINTS if piece in spelled), reason.lower())


def connack_failure(code: int, name: str, settings: MqttSettings) -> AttemptFailed:
    """Translate a CONNACK that says no."""
    hint = CONNACK_HINTS.get(code, f"reason code {code}")
    return AttemptFailed(
        f"the broker at {endpoint(settings)} refused the connection ({name}): {hint}",
        CONNACK_CAUSES.get(code, Cause.OTHER),
    )


def silent_close(settings: MqttSettings, socket_error: str) -> AttemptFailed:
    """Translate a connection that ended before CONNACK.

    Args:
        settings: The broker.
        socket_error: What the socket reported, or empty when it was just closed.
    """
    where = endpoint(settings)
    if "SSL" in socket_error:
        return AttemptFailed(f"no TLS with {where}: {tls_hint(socket_error)}")
    if not settings.tls.enabled:
        question = "does it require TLS?"
    elif settings.tls.cert_file is None:
        question = "does it require a client certificate (mqtt.tls.cert_file)?"
    else:
        question = "does it accept the client certificate (mqtt.tls.cert_file)?"
    return AttemptFailed(
        f"the broker at {where} closed without an answer; {question}{_older(settings)}",
        Cause.NO_ANSWER,
    )


def no_connack(settings: MqttSettings, waited_s: float) -> AttemptFailed:
    """Translate a connection that was taken and never answered."""
    where = endpoint(settings)
    return AttemptFailed(
        f"{where} accepted the connection and did not answer within {waited_s:g} s; "
        f"is the broker stuck, is this its port?{_older(settings)}",
        Cause.SILENT,
    )


def subscription_refused(filters: tuple[str, ...]) -> AttemptFailed:
    """Return the failure for refused subscriptions."""
    names = ", ".join(repr(name) for name in filters)
    return AttemptFailed(
        f"the broker refused the subscription {names}; allow it in the broker's access list"
    )


def _older(settings: MqttSettings) -> str:
    if settings.version != "5":
        return ""
    return " If it is older than MQTT 5, set mqtt.version to auto or 3.1.1"

"""Checks publications before they are passed to paho.

paho takes a topic with NUL in it, and a message larger than the broker accepts; the broker then
closes, paho sends it again, and nothing else gets through any more (8 reconnects in 8 s were
measured). Mosquitto closes for control characters and Unicode non-characters as well.
"""

import re
from typing import Final

from bridge.core.messages import Publish, packet_bytes
from bridge.errors import TooLarge

MAX_STRING_BYTES: Final = 65_535
MAX_PACKET_BYTES: Final = 268_435_455
# MQTT 5 section 1.5.4: NUL and surrogates must not, control and non-characters should not appear.
_FORBIDDEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_WILDCARD: Final = re.compile(r"[+#]")


def check_publish(message: Publish, *, properties: bool, largest_packet_bytes: int | None) -> None:
    """Refuse a message that no broker, or not this one, can take.

    Args:
        message: What is to be sent.
        properties: It goes out with its properties (MQTT 5).
        largest_packet_bytes: The broker's Maximum Packet Size, or None when it named none.

    Raises:
        TooLarge: It is larger than this broker takes.
        ValueError: It can never be sent over this connection; the text names the topic.
    """
    topic = message.topic
    if not topic:
        raise ValueError("a topic must not be empty")
    if _WILDCARD.search(topic):
        raise ValueError(f"topic {topic!r} holds a wildcard")
    _check_text(topic, f"topic {topic[:80]!r}")
    if properties:
        for key, value in message.user_properties:
            _check_text(key, f"a property of {topic!r}")
            _check_text(value, f"a property of {topic!r}")
        if len(message.correlation or b"") > MAX_STRING_BYTES:
            raise ValueError(f"the correlation data of {topic!r} is too long")
    size = packet_bytes(message, properties=properties)
    largest = largest_packet_bytes or MAX_PACKET_BYTES
    if size > largest:
        raise TooLarge(f"{topic!r} needs {size} bytes, the broker takes {largest}")


def _check_text(text: str, what: str) -> None:
    if _FORBIDDEN.search(text):
        raise ValueError(f"{what} holds a character MQTT does not carry")
    if len(text.encode()) > MAX_STRING_BYTES:
        raise ValueError(f"{what} is longer than {MAX_STRING_BYTES} bytes")

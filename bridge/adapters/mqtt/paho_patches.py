"""Replaces how paho reads properties and reason codes.

paho 2.2.0 ends the connection for legal packets. It takes U+FEFF in any text for an error, though
MQTT 5 says in 1.5.4 that it is a character like others; a reason code it has no name for is one,
although brokers use codes of other packets (mosquitto answers a PUBLISH with 0x95); and properties
by the ten thousand keep it busy for minutes, because each is cut off the rest by a copy. Anybody
who may publish to a topic of ours could keep us away from the broker that way.

Rules:

1. Only these two classes are replaced, in the one module of paho's that reads packets. Whatever is
   written goes through paho's own.
2. A message whose properties cannot be read is marked, not an error: its sender has made a mistake,
   and the connection is everybody's.
3. A test fails when paho reads such packets itself, or looks elsewhere for its classes. Then this
   goes. See ``docs/upstream.md``.
"""

from typing import Any, Final, Self

from paho.mqtt import _packet
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from bridge.adapters.mqtt import mqtt5_codec
from bridge.adapters.mqtt.mqtt5_codec import Malformed

# The properties that are used, here or in paho, besides the Response Topic; paho's names.
NAMES: Final = {
    0x02: "MessageExpiryInterval",
    0x09: "CorrelationData",
    0x11: "SessionExpiryInterval",
    0x13: "ServerKeepAlive",
    0x21: "ReceiveMaximum",
    0x24: "MaximumQoS",
    0x25: "RetainAvailable",
    0x27: "MaximumPacketSize",
}
_RESPONSE_TOPIC: Final = 0x08


class ReadProperties:
    """The properties of a packet that arrived, as attributes; what is not there has none.

    Attributes:
        unreadable: They are there and are no properties. Only of a PUBLISH: in another packet that
            is an error.
    """

    def __init__(self, packet_type: int) -> None:
        self.unreadable = False
        self._packet_type = packet_type

    def unpack(self, buffer: bytes | bytearray) -> tuple[Self, int]:
        """Read them, as paho's ``Properties.unpack`` does.

        Returns:
            Themselves, and how many bytes they take with their length.

        Raises:
            ValueError: They are none, which paho takes for the end of the connection.
        """
        data = bytes(buffer)
        at, end = mqtt5_codec.properties_end(data, 0)
        try:
            found = mqtt5_codec.properties(data, at, end)
        except Malformed:
            if self._packet_type != PacketTypes.PUBLISH:
                raise
            self.unreadable, found = True, {}
        for number, value in found.items():
            if number == _RESPONSE_TOPIC and isinstance(value, bytes):
                self.ResponseTopic = value.decode("utf-8", "replace")
            elif number in NAMES:
                setattr(self, NAMES[number], value)
        return self, end


class AnyReasonCode(ReasonCode):
    """A reason code with or without a name."""

    def unpack(self, buffer: bytes | bytearray) -> int:
        """Read it, as paho's does, and take every number."""
        self.value = buffer[0]
        return 1

    def getName(self) -> str:  # noqa: N802 - paho's name
        """Return the name in the specification, or the number where this packet has none."""
        try:
            return super().getName()
        except (KeyError, ValueError):
            return f"reason code {self.value}"


def mend() -> None:
    """Install the replacements in paho; process-wide, idempotent."""
    reader: Any = _packet
    reader.Properties, reader.ReasonCode = ReadProperties, AnyReasonCode

"""Chooses the MQTT version of the next connection.

Some brokers refuse MQTT 5 in their CONNACK (aedes), some just close the socket (RabbitMQ before
3.13), and some take the properties of a CONNECT for the length of something else and wait for the
rest (amqtt). A broker that is being restarted closes sockets too. So a refusal is believed, a
silence is tried out, and nothing is remembered for ever.
"""

from typing import Final

from bridge.adapters.mqtt.connect_errors import Cause
from bridge.adapters.mqtt.paho_translation import ANSWER_DEADLINE_S

# How long an older broker is taken for granted before a later connection tries MQTT 5 again:
# brokers are updated, and a guess may be wrong.
FALLBACK_HOLDS_S: Final = {
    Cause.OLD_BROKER: 86_400.0,
    Cause.NO_ANSWER: 3_600.0,
    Cause.SILENT: 3_600.0,
}
# Silences in a row before a broker that once spoke MQTT 5 to us is tried with 3.1.1: it is far
# more likely to be starting up than to have been replaced by an older one.
TIMEOUTS_BEFORE_FALLBACK = 3
# How long a broker that never spoke MQTT 5 to us may think about it, when there is another way.
# On a loaded Raspberry Pi mosquitto answers in well under a second.
TRIAL_S = 3.0


class ProtocolVersionPolicy:
    """The choice between MQTT 5 and 3.1.1 for one broker.

    Args:
        configured: ``"auto"``, ``"5"`` or ``"3.1.1"``.
    """

    def __init__(self, configured: str) -> None:
        self._configured = configured
        self._older_until_s: float | None = None
        self._silences = 0
        self._spoke_5 = False

    def choose(self, now_s: float) -> str:
        """Return the version to speak now, ``"5"`` or ``"3.1.1"``.

        Args:
            now_s: Monotonic seconds.
        """
        if self._configured != "auto":
            return self._configured
        if self._older_until_s is not None and now_s >= self._older_until_s:
            self._older_until_s = None
        return "5" if self._older_until_s is None else "3.1.1"

    def patience_s(self, spoken: str) -> float:
        """Return how long to wait for the answer to a connection in this version."""
        trial = self._configured == "auto" and spoken == "5" and not self._spoke_5
        return TRIAL_S if trial else ANSWER_DEADLINE_S

    def succeeded(self, spoken: str) -> None:
        """Record that the broker accepted a connection in this version."""
        self._silences = 0
        self._spoke_5 = self._spoke_5 or spoken == "5"

    def failed(self, spoken: str, cause: Cause, now_s: float) -> bool:
        """Record a failed attempt; return whether to try the other version at once."""
        if self._configured != "auto" or cause not in FALLBACK_HOLDS_S:
            return False
        if spoken == "3.1.1":
            self._older_until_s = None
            return False
        self._silences += 1
        enough = TIMEOUTS_BEFORE_FALLBACK if self._spoke_5 else 1
        if cause is not Cause.OLD_BROKER and self._silences < enough:
            return False
        self._silences = 0
        self._older_until_s = now_s + FALLBACK_HOLDS_S[cause]
        return True

"""Computes how long a message may have waited at the broker.

Rules:

1. It is the time since the broker last acknowledged or delivered something. A connection that was
   half open is noticed within two keepalives.
2. Before the first connection it is the time since an earlier process ended in order; where that is
   not known, any time.
"""

import math
from datetime import datetime

from bridge.core.domain_events import NOTHING, BrokerAbsenceKnown, Input, Outputs
from bridge.core.events import (
    MqttAcked,
    MqttConnected,
    MqttDisconnected,
    MqttMessage,
    MqttUnreachable,
    Started,
)
from bridge.core.records.moment import Timestamp

NEVER_S = -math.inf
# A connection that was half open is noticed within so many keepalives.
KEEPALIVES = 2


class BrokerAbsence:
    """Record when the broker last received or sent something.

    Args:
        keepalive_s: Of the connection.
    """

    name = "broker_absence"
    interests = frozenset({Started, MqttConnected, MqttDisconnected, MqttMessage, MqttAcked})

    def __init__(self, keepalive_s: int) -> None:
        self._dead_s = KEEPALIVES * keepalive_s
        self._heard_s = NEVER_S
        self._alive_at: datetime | None = None

    def handle(self, event: Input, now: Timestamp) -> Outputs:
        """Handle a message, an acknowledgement, or a change of the connection."""
        match event:
            case MqttMessage() | MqttAcked():
                self._heard_s = now.mono_s
            case MqttConnected():
                waited_s = now.mono_s - self._heard_s if self._heard_s > NEVER_S else None
                self._heard_s = now.mono_s
                return (BrokerAbsenceKnown(event.session_present, waited_s, self._alive_at),)
            case MqttDisconnected(reason):
                if self._heard_s > NEVER_S:
                    self._heard_s = max(self._heard_s, now.mono_s - self._dead_s)
                return (MqttUnreachable(reason),)
            case Started(alive_at=alive_at):
                self._alive_at = alive_at
        return NOTHING

    def deadline_s(self) -> None:
        """Return None: no ``Tick`` is wanted."""

"""What an output convention is: changes of the core in, MQTT messages out.

Rules:

1. A convention decides on topics, payloads, QoS and retention. It does not decide what is
   published of personal data, nor when something changed.
2. A convention with a connection of its own has a will and a client id of its own, and only its
   own messages go over that connection. Its messages carry the name of the connection in
   :attr:`~bridge.core.messages.Publish.link`.
3. A convention that fails costs no other one anything.
"""

from collections.abc import Iterable
from typing import Protocol

from bridge.core.changes import Change
from bridge.core.messages import Publish
from bridge.core.records.moment import Timestamp


class Convention(Protocol):
    """One way to name and spell what the core yields."""

    @property
    def name(self) -> str:
        """Return its name, for the log and the alert about errors."""
        ...

    def publish(self, change: Change, now: Timestamp) -> Iterable[Publish]:
        """Return what is to be published of a change; nothing where it does not concern it."""
        ...

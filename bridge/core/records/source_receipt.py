"""What a source of observations needs to acknowledge a delivery."""

import msgspec


class SourceReceipt(msgspec.Struct, frozen=True):
    """Identifies one delivery of a source; opaque to the core.

    Attributes:
        epoch: Number of the connection it came over; delivery numbers begin again with each.
        delivery: Number of the delivery within the connection.
    """

    epoch: int
    delivery: int

"""An observation as it came over the wire."""

import msgspec


# A struct, not a dataclass: one is made for every observation, in a sixth of the time.
class RawObservation(
    msgspec.Struct, frozen=True, gc=False, rename={"charger_id": "mid", "data_type": "dataType"}
):
    """One observation as it came over the wire, where the stream's names are read into it.

    Attributes:
        charger_id: ``mid`` of the frame; not yet checked.
        id: Observation id.
        data_type: The vendor's type code (1 to 7), or None when absent.
        value: Text on the stream, JSON value on REST.
        timestamp: Charger time as text.
    """

    charger_id: str
    id: int
    data_type: int | None
    value: object
    timestamp: str

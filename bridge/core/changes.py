"""What changed, as values: what the core yields for the conventions to publish.

Rules:

1. A change holds no topic and no encoded payload. How it is named and spelled at the broker is a
   convention's business (:mod:`bridge.conventions.convention`).
2. A change holds nothing that may not be published: personal data is hashed before, unless the
   operator says otherwise.
3. The current value of everything retained can be yielded again at any time, exactly as it was.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import msgspec

from bridge.core.easee.observation_spec import ObservationSpec
from bridge.core.value_format import Value


# A struct, not a dataclass: one is made for every observation, in a sixth of the time.
class ValueChanged(msgspec.Struct, frozen=True, gc=False):
    """The newest observation of an id.

    Attributes:
        charger_id: Serial.
        spec: Its row of the registry. Personal data is never retained.
        value: In the vendor's unit.
        measured_at: When the charger measured it, UTC.
        received_at: When it arrived.
        source: ``"stream"`` or ``"poll"``.
        is_new: The value differs from the one before; False where only its time is newer.
        stamp: ``measured_at`` as :func:`~bridge.core.value_format.iso_utc` spells it; empty where
            it is not spelled yet.
    """

    charger_id: str
    spec: ObservationSpec
    value: Value
    measured_at: datetime
    received_at: datetime
    source: str
    is_new: bool = True
    stamp: str = ""


class ValuesChanged(msgspec.Struct, frozen=True, gc=False):
    """The newest observations of an event, in order."""

    values: tuple[ValueChanged, ...]


@dataclass(frozen=True, slots=True)
class DerivedChanged:
    """A derived value of a charger.

    Attributes:
        charger_id: Serial.
        name: Of :data:`~bridge.core.easee.derived_state.DERIVED`.
        value: It, or None where it is not known any more.
    """

    charger_id: str
    name: str
    value: Value | None


@dataclass(frozen=True, slots=True)
class AvailabilityChanged:
    """A charger can be relied on, or not any more."""

    charger_id: str
    is_online: bool


@dataclass(frozen=True, slots=True)
class ChargerEvent:
    """Something happened at a charger; published once and not retained.

    Attributes:
        charger_id: Serial.
        kind: A snake_case word of the contract.
        measured_at: When, by the charger, or None.
        received_at: When it was learned.
        facts: Everything else, in order.
    """

    charger_id: str
    kind: str
    measured_at: datetime | None
    received_at: datetime
    facts: Mapping[str, Value | None]


Change = ValuesChanged | DerivedChanged | AvailabilityChanged | ChargerEvent

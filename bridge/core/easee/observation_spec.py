"""One row of the observation registry, with everything that depends on it.

Rules:

1. A row is complete: what is decided per observation is a field here, with a default that fits most
   rows, and not a list of ids or names elsewhere.
2. The name in a topic follows from the vendor's name by one rule (:func:`snake_case`), so that
   nobody has to look it up.
3. A text says whether it is personal, and why. Without that a row is not accepted.
"""

import enum
import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from bridge.core.easee.enumerations import Labels


class DataType(enum.IntEnum):
    """The vendor's type codes, as they stand in a message."""

    BINARY = 1
    BOOLEAN = 2
    DOUBLE = 3
    INTEGER = 4
    POSITION = 5
    STRING = 6
    STATISTICS = 7


class Visibility(enum.Enum):
    """How much of it a user wants to see."""

    MAIN = enum.auto()
    DIAGNOSTIC = enum.auto()
    # A diagnostic that is disabled by default.
    RARE = enum.auto()
    HIDDEN = enum.auto()


TEXTS: Final = frozenset({DataType.BINARY, DataType.POSITION, DataType.STRING, DataType.STATISTICS})
# Groups of values, for the filters. A row that names none is a diagnostic.
ACCESS: Final = "access"
CIRCUIT: Final = "circuit"
DIAGNOSTIC: Final = "diagnostic"
ENERGY: Final = "energy"
FIRMWARE: Final = "firmware"
LIMITS: Final = "limits"
PHASES: Final = "phases"
RADIO: Final = "radio"
SESSIONS: Final = "session"
SETTINGS: Final = "settings"
STATUS: Final = "status"
TEMPERATURES: Final = "temperatures"
# A number measures, counts or sets something, unless its row says otherwise.
NAMES_NOBODY: Final = "a number that names nobody"

_BEFORE_WORD = re.compile(r"(.)([A-Z][a-z]+)", re.ASCII)
_AFTER_LOWER = re.compile(r"([a-z0-9])([A-Z])", re.ASCII)
_NO_LABELS: Final[Labels] = MappingProxyType({})


def snake_case(vendor_name: str) -> str:
    """Convert the vendor's ``InCurrentT3`` to ``in_current_t3``."""
    return _AFTER_LOWER.sub(r"\1_\2", _BEFORE_WORD.sub(r"\1_\2", vendor_name)).lower()


@dataclass(frozen=True, slots=True, eq=False)
class ObservationSpec:
    """What is known of one observation. Specs are shared, so identity is equality.

    Attributes:
        id: The vendor's observation id.
        vendor_name: As published, e.g. ``"InCurrentT3"``; empty when nobody has named it.
        kind: How to read the value when the message does not say.
        unit: As the vendor measures, e.g. ``"kW"``; None when there is none.
        description: One line for the topic reference.
        labels: Code to snake_case label; empty when the value is not a code.
        personal: Never retained, and hashed unless the operator wants it plain.
        privacy: Why it is personal, or why it is not.
        auth_field: A JSON text that may carry a tag in a field of its own.
        always_text: Text whatever the message says: digits that are no quantity, or a session.
        retained_once: Versions before 1.0 retained it; the broker is made to forget it.
        event: Kind of the event that tells of its change; empty when none does.
        visibility: How much of it a user wants to see.
        title: What people read instead of its name; empty where the name will do.
        digits: Decimals to be shown; None for all.
        device_class: Home Assistant's class where it does not follow from the unit.
        state_class: Home Assistant's, likewise.
        group: The word that stands for it and its like in ``publish.only`` and ``publish.except``.
        name: The last level of its topics.
    """

    id: int
    vendor_name: str
    kind: DataType
    unit: str | None
    description: str
    labels: Labels = field(default_factory=lambda: _NO_LABELS)
    personal: bool = False
    privacy: str = NAMES_NOBODY
    auth_field: bool = False
    always_text: bool = False
    retained_once: bool = False
    event: str = ""
    visibility: Visibility = Visibility.RARE
    title: str = ""
    digits: int | None = None
    device_class: str = ""
    state_class: str = ""
    group: str = DIAGNOSTIC
    name: str = field(init=False)

    def __post_init__(self) -> None:
        name = snake_case(self.vendor_name) if self.vendor_name else f"observation_{self.id}"
        object.__setattr__(self, "name", name)

    @property
    def is_code(self) -> bool:
        """Whether it is a number that neither measures nor has labels: shown, never added up."""
        return self.kind is DataType.INTEGER and self.unit is None and not self.labels


def row(
    number: int,
    vendor_name: str,
    kind: DataType,
    unit: str | None,
    description: str,
    *,
    labels: Labels = _NO_LABELS,
    personal: str = "",
    harmless: str = "",
    auth_field: bool = False,
    always_text: bool = False,
    retained_once: bool = False,
    event: str = "",
    visibility: Visibility | None = None,
    title: str = "",
    digits: int | None = None,
    device_class: str = "",
    state_class: str = "",
    group: str = DIAGNOSTIC,
) -> ObservationSpec:
    """Return one row; see :class:`ObservationSpec` for the fields.

    Args:
        number: The vendor's observation id.
        vendor_name: See there, like everything that is not described here.
        kind: See there.
        unit: See there.
        description: See there.
        labels: See there.
        personal: Why it is personal; empty when it is not.
        harmless: Why a text is not personal.
        auth_field: See there; such a text is always read as text.
        always_text: See there.
        retained_once: See there.
        event: See there.
        visibility: None hides what is personal, a document or without a name, and shows anything
            else as a diagnostic that has to be enabled.
        title: See there.
        digits: See there.
        device_class: See there.
        state_class: See there.
        group: See there.

    Raises:
        ValueError: A text without a word on privacy, or with two.
    """
    if (kind in TEXTS) > bool(personal or harmless) or (personal and harmless):
        raise ValueError(f"observation {number}: say why it is personal, or why it is harmless")
    if visibility is None:
        hidden = personal or auth_field or unit == "json" or not vendor_name
        visibility = Visibility.HIDDEN if hidden else Visibility.RARE
    return ObservationSpec(
        number,
        vendor_name,
        kind,
        unit,
        description,
        labels=labels,
        personal=bool(personal),
        privacy=personal or harmless or NAMES_NOBODY,
        auth_field=auth_field,
        always_text=always_text or auth_field,
        retained_once=retained_once,
        event=event,
        visibility=visibility,
        title=title,
        digits=digits,
        device_class=device_class,
        state_class=state_class,
        group=group,
    )

"""Home Assistant discovery topics at the broker, as a record that survives a restart."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class PublishedDiscovery:
    """One retained message that describes a charger, or a part of it.

    Attributes:
        charger_id: Whom it describes.
        components: Platform by key; empty for a message about one entity.
    """

    charger_id: str
    components: Mapping[str, str] = field(default_factory=dict)

"""Home Assistant discovery topics at the broker, as a record that survives a restart."""

from collections.abc import Mapping

import msgspec


class PublishedDiscovery(msgspec.Struct, frozen=True):
    """One retained message that describes a charger, or a part of it.

    Attributes:
        charger_id: Whom it describes.
        components: Platform by key; empty for a message about one entity.
    """

    charger_id: str
    components: Mapping[str, str] = msgspec.field(default_factory=dict)

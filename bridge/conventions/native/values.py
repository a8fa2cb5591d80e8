"""Values, derived values and availability of chargers as messages.

All of these are values among many: they may go over the connection for values, and who reads
``online`` finds what was published before it.
"""

from functools import lru_cache

import msgspec

from bridge.core.changes import (
    AvailabilityChanged,
    DerivedChanged,
    Estimate,
    ValueChanged,
    ValuesChanged,
)
from bridge.core.easee.decode import ObservationSpec, label_of
from bridge.core.easee.derived_state import DERIVED_UNITS
from bridge.core.messages import Publish
from bridge.core.topics import Topics
from bridge.core.value_format import format_json, format_scalar, iso_utc, json_document, number
from bridge.settings import PublishSettings


class _DocumentTemplate(msgspec.Struct, frozen=True):
    """What is the same in every message of an observation.

    Attributes:
        head: Of its document, up to the value.
        unit: In its document, up to the stamp.
        properties: The user properties of its bare value, without the stamp.
    """

    head: bytes
    unit: bytes
    properties: tuple[tuple[str, str], ...]


@lru_cache(maxsize=1024)
def _frame(spec: ObservationSpec) -> _DocumentTemplate:
    unit = "null" if spec.unit is None else f'"{spec.unit}"'
    return _DocumentTemplate(
        f'{{"id":{spec.id},"name":"{spec.name}","value":'.encode("ascii"),
        f',"unit":{unit},"measured_at":"'.encode("ascii"),
        (("unit", spec.unit or ""), ("id", str(spec.id))),
    )


def _estimated(change: DerivedChanged, estimate: Estimate) -> bytes:
    """Return the document of a value that is estimated between readings."""
    document = {
        "id": None,
        "name": change.name,
        "value": change.value,
        "label": None,
        "unit": DERIVED_UNITS[change.name],
        "measured_at": estimate.measured_at,
        "received_at": estimate.received_at,
        "source": "derived",
        "estimated": estimate.is_estimated,
        "power_kw": estimate.kw,
    }
    return json_document(document)


class ValueMessages:
    """Makes the messages of values.

    Args:
        topics: The topic tree.
        publish: Which of the two forms are published.
    """

    def __init__(self, topics: Topics, publish: PublishSettings) -> None:
        self._topics = topics
        self._base = topics.base
        self._has_json = publish.json
        self._has_scalar = publish.scalar

    def values(self, change: ValuesChanged) -> list[Publish]:
        """Return the document and, where the value is a new one, the bare value of each."""
        messages: list[Publish] = []
        for value in change.values:
            self._add(value, messages)
        return messages

    def derived(self, change: DerivedChanged) -> list[Publish]:
        """Return the bare derived value, and the document of one that is estimated."""
        topic = self._topics.state(change.charger_id, change.name)
        bare = Publish(topic, format_scalar(change.value), telemetry=True)
        if change.estimate is None or not self._has_json:
            return [bare]
        topic = self._topics.observation(change.charger_id, change.name)
        return [Publish(topic, _estimated(change, change.estimate), telemetry=True), bare]

    def availability(self, change: AvailabilityChanged) -> list[Publish]:
        """Return ``online`` or ``offline``."""
        topic = self._topics.availability(change.charger_id)
        return [Publish(topic, b"online" if change.is_online else b"offline", telemetry=True)]

    def _add(self, change: ValueChanged, messages: list[Publish]) -> None:
        spec, value = change.spec, change.value
        measured_at = change.stamp or iso_utc(change.measured_at)
        template = _frame(spec)
        spelled = format_scalar(value) if isinstance(value, str) else number(value)
        retained = not spec.personal
        if self._has_json:
            label = label_of(spec, value) if spec.labels else None
            document = b'%b%b,"label":%b%b%b","received_at":"%b","source":"%b"}' % (
                template.head,
                format_json(value) if isinstance(value, str) else spelled,  # numbers look the same
                b'"%b"' % label.encode() if label else b"null",
                template.unit,
                measured_at.encode(),
                iso_utc(change.received_at).encode(),
                change.source.encode(),
            )
            topic = f"{self._base}/{change.charger_id}/observation/{spec.name}"
            messages.append(Publish(topic, document, retained=retained, telemetry=retained))
        if change.is_new and self._has_scalar:
            messages.append(
                Publish(
                    f"{self._base}/{change.charger_id}/state/{spec.name}",
                    spelled,
                    retained=retained,
                    user_properties=(("measured_at", measured_at), *template.properties),
                    telemetry=retained,
                )
            )

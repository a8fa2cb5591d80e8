"""Messages about the sites of the account and their circuits, all of them retained."""

from collections.abc import Iterator

from bridge.core.changes import CircuitChanged, SiteChanged, SiteCleared
from bridge.core.easee.sites import CIRCUIT_FACTS, SiteCircuit
from bridge.core.messages import Publish
from bridge.core.topics import Topics
from bridge.core.value_format import format_scalar, json_document


class SiteMessages:
    """Makes the messages below ``<base>/site``.

    Args:
        topics: The topic tree.
    """

    def __init__(self, topics: Topics) -> None:
        self._topics = topics

    def info(self, change: SiteChanged) -> tuple[Publish, ...]:
        """Return ``site/<id>/info``."""
        site = change.site
        document: dict[str, object] = {
            "site_id": site.site_id,
            "rated_current": site.rated_current_a,
            "circuits": [_circuit(one) for one in site.circuits],
            "chargers": site.charger_ids,
            "equalizers": site.equalizers,
        }
        if change.is_personal:
            document |= {"name": site.name, "address": site.address}
        payload = json_document(document)
        return (Publish(self._topics.site_info(site.site_id), payload),)

    def circuit(self, change: CircuitChanged) -> list[Publish]:
        """Return a bare value each."""
        return [
            Publish(
                self._topics.circuit_state(change.site_id, change.circuit_id, name),
                format_scalar(value),
                telemetry=True,
            )
            for name, value in change.values.items()
        ]

    def cleared(self, change: SiteCleared) -> Iterator[Publish]:
        """Empty the topics of circuits, and of their site."""
        for circuit_id in change.circuit_ids:
            for name in CIRCUIT_FACTS.values():
                yield Publish(self._topics.circuit_state(change.site_id, circuit_id, name), b"")
        if change.is_whole:
            yield Publish(self._topics.site_info(change.site_id), b"")


def _circuit(circuit: SiteCircuit) -> dict[str, object]:
    return {
        "circuit_id": circuit.circuit_id,
        "rated_current": circuit.facts.get("rated_current"),
        "fuse_current": circuit.facts.get("fuse_current"),
        "chargers": circuit.charger_ids,
    }

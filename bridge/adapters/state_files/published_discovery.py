"""Records which Home Assistant discovery topics a broker retains, across restarts.

A form, a prefix or a charger that is no more was written by a process that knew of it; the one that
has to take it away knows it only from here. When the file is lost, what was left has to be removed
by hand.
"""

import json
from collections.abc import Mapping

import structlog

from bridge.adapters.state_files.private_file import PUBLISHED_DISCOVERY_FILE, why
from bridge.core.records.discovery_record import PublishedDiscovery
from bridge.errors import StoreError
from bridge.ports import KeptDocuments
from bridge.settings import MqttSettings

log = structlog.get_logger()

# Some 15 KiB for each charger where every entity has a message of its own.
MAX_FILE_BYTES = 8 * 1024 * 1024
MAX_TOPIC_LENGTH = 1024


class KeptDiscovery:
    """Topics and what they stand for, in one document of one broker. Blocking: for a thread.

    Args:
        documents: Where it is kept.
        mqtt: The broker.
        name: Of the document.
    """

    def __init__(
        self, documents: KeptDocuments, mqtt: MqttSettings, name: str = PUBLISHED_DISCOVERY_FILE
    ) -> None:
        self._documents = documents
        self._broker = f"{mqtt.host}:{mqtt.port}"
        self._name = name

    def load(self) -> dict[str, PublishedDiscovery]:
        """Read it; nothing usable, or another broker's, is nothing."""
        try:
            content = self._documents.read(self._name, largest=MAX_FILE_BYTES)
            if content is None:
                return {}
            document = json.loads(content)
            if document["broker"] != self._broker:
                return {}
            return {
                topic: PublishedDiscovery(each["charger"], each["components"])
                for topic, each in document["announced"].items()
                if _is_ours(topic, each)
            }
        except (
            OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, StoreError,
        ) as error:  # fmt: skip
            log.warning("discovery_file.ignored", name=self._name, reason=why(error))
            return {}

    def save(self, published: Mapping[str, PublishedDiscovery]) -> None:
        """Replace the document. Trouble is a warning: something may be left over some day."""
        document = {
            "broker": self._broker,
            "announced": {
                topic: {"charger": each.charger_id, "components": dict(each.components)}
                for topic, each in published.items()
            },
        }
        try:
            self._documents.replace(self._name, json.dumps(document).encode())
        except (OSError, StoreError) as error:
            log.warning("discovery_file.not_saved", name=self._name, reason=why(error))


def _is_ours(topic: str, each: object) -> bool:
    """Return whether an entry was written by this program; its topics are published to."""
    if not (topic.endswith("/config") and len(topic) <= MAX_TOPIC_LENGTH and topic.isprintable()):
        return False
    if set("+#") & set(topic) or not isinstance(each, dict):
        return False
    components = each["components"]
    return (
        isinstance(each["charger"], str)
        and isinstance(components, dict)
        and all(isinstance(platform, str) for platform in components.values())
    )

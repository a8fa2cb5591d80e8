"""Documents that components of the core keep for the next start.

A document is small, and each component can do without it: what is lost costs accuracy, no more.
"""

import json
from collections.abc import Mapping

import structlog

from bridge.adapters.state_files.private_file import STATE_FILES, why
from bridge.errors import StoreError
from bridge.ports import KeptDocuments

log = structlog.get_logger()

# Two numbers and a time for each of tens of thousands of chargers.
MAX_FILE_BYTES = 16 * 1024 * 1024


class KeptComponentState:
    """One document for each component that keeps one. Blocking: call it from a thread.

    Args:
        documents: Where they are kept.
    """

    def __init__(self, documents: KeptDocuments) -> None:
        self._documents = documents

    def load(self) -> dict[str, dict[str, object]]:
        """Read every document there is; what cannot be used is left out."""
        found = {}
        for name, file in STATE_FILES.items():
            try:
                content = self._documents.read(file, largest=MAX_FILE_BYTES)
                document = None if content is None else json.loads(content)
            except (OSError, ValueError, RecursionError, StoreError) as error:
                log.warning("component_state.ignored", name=file, reason=why(error))
                continue
            if isinstance(document, dict):
                found[name] = document
        return found

    def save(self, name: str, document: Mapping[str, object]) -> None:
        """Replace one document; a failure is logged."""
        file = STATE_FILES[name]
        try:
            self._documents.replace(file, json.dumps(document).encode())
        except (OSError, StoreError) as error:
            log.warning("component_state.not_saved", name=file, reason=why(error))

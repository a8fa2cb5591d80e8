"""Kept charger list: known and removed chargers and Equalizers, before the cloud answers.

Without it a command that waited for a restart would meet a bridge that has heard of no charger yet.
It is a hint. When it is lost, the account's list brings everything back.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec
import structlog

from bridge.adapters.state_files.private_file import CHARGER_LIST_FILE, why
from bridge.core.easee.rest_requests import is_serial
from bridge.core.effects import SaveChargerList
from bridge.core.value_format import iso_utc, read_utc
from bridge.errors import DecodeError, StoreError
from bridge.ports import KeptDocuments

log = structlog.get_logger()

# 12 bytes for each charger, 50 for one that left.
MAX_FILE_BYTES = 8 * 1024 * 1024


class StoredChargerList(msgspec.Struct, frozen=True):
    """What is kept.

    Attributes:
        charger_ids: The chargers there are.
        left: Since when which one is away, UTC.
        former: Those that were served for another account.
        equalizers: The Equalizers there are.
    """

    charger_ids: tuple[str, ...] = ()
    left: Mapping[str, datetime] = msgspec.field(default_factory=dict)
    former: tuple[str, ...] = ()
    equalizers: tuple[str, ...] = ()


class KeptChargerList:
    """Serials in one document, of one account. Blocking: call it from a thread.

    Args:
        documents: Where it is kept.
        account: It is of this one.
        name: Of the document.
    """

    def __init__(
        self, documents: KeptDocuments, account: str, name: str = CHARGER_LIST_FILE
    ) -> None:
        self._documents = documents
        self._account = account
        self._name = name

    def load(self) -> StoredChargerList:
        """Read the serials; nothing usable is none, and another account's are former ones."""
        try:
            content = self._documents.read(self._name, largest=MAX_FILE_BYTES)
            if content is None:
                return StoredChargerList()
            document = json.loads(content)
            serials = _serials(document["chargers"])
            equalizers = _serials(document.get("equalizers", ()))
            left = {s: read_utc(at) for s, at in document.get("left", {}).items() if is_serial(s)}
            is_ours = document["account"] == self._account
            return (
                StoredChargerList(serials, left, equalizers=equalizers)
                if is_ours
                else StoredChargerList(left=left, former=(*serials, *equalizers))
            )
        except (
            OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError,
            DecodeError, StoreError,
        ) as error:  # fmt: skip
            log.warning("charger_list_file.ignored", name=self._name, reason=why(error))
            return StoredChargerList()

    def save(self, known: SaveChargerList) -> None:
        """Replace the document. Trouble is a warning: only the next start is slower to know."""
        document = {
            "account": self._account,
            "chargers": known.charger_ids,
            "left": {charger_id: iso_utc(at) for charger_id, at in known.left.items()},
            "equalizers": known.equalizers,
        }
        try:
            self._documents.replace(self._name, json.dumps(document).encode())
        except (OSError, StoreError) as error:
            log.warning("charger_list_file.not_saved", name=self._name, reason=why(error))


def _serials(listed: Iterable[object]) -> tuple[str, ...]:
    return tuple(one for one in listed if isinstance(one, str) and is_serial(one))

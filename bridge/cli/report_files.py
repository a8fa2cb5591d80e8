"""Further files of the bundle of ``doctor``: the record, the alerts, the page about the vendor."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bridge.adapters.local_socket import SOCKET_FILE, ask
from bridge.adapters.state_files import record_files
from bridge.adapters.state_files.private_file import STATE_FILES, read_own
from bridge.core.sources.vendor_watch import NAME
from bridge.errors import BridgeError
from bridge.recorder.record_file import MAX_FILE_BYTES
from bridge.settings import Settings

MAX_DOCUMENT_BYTES = 1024 * 1024


def records(settings: Settings) -> tuple[dict[str, bytes], Mapping[str, str]]:
    """Return records by name: of the running bridge now, or the newest there are.

    Besides, what stands for each serial in them, as far as that is known.

    Of several partitions each gateway of the process has one.

    Raises:
        BridgeError: There is none; the message says why the bridge made none.
        OSError: One cannot be read.
    """
    folder = Path(settings.state_folder)
    try:
        answer = ask(folder / SOCKET_FILE, {"record": "doctor"})
        found, serials = (
            [Path(str(path)) for path in answer.get("paths", [])],
            answer.get("serials", {}),
        )
    except BridgeError as error:
        found, serials = record_files.newest(folder), {}
        if not found:
            raise BridgeError(f"no record: {error}") from error
    return {path.name: record_files.load(path, MAX_FILE_BYTES) for path in found}, serials


def alerts(retained: Mapping[str, str]) -> str:
    """Return the open alerts as text: since when, what, and what to do.

    Args:
        retained: Payloads below ``<base>/bridge/``, by the rest of the topic.
    """
    lines = []
    for topic, payload in sorted(retained.items()):
        if topic.startswith("alert/"):
            said = _document(payload.encode())
            lines.append(f"{topic.removeprefix('alert/')}, since {said.get('since', '?')}")
            lines += [f"  {said.get(name, '?')}" for name in ("message", "hint")]
    return "".join(f"{line}\n" for line in lines or ["no alert is open"])


def vendor_page(settings: Settings) -> str:
    """Return a page about what the vendor changed, as Markdown."""
    path = Path(settings.state_folder) / STATE_FILES[NAME]
    try:
        facts = _document(read_own(path, largest=MAX_DOCUMENT_BYTES)).get("facts")
    except FileNotFoundError:
        facts = {}
    rows = [one for one in facts.values() if isinstance(one, dict)] if facts else []
    head = (
        "# Changes of the vendor's interface\n\n"
        "What the bridge found to be another than it knows, or than it was in the days before.\n\n"
    )
    if not rows:
        return f"{head}No change was found.\n"
    table = "| change | first seen | last seen | times |\n| --- | --- | --- | --: |\n"
    cells = ("sentence", "since", "seen", "count")
    return f"{head}{table}" + "".join(
        f"| {' | '.join(str(row.get(cell)) for cell in cells)} |\n"
        for row in sorted(rows, key=lambda row: str(row.get("since")))
    )


def _document(content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}

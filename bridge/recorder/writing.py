"""Writing of a record: redacted, replayed once, and packed. For a thread beside the loop."""

from collections.abc import Mapping
from dataclasses import replace

from bridge.core.records.moment import Timestamp
from bridge.core.value_format import iso_utc
from bridge.recorder.checking import digests
from bridge.recorder.record_file import redacted, written
from bridge.recorder.recording import Excerpt
from bridge.recorder.replaying import MakeCore, new_core
from bridge.settings import Settings


def content_of(
    excerpt: Excerpt,
    settings: Settings,
    secret: bytes,
    *,
    version: str,
    reason: str,
    now: Timestamp,
    make: MakeCore = new_core,
) -> tuple[bytes, Mapping[str, str]]:
    """Return the content of a record file, and the stand-ins of serials in it.

    It is replayed once: its digests are of the effects that this version has, so that another
    version tells where its own differ.

    Args:
        excerpt: What was recorded.
        settings: The configuration at the start.
        secret: Of the installation; nothing of it is in the record.
        version: Of the program.
        reason: Why it is written.
        now: When.
        make: Makes a core to replay in.

    Raises:
        RecordError: It cannot be written.
    """
    record, redactor = redacted(excerpt, settings, secret, version=version)
    record = replace(
        record, reason=reason, written_at=iso_utc(now.wall), digests=digests(record, make)
    )
    return written(record), redactor.serials

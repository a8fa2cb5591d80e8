"""Form of a record on disk, and how records of earlier versions are read.

A first line names the format; behind it are a SHA-256 and the compressed msgpack document that it
is of. Rules:

1. A file may come from anyone. What is damaged, foreign, too large or too new is one
   :class:`~bridge.errors.RecordError` in one line.
2. Records of earlier versions are read for a year: a format has a row in :data:`MIGRATIONS`, a
   class that was moved or renamed one in :data:`RENAMED`. A field that came since has its default,
   one that is gone is left out.
"""

import zlib
from collections.abc import Callable, Mapping
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Final

import msgspec

from bridge.errors import RecordError
from bridge.recorder.packing import Packed
from bridge.recorder.recording import Excerpt
from bridge.recorder.redaction import SALT, Redactor
from bridge.recorder.replaying import Record
from bridge.recorder.values import Plain, plain, value_of
from bridge.settings import Settings

FORMAT: Final = 3
MAGIC: Final = b"charger-bridge record "
MAX_FILE_BYTES: Final = 64 * 1024 * 1024
MAX_BYTES: Final = 512 * 1024 * 1024
DIGEST_BYTES: Final = 32
# How msgpack begins a map of few fields, and an array of any length.
MAP, ARRAY = 0x80, b"\xdd"
# By format: what makes a document of the next one of it.
# 1 had nothing of conventions with a connection of their own; what it had is what 2 has. The
# digests of 2 were of what is inside the core: no other version has the same.
MIGRATIONS: Final[Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]]] = MappingProxyType(
    {1: lambda document: document, 2: lambda document: document | {"digests": []}}
)
# Names of classes and rows in records of earlier versions, and what they are called now.
RENAMED: Final[Mapping[str, str]] = MappingProxyType({})


class _Document(msgspec.Struct):
    """What a record file holds."""

    program: str
    reason: str
    written_at: str
    settings: Any
    state: list[Any]
    entries: list[Any]
    digests: list[str] = []


def redacted(
    excerpt: Excerpt, settings: Settings, secret: bytes, *, version: str
) -> tuple[Record, Redactor]:
    """Return a record without what is not the program's own, and what redacted it.

    Args:
        excerpt: What was recorded.
        settings: The configuration at the start.
        secret: Of the installation: the salt of its hashes.
        version: Of the program.
    """
    said, state, entries = plain(settings), excerpt.states(), excerpt.stream()
    redactor = Redactor(secret)
    redactor.learn(said, *state, entries=entries)
    record = Record(
        value_of(redactor.plain(said)),
        version,
        SALT,
        [redactor.plain(one) for one in state],
        Packed(map(redactor.plain, entries)),
    )
    return record, redactor


def written(record: Record) -> bytes:
    """Return the content of a record file.

    It is a ``_Document``, of which one field, or one of the entries, is encoded at a time.
    """
    compressing, encode = zlib.compressobj(6), msgspec.msgpack.encode
    pieces = [compressing.compress(bytes([MAP | len(_Document.__struct_fields__)]))]
    for name in _Document.__struct_fields__:
        pieces.append(compressing.compress(encode(name)))
        if name == "entries":
            count = sum(1 for _ in record.entries)
            pieces.append(compressing.compress(ARRAY + count.to_bytes(4, "big")))
            pieces += (compressing.compress(encode(entry)) for entry in record.entries)
        else:
            held = record.version if name == "program" else getattr(record, name)
            said = plain(held) if name == "settings" else held
            pieces.append(compressing.compress(encode(said)))
    packed = b"".join((*pieces, compressing.flush()))
    return b"%s%d\n%s%s" % (MAGIC, FORMAT, sha256(packed).digest(), packed)


def read(content: bytes) -> Record:
    """Read the content of a record file.

    Raises:
        RecordError: It cannot be used; the message is one line.
    """
    if len(content) > MAX_FILE_BYTES:
        raise RecordError("is too large")
    head, _, _ = content[: len(MAGIC) + 20].partition(b"\n")
    if not head.startswith(MAGIC) or not head[len(MAGIC) :].isdigit():
        raise RecordError("is no record of charger-bridge")
    number = int(head[len(MAGIC) :])
    if number > FORMAT:
        raise RecordError(f"has format {number}; this version reads up to {FORMAT}: update it")
    body = content[len(head) + 1 :]
    digest, packed = body[:DIGEST_BYTES], body[DIGEST_BYTES:]
    if sha256(packed).digest() != digest:
        raise RecordError("is damaged or incomplete: copy it again")
    document = _document(packed, number)
    try:
        settings = value_of(_renamed(document.settings))
    except RecursionError as error:
        raise RecordError("is nested too deeply") from error
    if not isinstance(settings, Settings):
        raise RecordError("has no configuration")
    events = sum(type(entry) is not int for entry in document.entries)
    if len(document.digests) not in (0, events):
        raise RecordError("is damaged: it does not say of each event what it led to")
    return Record(
        settings,
        document.program,
        SALT,
        [_renamed(one) for one in document.state],
        [_renamed(one) for one in document.entries],
        document.reason,
        document.written_at,
        tuple(document.digests),
    )


def _document(packed: bytes, number: int) -> _Document:
    inflating = zlib.decompressobj()
    try:
        said = inflating.decompress(packed, MAX_BYTES)
        if inflating.unconsumed_tail:
            raise RecordError("is too large")
        if number == FORMAT:
            return msgspec.msgpack.decode(said, type=_Document)
        held = msgspec.msgpack.decode(said)
        for each in range(number, FORMAT):
            held = MIGRATIONS[each](held)
        return msgspec.convert(held, _Document)
    except (zlib.error, msgspec.MsgspecError, KeyError, TypeError, RecursionError) as error:
        raise RecordError("is damaged: it cannot be unpacked") from error


def _renamed(said: Plain) -> Plain:
    """Return a plain value with the names that this version uses."""
    if not RENAMED or not isinstance(said, list):
        return said
    return [RENAMED.get(one, one) if isinstance(one, str) else _renamed(one) for one in said]

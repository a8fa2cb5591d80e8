"""The file of a record: whole, of this program, and not newer than it."""

import json
import zlib
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.errors import RecordError
from bridge.recorder import record_file
from bridge.recorder.record_file import DIGEST_BYTES, MAGIC, read, redacted, written
from bridge.recorder.replaying import machine_of, messages, native, replay
from tests.recorder.recorded import SECRET, VERSION, Recorded

FIRST = Path(__file__).parent.parent / "data" / "record-format-1.rec"
FIRST_EVENTS = 296


@pytest.fixture(scope="module")
def content():
    """Return a record file."""
    recorded = Recorded()
    recorded.live()
    excerpt = recorded.recorder.excerpt()
    return written(redacted(excerpt, recorded.settings, SECRET, version=VERSION)[0])


def packed(document: object) -> bytes:
    """Return a file with a document, whatever that is."""
    said = zlib.compress(msgspec.msgpack.encode(document))
    return MAGIC + b"3\n" + sha256(said).digest() + said


def test_what_is_read_is_what_was_written(content):
    """A file has everything that a replay needs."""
    record = read(content)

    assert record.version == VERSION
    assert list(replay(record))
    assert written(record) == content


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda said: b"", "is no record"),
        (lambda said: b"PK\x03\x04" + said, "is no record"),
        (lambda said: said[:-1], "is damaged"),
        (lambda said: said[:40] + b"?" + said[41:], "is damaged"),
        (lambda said: said.replace(b"record 3", b"record 4", 1), "has format 4"),
        (lambda said: said.replace(b"record 3", b"record x", 1), "is no record"),
        (lambda said: packed([1]), "is damaged"),
        (lambda said: packed({"program": "1"}), "is damaged"),
        (lambda said: MAGIC + b"1\n" + sha256(b"x").digest() + b"x", "is damaged"),
    ],
)
def test_a_damaged_or_foreign_file_is_one_clear_line(content, change, why):
    """Whatever is wrong with it, the message says so in one line."""
    with pytest.raises(RecordError, match=why) as caught:
        read(change(content))

    assert "\n" not in str(caught.value)


def test_a_document_that_unpacks_without_end_is_refused(monkeypatch, content):
    """A small file that would be large in memory is not unpacked."""
    monkeypatch.setattr(record_file, "MAX_BYTES", 1000)
    with pytest.raises(RecordError, match="too large"):
        read(content)
    monkeypatch.setattr(record_file, "MAX_FILE_BYTES", 1000)
    with pytest.raises(RecordError, match="too large"):
        read(content)


def test_a_record_of_an_earlier_format_is_migrated(monkeypatch, content):
    """A document of an earlier format passes through what makes it one of the next."""
    monkeypatch.setattr(record_file, "FORMAT", 4)
    monkeypatch.setattr(record_file, "MIGRATIONS", {3: lambda held: held | {"reason": "migrated"}})

    assert read(content).reason == "migrated"


def test_a_record_of_the_first_format_is_replayed():
    """A file of a running gateway of November 2026 is read, for a year, and no component fails.

    Where this fails for a class or a row that was moved or renamed, it needs a row in ``RENAMED``.
    """
    record = read(FIRST.read_bytes())
    machine = machine_of(record)
    topics: dict[str, bytes] = {}
    steps = 0
    for step in replay(record, machine):
        steps += 1
        topics |= {one.topic: one.payload for one in messages(step, native(record, machine.core))}

    assert (steps, record.digests) == (FIRST_EVENTS, ())
    assert machine.core.contained.errors == 0
    assert topics["charger/bridge/cloud"] == b"connected"
    assert topics["charger/EH000004/state/dynamic_charger_current"] == b"7"
    assert json.loads(topics["charger/EH000004/session/report"])["charger_id"] == "EH000004"


def test_a_class_that_was_renamed_is_found(monkeypatch, content):
    """A name of an earlier version stands for what it is called now."""
    now = "bridge.core.events:StreamOpened"
    body = content[len(MAGIC) + 2 + DIGEST_BYTES :]
    older = zlib.decompress(body).replace(now.encode(), now.replace("Opened", "Openxx").encode())
    file = packed(msgspec.msgpack.decode(older))
    with pytest.raises(RecordError, match="this version has no"):
        list(replay(read(file)))
    monkeypatch.setattr(record_file, "RENAMED", {now.replace("Opened", "Openxx"): now})

    assert len(list(replay(read(file)))) == len(list(replay(read(content))))


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_no_damage_behind_the_checksum_raises_anything_else(content, data):
    """A file that was made on purpose is refused or replayed; nothing else leaves the reader."""
    document = msgspec.msgpack.decode(zlib.decompress(content[len(MAGIC) + 2 + DIGEST_BYTES :]))
    part = data.draw(st.sampled_from(["settings", "state", "entries"]))
    target = document[part]
    for _ in range(data.draw(st.integers(0, 6))):
        inner = [one for one in target if isinstance(one, list) and one]
        if not inner:
            break
        target = data.draw(st.sampled_from(inner))
    at = data.draw(st.integers(0, max(0, len(target) - 1)))
    target[at : at + 1] = [
        data.draw(st.none() | st.integers(-(2**63), 2**63) | st.text() | st.just(["r", 3]))
    ]
    try:
        for _step in replay(read(packed(document))):
            pass
    except RecordError as error:
        assert str(error)  # noqa: PT017 - both are allowed

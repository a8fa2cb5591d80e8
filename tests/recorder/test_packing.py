"""The packed form: what is unpacked has the plain form of what was packed."""

from datetime import timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bridge.core.events import (
    CloudResponse,
    MqttAcked,
    MqttConnected,
    ObservationsReceived,
    Tick,
    ValuesAcked,
)
from bridge.core.messages import Publish, Tag
from bridge.core.records.moment import Timestamp
from bridge.core.records.observation import RawObservation
from bridge.core.records.source_receipt import SourceReceipt
from bridge.recorder.packing import CHUNK_BYTES, Packer, plain_entry, unpacked, unpacked_entry
from tests.conftest import NOON

NOW = Timestamp(NOON, 1000.5)
# What a vendor's document may have for a value.
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
OBSERVATIONS = st.builds(
    RawObservation, st.text(), st.integers(0, 1000), st.none() | st.integers(1, 7), JSON, st.text()
)
MESSAGES = st.builds(
    Publish,
    st.text(),
    st.binary(),
    user_properties=st.lists(st.tuples(st.text(), st.text()), max_size=2).map(tuple),
    correlation=st.none() | st.binary(),
    telemetry=st.booleans(),
    parts=st.integers(1, 9),
)
EVENTS = (
    st.just(Tick())
    | st.builds(MqttAcked, MESSAGES, st.integers(0, 255))
    | st.builds(
        ValuesAcked, st.lists(MESSAGES).map(tuple), st.lists(MESSAGES, max_size=2).map(tuple)
    )
    | st.builds(
        ObservationsReceived,
        st.lists(OBSERVATIONS, max_size=4).map(tuple),
        st.sampled_from(("stream", "poll")),
    )
    | st.builds(CloudResponse, st.just(Tag("x", ("y", 1))), st.just(200), st.binary())
)
MOMENTS = st.builds(
    Timestamp,
    st.integers(0, 10**9).map(lambda ms: NOON + timedelta(milliseconds=ms)),
    st.floats(0, 1e9),
    st.booleans(),
    st.none() | st.just(NOON),
)
ENTRIES = st.lists(st.tuples(EVENTS, MOMENTS, st.integers(-1, 9)) | st.integers(1, 99))


def again(entries):
    """Return the plain form of entries that were packed one half after the other."""
    packer, half = Packer(), len(entries) // 2
    for each in (entries[:half], entries[half:]):
        packer.add_entries(each)
    return list(map(unpacked_entry, unpacked(packer.parts)))


@given(ENTRIES)
def test_what_is_unpacked_has_the_plain_form_of_what_was_packed(entries):
    """Integers of any size, documents and texts of any alphabet included."""
    assert again(entries) == list(map(plain_entry, entries))


def test_a_receipt_and_a_foreign_time_zone_are_kept():
    """What the short forms do not know is not lost."""
    said = (RawObservation("EH1", 1, None, "2", "now"),)
    receipt = SourceReceipt(1, 2)
    abroad = replace(NOW, wall=NOON.astimezone(timezone(timedelta(hours=2))))
    entries = [
        (ObservationsReceived(said, "amqp", receipt), NOW, 1),
        (Tick(), abroad, 0),
        (Tick(), replace(NOW, told=abroad.wall), 0),
        (MqttConnected(False, "5", 20), NOW, 2),
    ]

    assert again(entries) == list(map(plain_entry, entries))


def test_what_is_packed_is_a_fraction():
    """Compressed parts and what is not compressed yet are both counted."""
    packer = Packer()
    sizes = []
    for number in range(400):
        said = tuple(RawObservation("EH123456", 120, 3, f"{number}.5", "now") for _ in range(50))
        packer.add_entries([(ObservationsReceived(said), NOW, 1)])
        sizes.append(packer.bytes)

    assert packer.bytes == sum(map(len, packer.parts[:-1])) + len(packer._open) + 48 * len(
        packer._chunks
    )
    assert max(sizes) < 400 * 50 * 10 + CHUNK_BYTES


def test_what_cannot_be_encoded_is_said():
    """An error of the encoder reaches the caller, who ends the recording."""
    with pytest.raises(UnicodeEncodeError):
        Packer().add(["\ud800"])

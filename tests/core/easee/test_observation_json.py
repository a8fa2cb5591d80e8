"""Reading one record of an observation, wherever it comes from."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.easee import observation_json, rest_responses
from bridge.core.easee.decode import decode
from bridge.core.easee.signalr import Decoder
from bridge.core.records.observation import RawObservation
from bridge.errors import DecodeError

ID = "EH123456"
AT = "2026-11-22T11:00:00Z"
PLAIN = {"id": 109, "value": 3, "dataType": 4, "timestamp": AT}
SPELLINGS = [
    PLAIN,
    PLAIN | {"id": "109"},
    PLAIN | {"id": 109.0},
    PLAIN | {"dataType": "4"},
    PLAIN | {"unit": None},
    {"Id": 109, "Value": 3, "DataType": 4, "Timestamp": AT},
    {"ID": "109", "VALUE": 3, "DATATYPE": 4.0, "TIMESTAMP": AT},
]
UNREADABLE = [
    PLAIN | {"timestamp": None},
    PLAIN | {"timestamp": 1790000000},
    {key: value for key, value in PLAIN.items() if key != "timestamp"},
    {key: value for key, value in PLAIN.items() if key != "value"},
    PLAIN | {"value": json.loads("[" * 40 + "]" * 40)},
]
NOBODY_KNOWS = [PLAIN | {"id": wrong} for wrong in (None, "x", "", True, 1.5, -1, 2**40, [109])]


def by_stream(entry):
    """Send an entry as the hub does."""
    update = {"type": 1, "target": "ProductUpdate", "arguments": [entry | {"mid": ID}]}
    return Decoder().feed(json.dumps(update).encode() + b"\x1e")


def by_rest(entry):
    """Answer with an entry as the cloud does."""
    return rest_responses.observations(json.dumps([entry]).encode(), ID)


@pytest.mark.parametrize("entry", SPELLINGS)
def test_the_stream_and_rest_read_the_same_spellings(entry):
    """Ids in digits or as a float and keys in any case are the same observation by both ways."""
    expected = RawObservation(ID, 109, 4, 3, AT)

    assert by_stream(entry) == [expected]
    assert by_rest(entry) == rest_responses.ObservationList((expected,))


@pytest.mark.parametrize("entry", UNREADABLE)
def test_a_record_that_names_itself_goes_on_to_be_counted_by_its_id(entry):
    """Without a usable time or value it is refused where values are judged, by either way."""
    (told,) = by_stream(entry)
    assert by_rest(entry).observations == (told,)
    assert told.id == 109
    with pytest.raises(DecodeError, match="observation 109"):
        decode(told)


@pytest.mark.parametrize("entry", NOBODY_KNOWS)
def test_a_record_nobody_could_name_is_counted(entry):
    """Without an id it is an oddity of the stream, and a dropped entry of an answer."""
    (oddity,) = by_stream(entry)
    assert oddity.kind == "bad_arguments"
    assert rest_responses.observations(json.dumps([PLAIN, entry]).encode(), ID).dropped == 1


@given(
    st.dictionaries(
        st.sampled_from(["id", "Id", "value", "timestamp", "dataType", "mid", ""]),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    )
)
def test_any_record_is_read_or_refused(entry):
    """Nothing but DecodeError leaves, and what is read has an id and text for a time."""
    try:
        found = observation_json.observation(observation_json.lowered(entry), ID)
    except DecodeError:
        return
    assert 0 <= found.id <= observation_json.MAX_ID
    assert isinstance(found.timestamp, str)


def test_whole_numbers_stay_exact():
    """Ticks are over 2**53: taken as an int or in digits, never from a float that may have lost."""
    assert observation_json.whole(str(2**60 + 1)) == observation_json.whole(2**60 + 1) == 2**60 + 1
    assert observation_json.whole(2.0**60) is None

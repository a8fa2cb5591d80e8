import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.easee import json_fields
from bridge.errors import DecodeError


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"NaN", b"1e999", b'"\xff"', b"[" * 100_000, b'{"a":' * 100_000]
)
def test_what_is_no_json_is_a_decode_error(body):
    """Pages, broken text and recursion bombs end in the one named error."""
    with pytest.raises(DecodeError):
        json_fields.parse_json(body, "test")


def test_a_number_that_is_none_does_not_cost_what_it_stands_in():
    """Some writers put NaN where there is no number; a text is read as none by everybody."""
    read = json_fields.parse_json(
        b'[{"id":7,"kWh":NaN},{"id":8,"kWh":-Infinity},{"id":9,"kWh":1.5}]', "test"
    )

    assert read == [{"id": 7, "kWh": "NaN"}, {"id": 8, "kWh": "-Infinity"}, {"id": 9, "kWh": 1.5}]


@pytest.mark.parametrize(
    "body",
    [b"[NaN", b'["NaN" 1e999]', b'[NaN,"\\ud800"]', b"[NaN," + b"[" * 100_000, b"[NaN,1e999]"],
)
def test_broken_json_with_a_number_that_is_none_is_refused(body):
    """It is read more kindly, and no less safely."""
    with pytest.raises(DecodeError):
        json_fields.parse_json(body, "test")


def test_an_error_does_not_quote_what_must_not_be_seen():
    """With quoting off nothing of the body is in the error, nor in what it was raised from."""
    with pytest.raises(DecodeError) as caught:
        json_fields.parse_json(b'{"accessToken": "canary\xff"}', "login", quote=False)

    error = caught.value
    assert "canary" not in f"{error!r} {error.excerpt} {error.__cause__!r}"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (638_000_000_000_000_001, 638_000_000_000_000_001),
        ("638000000000000001", 638_000_000_000_000_001),
        (True, None),
        (1.0, None),
        ("٣", None),
        ("-1", None),
        ("1" * 5000, None),
        (None, None),
    ],
)
def test_integers_are_exact_or_none(value, expected):
    """Ticks keep every digit; what is no integer is None."""
    assert json_fields.integer(value) == expected


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_a_line_is_one_short_printable_line(text):
    """Whatever the other side wrote becomes one line without control characters."""
    line = json_fields.one_line(text)

    assert len(line) <= json_fields.MAX_LINE_LENGTH
    assert line.isprintable()


def test_a_line_has_no_markup_and_no_tricks():
    """Tags, escape sequences and direction marks do not get into a log."""
    assert json_fields.one_line("<h1>Bad</h1>\r\n\x1b[31mgate\u202eway") == "Bad [31mgate way"


@given(
    st.lists(
        st.none() | st.integers(-(2**53), 2**53) | st.text() | st.dictionaries(st.text(), st.none())
    )
)
def test_a_list_is_read_entry_by_entry(entries):
    """Each is the text that stands there."""
    texts = json_fields.list_entries(json.dumps(entries).encode(), "list")

    assert [json.loads(bytes(text)) for text in texts] == entries


def test_what_is_no_list_has_no_entries():
    """What is no JSON either is an error."""
    assert json_fields.list_entries(b'{"a": []}', "list") is None
    with pytest.raises(DecodeError):
        json_fields.list_entries(b"[1, <", "list")

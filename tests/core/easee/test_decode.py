import math
import struct
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.core.easee.decode import (
    MAX_TEXT_BYTES,
    REGISTRY,
    DataType,
    decode,
    spec_of,
)
from bridge.core.records.observation import RawObservation
from bridge.core.value_format import format_scalar
from bridge.errors import DecodeError

ID = "EH000001"
STAMP = "2026-11-22T12:00:00Z"
AT = datetime(2026, 11, 22, 12, tzinfo=UTC)
TAG = "04CANARY5A6B80"

WIRE = {
    DataType.BOOLEAN: ("True", True),
    DataType.DOUBLE: ("6.052999973297119", 6.053),
    DataType.INTEGER: ("3", 3),
    DataType.POSITION: ("59.91,10.75", "59.91,10.75"),
    DataType.STRING: ("some text", "some text"),
}
REST = {
    DataType.BOOLEAN: (True, True),
    DataType.DOUBLE: (6.052999973297119, 6.053),
    DataType.INTEGER: (3, 3),
    DataType.POSITION: ("59.91,10.75", "59.91,10.75"),
    DataType.STRING: ("some text", "some text"),
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def raw(value, data_type=None, number=300, at=STAMP):
    """Make an observation as it comes over the wire."""
    return RawObservation(ID, number, data_type, value, at)


def read(*args):
    """Decode what ``raw`` makes; return value and time."""
    observation = decode(raw(*args))
    assert (observation.charger_id, observation.spec) == (ID, spec_of(args[2]))
    return observation.value, observation.measured_at


def value_of(value, data_type, number=300):
    """Decode a value of an id that nobody has described, or of a named one."""
    return decode(raw(value, data_type, number)).value


@pytest.mark.parametrize("spec", REGISTRY.values(), ids=lambda spec: spec.name)
def test_every_row_is_read_from_the_stream_and_from_rest(spec):
    """Each row takes its own type as text with a type code, and as a JSON value without one."""
    text, expected = WIRE[spec.kind]
    assert read(text, int(spec.kind), spec.id) == (expected, AT)

    typed, expected = REST[spec.kind]
    assert read(typed, None, spec.id) == (expected, AT)


@pytest.mark.parametrize(
    ("number", "value", "label"),
    [
        (109, "3", "charging"),
        (96, "55", "pending_authorization"),
        (46, "25", "awaiting_authorization"),
    ],
)
def test_codes_have_labels(number, value, label):
    """A code says what it means."""
    assert decode(raw(value, 4, number)).label == label


def test_what_is_no_known_code_has_no_label():
    """An unknown code, a value of another type and a quantity have no label."""
    assert decode(raw("99", 4, 109)).label is None
    assert decode(raw("true", 2, 109)).label is None
    assert decode(raw("1.5", 3, 109)).label is None
    assert decode(raw("7.5", 3, 120)).label is None
    assert decode(raw("C", 6, 100)).label == "charging"


def test_the_type_in_the_message_wins():
    """Sources disagree on types, so the message is believed, not the table."""
    assert value_of("23.5", 3, 150) == 23.5
    assert value_of("23", 4, 150) == 23
    assert value_of("Yes", 2, 54) is True
    assert value_of("Yes", 6, 54) == "Yes"
    assert value_of("1", 3, 173) == 1


def test_numbers_that_are_names_stay_text():
    """A SIM card's 20 digits are kept to the last, whatever type the message claims."""
    digits = "89470000000000000012"
    assert value_of(digits, 4, 81) == digits
    assert value_of("0042", 4, 26) == "0042"


def test_a_type_that_nobody_knows_falls_back_to_the_table():
    """A missing or new type code does not lose the value."""
    assert value_of("3", None, 109) == 3
    assert value_of("3", 99, 109) == 3


def test_unnamed_ids_keep_the_json_type_they_have():
    """Over REST an id without a name is a number or a boolean where it is one."""
    observation = decode(raw(170.0, None, 156))

    assert (observation.value, observation.spec) == (170, spec_of(156))
    assert value_of(True, None) is True
    assert value_of(0.5, None) == 0.5
    assert value_of("170", 4) == 170
    assert value_of("170", None) == "170"


@pytest.mark.parametrize("text", ["1", "true", "True", "TRUE", "t", "T", "on", "yes", "Yes", "1.0"])
def test_everything_that_means_true(text):
    """Booleans are understood in all the spellings that clients have met."""
    assert value_of(text, 2) is True


@pytest.mark.parametrize(
    "text", ["0", "false", "False", "f", "off", "no", "NO", "0.0", 0, 0.0, False]
)
def test_everything_that_means_false(text):
    """The same for false, typed JSON included."""
    assert value_of(text, 2) is False


@pytest.mark.parametrize("text", ["", "2", "-1", "maybe", " true", "truetruetrue", None, 2, [], {}])
def test_everything_else_is_neither_true_nor_false(text):
    """Unknown is not false."""
    with pytest.raises(DecodeError):
        value_of(text, 2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("-0", 0),
        ("-144", -144),
        ("1.0", 1),
        ("007", 7),
        (5, 5),
        (5.0, 5),
        (str(2**63 - 1), 2**63 - 1),
        (f"-{2**63 - 1}", -(2**63) + 1),
    ],
)
def test_integers(text, expected):
    """Whole numbers are read however they are spelled."""
    value = value_of(text, 4)

    assert (value, type(value)) == (expected, int)


NO_INTEGERS = (
    *(
        "",
        "1.5",
        "1_000",
        "\u0661\u0662",
        "\u00b2",
        " 1",
        "1 ",
        "1\n",
        "+1",
        "0x10",
        "1e3",
        "NaN",
        "1,0",
    ),
    *(str(2**63), f"-{2**63}", "9" * 5000, 2**63, 1e300, 0.5, math.inf, math.nan, [1], True, None),
)
NO_DOUBLES = (
    *(
        "",
        ".",
        "1,5",
        "1.",
        ".5",
        "nan",
        "inf",
        "-Infinity",
        "1_0.5",
        "\u0661.\u0665",
        " 1.5",
        "1.5\n",
    ),
    *("1e999", "9" * 400, "1" * 100_000, 10**400, math.inf, math.nan, [], True, None),
)


@pytest.mark.parametrize("text", NO_INTEGERS)
def test_what_is_no_integer(text):
    """Digits of other scripts, separators and 64 bits are refused."""
    with pytest.raises(DecodeError):
        value_of(text, 4)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("6.052999973297119", b"6.053"),
        (6.052999973297119, b"6.053"),
        ("0.10000000149011612", b"0.1"),
        ("1277.872637", b"1277.872637"),
        ("7.0", b"7"),
        ("7", b"7"),
        ("-0.0", b"0"),
        ("20000.0", b"20000"),
        ("230.5", b"230.5"),
        ("1E-05", b"0.00001"),
        ("9007199254740991", b"9007199254740991"),
        ("123456789012", b"123456789012"),
        ("3.4028234663852886e38", b"34028235" + b"0" * 31),
        ("1.5e300", b"15" + b"0" * 299),
    ],
)
def test_doubles(text, expected):
    """Doubles lose the noise of a float32 and a needless fraction, and nothing else."""
    assert format_scalar(value_of(text, 3)) == expected


@pytest.mark.parametrize("text", NO_DOUBLES)
def test_what_is_no_double(text):
    """Only finite ASCII decimals are numbers."""
    with pytest.raises(DecodeError):
        value_of(text, 3)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
@example(struct.unpack("<f", b"\x01\x00\x00\x00")[0])
@example(3.4028234663852886e38)
def test_float32_survives_as_the_same_float32(value):
    """What a charger measured in float32 is the same float32 after decoding, in few digits."""
    decoded = value_of(repr(value), 3)
    digits = format_scalar(decoded).decode().lstrip("-").replace(".", "").strip("0")

    assert struct.pack("<f", decoded) == struct.pack("<f", value + 0.0)
    assert len(digits) <= 9 or decoded == value.__trunc__()


@given(st.decimals(min_value=-9999, max_value=9999, places=2))
def test_float32_noise_is_removed_exactly(measured):
    """A reading of six digits or fewer comes out as it was before it passed through a float32."""
    noisy = struct.unpack("<f", struct.pack("<f", float(measured)))[0]

    assert float(value_of(repr(noisy), 3)) == float(measured)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_doubles_that_are_no_float32_are_untouched(value):
    """Only noise is removed: any other double is published to its last digit."""
    assert float(value_of(repr(value), 3)) == pytest.approx(value, rel=6e-8, abs=1e-44)
    if abs(value) < 1e38 and struct.unpack("<f", struct.pack("<f", value))[0] != value:
        assert float(value_of(repr(value), 3)) == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", ""),
        ("null", "null"),
        ("blå\n", "blå\n"),
        (12, "12"),
        (1e-05, "0.00001"),
        (True, "true"),
        ({"a": [1, "ø"]}, '{"a":[1,"ø"]}'),
        ([], "[]"),
    ],
)
def test_texts(value, expected):
    """Texts are kept as they are, and JSON values of a text become their text."""
    assert value_of(value, 6) == expected


def test_texts_have_a_limit():
    """64 KiB of UTF-8 are taken and not a byte more; null and half characters are no text."""
    assert len(value_of("x" * 65_536, 6)) == 65_536
    for value in ("x" * 65_537, "ø" * 40_000, None, "\ud800", {"\ud800": 1}, 2**70):
        with pytest.raises(DecodeError):
            value_of(value, 6)


@pytest.mark.parametrize("number", [-1, 2**31, 10**30])
def test_ids_have_a_range(number):
    """An id that is none does not become a topic."""
    with pytest.raises(DecodeError):
        decode(raw("1", 4, number))


def test_a_bad_stamp_is_named():
    """An observation without a believable time is refused, and the reason says so."""
    with pytest.raises(DecodeError, match=r"observation 109: timestamp: .*"):
        decode(raw("3", 4, 109, at="0001-01-01T00:00:00Z"))


@pytest.mark.parametrize("number", [25, 36, 60, 69, 108, 128, 129, 140, 223, 241])
def test_errors_and_reprs_show_no_personal_data(number):
    """A tag that cannot be decoded stays out of the error, and one that can out of the repr."""
    with pytest.raises(DecodeError) as caught:
        decode(raw(TAG * MAX_TEXT_BYTES, 4, number))
    seen = f"{caught.value} {caught.value.reason} {caught.value.excerpt} {caught.value!r}"

    assert TAG not in seen
    assert TAG not in repr(decode(raw(TAG, 6, number)))


@given(
    number=st.sampled_from(sorted(REGISTRY)) | st.integers(),
    data_type=st.none() | st.integers(-1, 9),
    value=JSON,
    at=st.just(STAMP) | st.text(max_size=40),
)
def test_decoding_raises_nothing_but_decode_errors(number, data_type, value, at):
    """Whatever comes over the wire is a typed value or the one named error."""
    try:
        observation = decode(raw(value, data_type, number, at))
    except DecodeError:
        return
    assert isinstance(observation.value, bool | int | float | str)
    assert "e" not in format_scalar(observation.value).decode() or isinstance(
        observation.value, str | bool
    )

"""What commands and queries take, by their schemas and by their readers: the same."""

import json

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.easee.command_payloads import read_payload
from bridge.core.queries.catalogue import QUERIES
from bridge.core.records.moment import Timestamp
from bridge.errors import CommandRefused
from bridge.exports.payload_schemas import command_schema, query_schema
from tests.conftest import NOON

MAX_A = 25
JUDGES = {
    **{
        ("set", spec.name): jsonschema.Draft202012Validator(command_schema(spec, MAX_A))
        for spec in CATALOGUE.values()
    },
    **{
        ("get", query_spec.name): jsonschema.Draft202012Validator(query_schema(query_spec))
        for query_spec in QUERIES.values()
    },
}
KINDS = sorted(JUDGES)

# What people send, what nearly is that, and what is nothing of it. No whole number is a float here:
# to JSON Schema 1.0 is 1, which presses a button; to the reader it is none.
NUMBERS = st.one_of(
    st.integers(-2, 60),
    st.sampled_from([100, 101, 600, 601, 10_080, 10_081, 1_000_000_000, 1_000_000_001, -(10**9)]),
    st.sampled_from([0.5, 5.9, 6.5, 16.25, 24.9, 25.1, -0.5, 1e30]),
)
NUMERALS = st.one_of(
    st.builds(
        "{}{}{}{}".format,
        st.sampled_from(["", "+", "-"]),
        st.sampled_from(["", "0", "00"]),
        st.integers(0, 700),
        st.sampled_from(["", ".0", ".5", ".000", "."]),
    ),
    st.sampled_from(["1234567890", "0000000006", "1e1", "0.0000000001", "10080", "10081"]),
)
WORDS = st.sampled_from(
    [
        *("press", "PRESS", "On", "off", "TRUE", "false", "clear", "Clear", "null", "x"),
        *("auto", "AUTO", "ignore", "locked_1_phase", "locked_3_phase"),
        *("always", "never", "whitelisted", "only_whitelisted", "open", "account", "whitelist"),
        *("total_power", "observation_109", "observation_x", "109"),
    ]
)
TIMES = st.sampled_from(
    [
        "2026-11-22T12:00:00Z",
        "2026-11-22T12:00Z",
        "2026-11-22T12:00:00.123+01:00",
        "2026-11-22 12:00:00Z",
        "2026-11-22T12:00:00",
        "2026-13-22T12:00:00Z",
        "0000-11-22T12:00:00Z",
        "2026-11-21T00:00:00Z",
        "22:30Z",
        "22:30",
        "24:00",
    ]
)
SCALARS = st.one_of(NUMBERS, NUMERALS, WORDS, TIMES, st.booleans(), st.none())
ENVELOPES = st.fixed_dictionaries(
    {},
    optional={
        "id": st.text("az \n9é", max_size=66) | SCALARS,
        "ttl_s": SCALARS,
        "expires_at": TIMES | SCALARS,
    },
)
AMPS = st.sampled_from([0, 6, 16, 25, "6", "16.0"])
MINUTES = st.sampled_from([0, 30, "30", 10_080])
LIMITED = {"chargingCurrentLimit": st.sampled_from([0, 16, 25])}
MOMENT = st.just("2026-11-22T22:30:00Z")
FLAGS = {"isEnabled": st.booleans()}
RANGES = st.fixed_dictionaries(
    {"startTime": st.just("22:30Z"), "stopTime": st.just("06:00")}, optional=LIMITED
)
DAYS = st.fixed_dictionaries(
    {"dayOfWeek": st.integers(0, 6), "ranges": st.lists(RANGES, max_size=2)}
)
ZONES = st.sampled_from(["Europe/Oslo", "UTC", "America/New_York"])
ENABLED = {"enabled": st.booleans()}
CLOCKS = st.sampled_from(["00:00", "06:00", "22:30", "23:59"])
CURRENT = {"amps": st.sampled_from([6, 16, 25])}
WEEKDAY = st.sampled_from(["monday", "Sunday"])
STARTS = st.fixed_dictionaries({"start": CLOCKS}, optional=CURRENT)
NIGHTS = st.fixed_dictionaries({"start": CLOCKS, "stop": CLOCKS}, optional=CURRENT)
WEEK_NIGHTS = st.fixed_dictionaries(
    {"start": CLOCKS, "stop": CLOCKS, "from": WEEKDAY}, optional={"to": WEEKDAY, **CURRENT}
)
PHASES = {"phase1": AMPS, "phase2": AMPS, "phase3": AMPS}
PERIOD = {"from": st.just("2026-11-20T00:00:00Z"), "to": st.just("2026-11-21 00:00:00")}
# What each command with keys of its own takes.
GOOD = {
    "dynamic_charger_current": st.one_of(
        st.fixed_dictionaries({"amps": AMPS}, optional={"minutes": MINUTES}),
        st.fixed_dictionaries({"value": AMPS}, optional={"minutes": MINUTES}),
    ),
    "dynamic_circuit_current": st.one_of(
        st.fixed_dictionaries(PHASES, optional={"minutes": MINUTES}),
        st.fixed_dictionaries({"value": AMPS}, optional={"minutes": MINUTES}),
    ),
    "max_circuit_current": st.fixed_dictionaries(PHASES),
    "offline_max_circuit_current": st.fixed_dictionaries(PHASES),
    "rfid_pairing": st.fixed_dictionaries({"timeout": st.integers(1, 600)}),
    "basic_charge_plan": st.fixed_dictionaries(
        {"chargeStartTime": MOMENT},
        optional={
            "chargeStopTime": MOMENT | st.none(),
            "repeat": st.booleans(),
            "id": st.just("x"),
            **FLAGS,
            **LIMITED,
        },
    ),
    "weekly_charge_plan": st.fixed_dictionaries(
        {"days": st.lists(DAYS, max_size=7, unique_by=lambda day: day["dayOfWeek"])},
        optional=FLAGS,
    ),
    "delayed_schedule": st.fixed_dictionaries(
        {"timezone": ZONES, "periods": st.lists(STARTS, min_size=1, max_size=2)},
        optional=ENABLED,
    ),
    "daily_schedule": st.fixed_dictionaries(
        {"timezone": ZONES, "periods": st.lists(NIGHTS, min_size=1, max_size=3)},
        optional=ENABLED,
    ),
    "weekly_schedule": st.fixed_dictionaries(
        {"timezone": ZONES, "periods": st.lists(WEEK_NIGHTS, min_size=1, max_size=3)},
        optional=ENABLED,
    ),
    "history": st.fixed_dictionaries(
        {"name": st.sampled_from(["total_power", "observation_9", 109])}, optional=PERIOD
    ),
    "sessions": st.fixed_dictionaries({}, optional=PERIOD),
}
WITH_KEYS = [kind for kind in KINDS if kind[1] in GOOD]
KEYS = (
    *("value", "amps", "minutes", "phase3", "timeout", "name", "from", "to", "x", "id", "ttl_s"),
    *("chargeStopTime", "repeat", "isEnabled", "chargingCurrentLimit", "days", "dayOfWeek"),
    *("ranges", "startTime", "stopTime", "chargeStartTime", "expires_at"),
    *("enabled", "timezone", "periods", "start", "stop", "clear"),
)


def parts_of(value):
    """List an object and every object and list in it."""
    inside = value.values() if isinstance(value, dict) else value
    found = [value]
    for one in inside:
        if isinstance(one, dict | list):
            found += parts_of(one)
    return found


@st.composite
def asked(draw):
    """Draw what is sent to a topic: something it takes, or that with one thing changed."""
    kind = draw(st.sampled_from(KINDS) | st.sampled_from(WITH_KEYS))
    value = draw(GOOD.get(kind[1], SCALARS | st.just({})))
    if isinstance(value, dict):
        part = draw(st.sampled_from(parts_of(value)))
        match draw(st.sampled_from(["nothing", "set", "replace", "drop", "again"])), part:
            case "set", dict():
                part[draw(st.sampled_from(KEYS))] = draw(SCALARS)
            case "replace", dict() if part:
                part[draw(st.sampled_from(sorted(part)))] = draw(SCALARS)
            case "drop", dict() if part:
                del part[draw(st.sampled_from(sorted(part)))]
            case (("set" | "replace" | "drop"), list()):
                part.append(draw(SCALARS))
            case "again", list() if part and "dayOfWeek" not in part[0]:
                part.extend(part[:1] * draw(st.integers(1, 3)))
    value = draw(st.sampled_from([value, {"value": value}, [value]]))
    if isinstance(value, dict):
        value |= draw(ENVELOPES)
    return kind, value


def spelled(value, *, bare):
    """Write a payload: a text as it is where ``bare`` says so, else JSON."""
    return value if bare and isinstance(value, str) else json.dumps(value)


def seen(text):
    """Return what a schema looks at: the JSON, or the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text.strip(" \t\r\n")


def taken(kind, text):
    """Say whether the bridge's own reader takes a payload."""
    direction, name = kind
    try:
        value = read_payload(text.encode()).value
        if direction == "set":
            CATALOGUE[name].read(value, MAX_A)
        else:
            QUERIES[name].read(value, Timestamp(NOON, 0.0))
    except CommandRefused:
        return False
    return True


def _has_period(kind, value):
    """Say whether times, days or a zone are read that no schema can compare or look up."""
    return kind[1] in ("history", "sessions") or no_schema_can_refuse(kind[1], value)


@settings(max_examples=1000)
@given(asked(), st.booleans())
def test_schema_and_reader_agree(drawn, bare):
    """What the bridge takes is valid, and what it refuses is not."""
    kind, value = drawn
    text = spelled(value, bare=bare)
    is_valid, is_taken = JUDGES[kind].is_valid(seen(text)), taken(kind, text)

    assert is_valid or not is_taken, f"{kind}: taken, and not valid: {text}"
    # A period may be too long, or end before it begins.
    assert is_taken or not is_valid or _has_period(kind, text), f"{kind}: valid, refused: {text}"


RANGE = {"startTime": "22:30Z", "stopTime": "06:00", "chargingCurrentLimit": 16}
NOONISH = {"startTime": "12:00Z", "stopTime": "13:00Z"}
ZONED = {"enabled": True, "timezone": "Europe/Oslo"}
NIGHT = {"start": "22:30", "stop": "06:00", "amps": 16}
WHOLE = {
    "dynamic_charger_current": {"amps": 16, "minutes": 30},
    "dynamic_circuit_current": {"phase1": 0, "phase2": 6.5, "phase3": "25", "minutes": 30},
    "max_circuit_current": {"phase1": 0, "phase2": 6, "phase3": "25"},
    "rfid_pairing": {"timeout": 30},
    "basic_charge_plan": {
        "chargeStartTime": "2026-11-22T22:30:00Z",
        "chargeStopTime": None,
        "repeat": True,
        "isEnabled": True,
        "chargingCurrentLimit": 16,
    },
    "weekly_charge_plan": {
        "isEnabled": True,
        "days": [{"dayOfWeek": 6, "ranges": [RANGE, NOONISH]}, {"dayOfWeek": 0, "ranges": []}],
    },
    "delayed_schedule": {**ZONED, "periods": [{"start": "22:30", "amps": 16}]},
    "daily_schedule": {**ZONED, "periods": [NIGHT, {"start": "12:00", "stop": "13:00"}]},
    "weekly_schedule": {
        **ZONED,
        "periods": [
            {**NIGHT, "from": "monday", "to": "Tuesday"},
            {"start": "12:00", "stop": "13:00", "from": "sunday"},
        ],
    },
}
ODD = (
    *(
        None,
        True,
        "",
        "x",
        "1",
        1,
        2,
        3,
        5,
        6,
        7,
        25,
        26,
        6.5,
        -1,
        600,
        601,
        10_080,
        10_081,
        {},
        [],
    ),
    *("22:30Z", "24:00", "2026-11-22T22:30:00Z", "0.0", "-1", "off"),
)


def changed(value):
    """Yield a value with one thing changed, for every thing and every place in it."""
    for place in range(len(parts_of(value))):

        def copied(place=place):
            copy = json.loads(json.dumps(value))
            return copy, parts_of(copy)[place]

        _, part = copied()
        for key in KEYS if isinstance(part, dict) else range(len(part)):
            for odd in ODD:
                copy, there = copied()
                there[key] = odd
                yield copy
        for key in part if isinstance(part, dict) else range(len(part)):
            copy, there = copied()
            del there[key]
            yield copy
        if isinstance(part, list):
            copy, there = copied()
            there.append(RANGE)
            yield copy


BEYOND_A_SCHEMA = (
    "only once",
    "at least one range",
    "overlap",
    "is empty",
    "lies before",
    "a name",
)


def no_schema_can_refuse(name, text):
    """Say whether a schedule is refused for what no schema can say."""
    try:
        CATALOGUE[name].read(read_payload(text.encode()).value, MAX_A)
    except (CommandRefused, KeyError) as refusal:
        return any(words in str(getattr(refusal, "detail", "")) for words in BEYOND_A_SCHEMA)
    return False


@pytest.mark.parametrize("name", WHOLE)
def test_one_thing_changed_at_every_place(name):
    """Every key gone, misplaced or with another value is judged alike by schema and reader."""
    kind = "set", name
    verdicts = {taken(kind, json.dumps(WHOLE[name]))}
    assert verdicts == {True}
    for value in changed(WHOLE[name]):
        is_taken = taken(kind, json.dumps(value))
        verdicts.add(is_taken)
        is_valid = JUDGES[kind].is_valid(value)
        assert is_valid == is_taken or no_schema_can_refuse(name, json.dumps(value)), value
    assert verdicts == {True, False}


@given(asked())
def test_a_payload_of_one_command_means_the_same_to_all(drawn):
    """What fits one topic is sent to every other: schema and reader say the same of each."""
    text = json.dumps(drawn[1])
    for kind in KINDS:
        is_valid, is_taken = JUDGES[kind].is_valid(seen(text)), taken(kind, text)
        assert is_valid or not is_taken, (kind, text)
        assert is_taken or not is_valid or _has_period(kind, text), (kind, text)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("start", ["PRESS", "1", "{}", '{"id":"a","ttl_s":5}'], ["off", "2", '{"value":0}', "[]"]),
        ("enabled", ["on", "FALSE", '{"value":1}'], ["PRESS", "{}", "2", '{"on":true}']),
        ("dynamic_charger_current", ["0", "6.5", '{"amps":16,"minutes":30}'], ["5", "26", "-1"]),
        (
            "dynamic_circuit_current",
            ["5", '{"phase1":1,"phase2":2,"phase3":3}'],
            ['{"phase1":1,"phase2":2}', "26"],
        ),
        ("max_circuit_current", ["16"], ["16.5", '{"value":16,"minutes":3}']),
        ("led_strip_brightness", ["0", "100", "40.0"], ["101", "-1", "bright"]),
        ("phase_mode", ["auto", "AUTO", "3"], ["0", "4", "ignore"]),
        ("offline_charging_mode", ["never", "2", "only_whitelisted"], ["3", "sometimes"]),
        ("rfid_pairing", ["PRESS", "600", '{"timeout":1}'], ["601", '{"timeout":0}']),
        ("basic_charge_plan", ["null", "off"], ["on", "{}", '{"chargeStartTime":"22:00"}']),
        ("weekly_charge_plan", ['{"enabled":false}'], ['{"days":[{"dayOfWeek":7,"ranges":[]}]}']),
        ("daily_schedule", ["on", "clear", '{"start":"22:00"}'], ["{}", '{"clear":false}', "16"]),
        ("delayed_schedule", ["off", '{"clear":true}'], ['{"stop":"06:00"}', '{"start":"24:00"}']),
        ("weekly_schedule", ["false", '{"amps":16}'], ['{"start":"22:00"}', '{"amps":5}']),
    ],
)
def test_limits_and_words_of_a_command(name, good, bad):
    """The limits of the configuration and the words of the vendor are in the schema."""
    judge = JUDGES["set", name]

    assert [text for text in good if not judge.is_valid(seen(text))] == []
    assert [text for text in bad if judge.is_valid(seen(text))] == []
    assert [taken(("set", name), text) for text in (*good, *bad)] == (
        [True] * len(good) + [False] * len(bad)
    )


@pytest.mark.parametrize(
    "name",
    ["led_strip_brightness", "rfid_pairing", "dynamic_charger_current", "max_charger_current"],
)
@pytest.mark.parametrize("end", ["", ".0", ".5"])
def test_every_whole_number_as_a_text(name, end):
    """From 0 to 700, a text is a number of the schema exactly where the reader takes it."""
    kind = "set", name
    for number in range(701):
        text = json.dumps(f"{number}{end}")
        assert JUDGES[kind].is_valid(seen(text)) == taken(kind, text), text

"""The hub protocol codec."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.easee import signalr
from bridge.core.easee.signalr import (
    Close,
    Completion,
    Decoder,
    HandshakeResponse,
    batch_observations,
    subscribe,
)
from bridge.core.events import ChargerResponse, ObservationsReceived, StreamAnomaly
from bridge.core.records.observation import RawObservation

END = "\x1e"
OP_MODE = RawObservation("EH123456", 109, 4, "3", "2025-01-22T12:51:47Z")
TICKS = 638229301050930920


def record(message: object) -> bytes:
    """Write one record."""
    return (json.dumps(message) + END).encode()


def update(**changes: object) -> dict[str, object]:
    """Make a ProductUpdate."""
    argument = {
        "mid": "EH123456",
        "dataType": 4,
        "id": 109,
        "timestamp": "2025-01-22T12:51:47Z",
        "value": "3",
    }
    argument.update(changes)
    return {"type": 1, "target": "ProductUpdate", "arguments": [argument]}


def response(**changes: object) -> dict[str, object]:
    """Make a CommandResponse."""
    argument = {
        "serialNumber": "EH123456",
        "id": 22,
        "timestamp": "2023-06-21T07:41:45.093092Z",
        "deliveredAt": "2023-06-21T07:41:44.755Z",
        "wasAccepted": True,
        "resultCode": 0,
        "comment": "",
        "ticks": TICKS,
    }
    argument.update(changes)
    return {"type": 1, "target": "CommandResponse", "arguments": [argument]}


def decoded(message: object) -> object:
    """Decode one message with a decoder of its own."""
    (only,) = Decoder().feed(record(message))
    return only


MIXED = [
    {},
    update(),
    {"type": 6},
    update(value=None, id=250),
    {"type": 1, "target": "SubscribeToMyProduct", "arguments": []},
    response(),
    {"type": 3, "invocationId": "0", "result": None},
    update(mid=None),
    {"type": 7, "error": "gone", "allowReconnect": True},
]
STREAM = b"".join(map(record, MIXED)) + b"no json\x1e\x1e" + "æøå ☃".encode() + b"\x1e"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({}, HandshakeResponse()),
        ({"error": "no json here"}, HandshakeResponse("no json here")),
        ({"type": 7}, Close()),
        ({"type": 7, "error": "x", "allowReconnect": True}, Close("x")),
        ({"type": 7, "allowReconnect": False}, Close(allow_reconnect=False)),
        ({"type": 3, "invocationId": "4", "result": None}, Completion("4")),
        ({"type": 3, "invocationId": "4", "error": "no such"}, Completion("4", "no such")),
        ({"type": 3}, Completion("")),
        (update(), OP_MODE),
        (response(), ChargerResponse("EH123456", 22, TICKS, accepted=True, result_code=0)),
    ],
)
def test_documented_messages_are_read(message, expected):
    """Every message the vendor documents has its value."""
    assert decoded(message) == expected


@pytest.mark.parametrize(
    "message",
    [
        update() | {"target": "productUpdate"},
        update() | {"headers": {}, "invocationId": "9"},
        update(comment="new key", nested={"a": [1]}),
        update(id="109"),
        update(id=109.0),
        update(dataType="4"),
        {
            "type": 1,
            "target": "PRODUCTUPDATE",
            "arguments": [
                {"Mid": "EH123456", "DataType": 4, "ID": 109, "Timestamp": OP_MODE.timestamp}
                | {"Value": "3"},
                "a second argument",
            ],
        },
    ],
)
def test_other_spellings_of_an_observation_are_the_same_observation(message):
    """Case, extra keys and numbers as text do not matter."""
    assert decoded(message) == OP_MODE


@pytest.mark.parametrize("value", ["", "1.5", 7, 7.25, True, None, [1, 2], {"a": {"b": []}}])
def test_the_value_is_kept_as_it_came(value):
    """The codec does not judge values; the registry does."""
    observation = decoded(update(value=value))

    assert isinstance(observation, RawObservation)
    assert observation.value == value
    assert type(observation.value) is type(value)


@pytest.mark.parametrize(
    "message",
    [
        {"type": 1, "target": "ProductUpdate"},
        {"type": 1, "target": "ProductUpdate", "arguments": None},
        {"type": 1, "target": "ProductUpdate", "arguments": []},
        {"type": 1, "target": "ProductUpdate", "arguments": [None]},
        update(mid=7),
        update(mid=None),
        update(id=None),
        update(id="x"),
        update(id=True),
        update(id=1.5),
        update(id=-1),
        update(id=2**40),
        response(serialNumber=None),
        response(wasAccepted=None),
        response(wasAccepted="yes"),
    ],
)
def test_wrong_arguments_are_counted(message):
    """Null and wrong types are an oddity, never an error and never a guess."""
    oddity = decoded(message)

    assert isinstance(oddity, StreamAnomaly)
    assert oddity.kind == "bad_arguments"


@pytest.mark.parametrize("target", ["SubscribeToMyProduct", "ChargerUpdate", "", None, 5, ["x"]])
def test_unknown_targets_are_counted(target):
    """A target nobody told us about does no harm (evcc#11486)."""
    oddity = decoded({"type": 1, "target": target, "arguments": [{}]})

    assert isinstance(oddity, StreamAnomaly)
    assert oddity.kind == "unknown_target"


@pytest.mark.parametrize(
    "raw",
    [
        b"null",
        b"[]",
        b"7",
        b"{",
        b"\xff\xfe",
        b'{"type":1e999}',
        b'{"type":[]}',
        b'{"type":true}',
        b'{"type":99}',
        b'{"type":"1"}',
        b'"\\ud800"',
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"type":1,"target":"ProductUpdate","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"9" * 10_000,
    ],
)
def test_broken_records_are_counted(raw):
    """What is no hub message is an oddity, however deep or long."""
    decoder = Decoder()
    decoder.feed(b"{}\x1e")

    messages = decoder.feed(raw + b"\x1e" + record(update()))

    assert [type(m) for m in messages] == [StreamAnomaly, RawObservation]
    assert messages[0].kind == "broken_frame"


def test_only_the_first_answer_is_a_handshake():
    """A record without a type is the handshake answer once, and broken afterwards."""
    first, second = Decoder().feed(b"{}\x1e{}\x1e")

    assert first == HandshakeResponse()
    assert isinstance(second, StreamAnomaly)


def test_ticks_stay_exact():
    """Ticks are over 2**53 and name a command: not one may be lost, in digits or as a number."""
    for ticks in (TICKS, str(TICKS)):
        answer = decoded(response(ticks=ticks))
        assert isinstance(answer, ChargerResponse)
        assert answer.ticks == TICKS


@pytest.mark.parametrize("ticks", [None, "", "-5", "x", "9" * 40, 6.382e17, True, []])
def test_unreadable_ticks_are_none(ticks):
    """Ticks that cannot be exact are absent, and the response is kept."""
    answer = decoded(response(ticks=ticks))

    assert isinstance(answer, ChargerResponse)
    assert answer.ticks is None


def test_pascal_case_responses_are_read():
    """The spelling of a field log (evcc#8572) is understood too."""
    argument = {"SerialNumber": "EH123456", "ID": 22, "WasAccepted": False, "Ticks": TICKS}

    assert decoded({"type": 1, "target": "commandresponse", "arguments": [argument]}) == (
        ChargerResponse("EH123456", 22, TICKS, accepted=False, result_code=None)
    )


@given(st.lists(st.integers(0, len(STREAM)), max_size=40))
def test_any_split_gives_the_same_messages(cuts):
    """Where the bytes are cut never matters, not even inside a character."""
    edges = [0, *sorted(cuts), len(STREAM)]
    decoder = Decoder()

    messages = [m for a, b in pairwise(edges) for m in decoder.feed(STREAM[a:b])]

    assert messages == Decoder().feed(STREAM)
    assert len(messages) == len(MIXED) + 3 - 2  # a ping and an empty record say nothing


def test_text_frames_are_read_like_bytes():
    """Text and bytes give the same messages."""
    assert Decoder().feed(STREAM.decode()) == Decoder().feed(STREAM)


@pytest.mark.parametrize("chunk", [1 << 12, 1 << 22])
def test_an_oversized_record_is_skipped_once(chunk):
    """A record over the limit is one oddity, held in bounded memory; what follows is read."""
    limit = signalr.MAX_RECORD_BYTES
    stream = b"x" * (2 * limit) + b"\x1e" + record(update()) + b"y" * (limit + 1)
    decoder = Decoder()

    messages = []
    for start in range(0, len(stream), chunk):
        messages += decoder.feed(stream[start : start + chunk])
        assert len(decoder._held) <= limit

    oversized = StreamAnomaly("oversized", f"over {limit} bytes")
    assert messages == [oversized, OP_MODE, oversized]


@pytest.mark.parametrize("cut", [0, 1, 1 << 10, 1 << 20])
@pytest.mark.parametrize(
    "long", [update(comment="x" * (1 << 20)), {"type": 6, "x": "x" * (1 << 20)}]
)
def test_a_record_over_the_limit_is_skipped_however_it_is_cut(long, cut):
    """What would have been an observation, or something else, is one oddity."""
    stream, decoder = record(long) + record(update()), Decoder()

    messages = decoder.feed(stream[:cut]) + decoder.feed(stream[cut:])

    limit = signalr.MAX_RECORD_BYTES
    assert messages == [StreamAnomaly("oversized", f"over {limit} bytes"), OP_MODE]


@given(st.one_of(st.binary(max_size=300), st.text(max_size=300)))
def test_arbitrary_input_never_raises(data):
    """The decoder is total."""
    decoder = Decoder()
    decoder.feed(data)
    decoder.feed(b"\x1e")


@given(
    st.sampled_from([*map(record, MIXED), record(response()), record(update(value=[1]))]),
    st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=4)), min_size=1, max_size=6),
)
@pytest.mark.fault("F31")
def test_mutated_frames_never_raise(frame, mutations):
    """A valid frame with bytes replaced is read, or counted, and reading goes on."""
    mutated = bytearray(frame)
    for where, what in mutations:
        at = where % (len(mutated) + 1)
        mutated[at : at + len(what)] = what
    decoder = Decoder()

    decoder.feed(b"{}\x1e" + bytes(mutated) + b"\x1e")

    assert decoder.feed(record(update())) == [OP_MODE]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(["type", "target", "arguments", "error", "invocationId"]), JSON
    ),
    st.sampled_from([1, 3, 6, 7]),
    st.sampled_from(["ProductUpdate", "CommandResponse"]),
    st.dictionaries(
        st.sampled_from(
            ["mid", "id", "timestamp", "value", "dataType", "ticks", "serialNumber", "wasAccepted"]
        ),
        JSON,
    ),
)
def test_any_json_in_any_place_never_raises(envelope, kind, target, argument):
    """Well-formed records with any content give a message, and details are fit for a log."""
    whole = {"type": kind, "target": target, "arguments": [argument]}
    for message in (envelope, whole | envelope, whole):
        for item in Decoder().feed(record(message)):
            if isinstance(item, StreamAnomaly):
                assert item.detail.isprintable()
                assert len(item.detail) < 200


def test_observations_that_follow_each_other_become_one_event():
    """Runs are joined, and the order among different messages stays."""
    a, b, c = (decoded(update(id=i)) for i in (1, 2, 3))
    end = Completion("1")

    assert list(batch_observations([a, b, end, c])) == [
        ObservationsReceived((a, b)),
        end,
        ObservationsReceived((c,)),
    ]
    assert list(batch_observations([])) == []


def test_every_record_of_a_call_is_read():
    """Records come as several arguments, as an array in one, or mixed; none is passed over."""
    first, second = update()["arguments"][0], update(id=46, value="25")["arguments"][0]
    third, wrong = update(id=96, value="55")["arguments"][0], update(id="x")["arguments"][0]
    for arguments in ([first, second, third], [[first, second, third]], [first, [second, third]]):
        call = {"type": 1, "target": "ProductUpdate", "arguments": arguments}
        assert [message.id for message in Decoder().feed(record(call))] == [109, 46, 96]

    call = {"type": 1, "target": "ProductUpdate", "arguments": [wrong, first, None, wrong, second]}
    messages = Decoder().feed(record(call))
    assert [message.id for message in messages[:2]] == [109, 46]
    assert messages[2:] == [
        StreamAnomaly("bad_arguments", "ProductUpdate: id is not a number", times=2)
    ]


def test_every_answer_of_a_call_is_read():
    """Answers to several commands in one call are all answers."""
    answers = [response(id=number)["arguments"][0] for number in (22, 48)]
    for arguments in (answers, [answers]):
        call = {"type": 1, "target": "CommandResponse", "arguments": arguments}
        assert [message.command_id for message in Decoder().feed(record(call))] == [22, 48]


def test_very_many_observations_in_a_record_are_taken_in_portions():
    """Whoever takes them has other things to do in between; none is lost."""
    arguments = update()["arguments"] * 1000
    call = {"type": 1, "target": "ProductUpdate", "arguments": arguments}

    events = list(batch_observations(Decoder().feed(record(call))))

    assert max(len(event.observations) for event in events) <= signalr.MAX_BATCH
    assert sum(len(event.observations) for event in events) == 1000


@pytest.mark.parametrize(
    ("unit", "odd"),
    [
        (b"\x1e", 0),
        (b"  \n\x1e", 0),
        (b'{"type":6}\x1e', 0),
        (b'{ "type" : 6 }\x1e\x1e{"type":6}\x1e', 0),
        (b"{}\x1e", 1),
        (b"x\x1e{}\x1e", 2),
    ],
)
def test_records_that_say_nothing_cost_nothing(unit, odd, monkeypatch):
    """Megabytes of them are read as often as they differ, and make an event for each frame."""
    times, frames = (1 << 20) // len(unit), 16
    stream, size = unit * times, -(-len(unit) * times // frames)
    read, slowly = [], signalr._read
    monkeypatch.setattr(
        signalr, "_read", lambda record, *, shaken: read.append(1) or slowly(record, shaken=shaken)
    )
    signalr._read_short.cache_clear()
    decoder = Decoder()
    decoder.feed(b"{}\x1e")
    read.clear()

    events = [
        event
        for start in range(0, len(stream), size)
        for event in batch_observations(decoder.feed(stream[start : start + size]))
    ]

    assert len(read) <= 2
    assert len(events) <= frames
    assert sum(event.times for event in events) == odd * times


def test_outside_text_is_made_fit_for_a_log_line():
    """Control characters and length do not get through."""
    close = decoded({"type": 7, "error": "a\nb\x1b[31m" + "x" * 500})

    assert isinstance(close, Close)
    assert close.error is not None
    assert close.error.startswith("a?b?[31m")
    assert len(close.error) == signalr.MAX_TEXT_LENGTH


def test_records_we_send_end_as_they_must():
    """What goes out is a JSON document and the separator."""
    assert signalr.HANDSHAKE == '{"protocol":"json","version":1}' + END
    assert signalr.PING == '{"type":6}' + END
    assert subscribe("EH123456", "3") == (
        '{"type":1,"invocationId":"3","target":"SubscribeWithCurrentState",'
        '"arguments":["EH123456",true]}' + END
    )

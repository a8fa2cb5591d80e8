"""Messages of the partner feed: what is expected, and what is only tolerated."""

import json
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.easee.exchange_commands import ExchangeCommand
from bridge.core.easee.partner_feed import (
    MAX_BODY_BYTES,
    FeedLogin,
    RoutingKey,
    charger_of,
    command_body,
    command_exchange,
    command_key,
    login_request,
    read,
    read_key,
    read_login,
)
from bridge.core.easee.rest_requests import Endpoint
from bridge.core.events import ChargerResponse, StreamAnomaly
from bridge.core.records.observation import RawObservation
from bridge.errors import DecodeError
from tools.feed_sample import Redaction, lines

ONE = "EH123456"
AT = "2026-11-30T12:00:00Z"
STREAMED = {"mid": ONE, "dataType": 3, "id": 120, "timestamp": AT, "value": "7.5"}
LOGIN = {
    "server": "b-1.mq.eu-west-1.amazonaws.com",
    "port": 5671,
    "useSsl": True,
    "virtualHost": "/",
    "queueName": "Operator_7.Q",
    "exchangeName": "Operator_7.C.X",
    "username": "operator-7",
    "password": "canary-feed",
}


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("EH123456.O.120", RoutingKey(ONE, "O", 120)),
        ("EH123456.op.3", RoutingKey(ONE, "OP", 3)),
        ("EH123456.CR.48.638000000000000001", RoutingKey(ONE, "CR", 48, 638000000000000001)),
        ("EH123456.P", RoutingKey(ONE, "P")),
        ("EH123456.O.x", RoutingKey(ONE, "O")),
        ("EH123456", RoutingKey()),
        ("", RoutingKey()),
        ("a.b.c.d.e.f", RoutingKey()),
    ],
)
def test_a_routing_key_says_charger_kind_and_numbers(text, key):
    """What a key does not have stays empty."""
    assert read_key(text) == key


@pytest.mark.parametrize(
    "body",
    [
        STREAMED,
        [STREAMED],
        {"observations": [STREAMED]},
        {"Observations": [STREAMED], "count": 1},
        json.dumps(STREAMED),
        {name[:1].upper() + name[1:]: value for name, value in STREAMED.items()},
        {"SerialNumber": ONE, "ObservationId": "120", "Time": AT, "Value": "7.5", "DataType": 3},
    ],
)
@pytest.mark.parametrize("key", ["", "EH123456.O.120", "other"])
def test_an_observation_is_read_in_each_form_that_can_be_meant(key, body):
    """A bare object, a list, below a name, JSON in JSON, other spellings: the same observation."""
    assert read(key, json.dumps(body).encode()) == [RawObservation(ONE, 120, 3, "7.5", AT)]


def test_the_key_says_what_the_body_does_not():
    """The vendor's libraries put charger and id into the key and a typed value into the body."""
    body = json.dumps({"Timestamp": AT, "Value": 7.5}).encode()

    assert read("EH123456.O.120", body) == [RawObservation(ONE, 120, None, 7.5, AT)]


def test_a_package_brings_all_its_observations():
    """A list of several goes on in order."""
    body = json.dumps([STREAMED, STREAMED | {"id": 121, "value": "1"}]).encode()

    assert [each.id for each in read("EH123456.OP.3", body)] == [120, 121]


def test_a_response_takes_its_ticks_from_the_key():
    """Ticks and command come with the routing key, unless the body has them."""
    body = json.dumps({"WasAccepted": True, "ResultCode": 0, "Comment": ""}).encode()
    assert read("EH123456.CR.48.638000000000000001", body) == [
        ChargerResponse(ONE, 48, 638000000000000001, True, 0)
    ]

    hub = {"serialNumber": ONE, "id": 48, "ticks": 5, "wasAccepted": False, "resultCode": 1}
    assert read("", json.dumps(hub).encode()) == [ChargerResponse(ONE, 48, 5, False, 1)]


def test_a_pulse_says_nothing_we_use():
    """Whether a device is connected is told by its observation 250."""
    assert read("EH123456.P.1", b"anything") == []


@pytest.mark.parametrize(
    ("key", "body", "kind"),
    [
        ("EH123456.O.120", b"{", "broken_frame"),
        ("EH123456.O.120", b"[" * 100_000, "broken_frame"),
        ("EH123456.O.120", b"7", "unknown_target"),
        ("EH123456.X.1", b"[]", "unknown_target"),
        ("EH123456.O", b'{"Value":1}', "bad_arguments"),
        ("", b'{"id":120,"value":1}', "bad_arguments"),
        ("EH123456.CR.1.2", b'{"WasAccepted":"yes"}', "bad_arguments"),
        ("EH123456.O.120", b" " * (MAX_BODY_BYTES + 1), "oversized"),
    ],
)
def test_what_cannot_be_read_is_named_and_counted(key, body, kind):
    """An oddity is data: its kind is counted, and nothing ends."""
    (anomaly,) = read(key, body)

    assert isinstance(anomaly, StreamAnomaly)
    assert anomaly.kind == kind


@given(st.text(max_size=40), st.binary(max_size=80))
def test_reading_never_raises(key, body):
    """Whatever arrives becomes items."""
    for item in read(key, body):
        assert isinstance(item, RawObservation | ChargerResponse | StreamAnomaly)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["mid", "id", "Value", "wasAccepted", "x"]), inner)
    ),
    max_leaves=8,
)


@given(JSON)
def test_reading_any_json_never_raises(document):
    """Likewise with every shape of JSON."""
    for item in read("EH123456.O.120", json.dumps(document).encode()):
        assert isinstance(item, RawObservation | ChargerResponse | StreamAnomaly)


def test_the_login_is_read_and_hides_its_password():
    """Everything is taken as it is told; the repr has no password."""
    login = read_login(json.dumps(LOGIN).encode())

    assert login == FeedLogin(
        "b-1.mq.eu-west-1.amazonaws.com",
        5671,
        True,
        "/",
        "operator-7",
        "canary-feed",
        "Operator_7.Q",
        "Operator_7.C.X",
    )
    assert "canary" not in repr(login)
    assert login_request().path == "/api/streams/amqp/v2"
    assert login_request().endpoint is Endpoint.OTHER


@pytest.mark.parametrize("name", ["server", "username", "password", "queueName"])
def test_a_login_without_what_is_needed_is_refused_without_its_content(name):
    """The error names what is missing and repeats nothing."""
    with pytest.raises(DecodeError) as caught:
        read_login(json.dumps(LOGIN | {name: None}).encode())

    assert name.lower() in str(caught.value)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>"])
def test_a_login_that_is_no_object_is_refused(body):
    """A web page is no address."""
    with pytest.raises(DecodeError):
        read_login(body)


def test_a_command_says_until_when():
    """Id, expiry and arguments as the vendor documents them; ticks are part of the key."""
    until = datetime(2026, 11, 30, 12, tzinfo=UTC)
    command = ExchangeCommand(ONE, 48, ((1, "16"), (2, "0")), 638, until)
    body = command_body(command)

    assert json.loads(body) == {
        "Id": 48,
        "ExpiresAt": "2026-11-30T12:00:00Z",
        "Arguments": [{"Id": 1, "Value": "16"}, {"Id": 2, "Value": "0"}],
    }
    assert command_key(command) == "EH123456.C.48.638"


@pytest.mark.parametrize(
    ("key", "body", "charger_id"),
    [
        (f"{ONE}.O.120", b"{", ONE),
        ("x", json.dumps(STREAMED).encode(), ONE),
        ("x", json.dumps({"items": [{"Value": 1}, STREAMED]}).encode(), ONE),
        ("x", b"{", ""),
        ("x", b"[]", ""),
    ],
)
def test_whom_a_message_is_about(key, body, charger_id):
    """The body is read only where the key does not say it."""
    assert charger_of(key, body) == charger_id


@pytest.mark.parametrize(
    ("queue", "exchange"),
    [("Operator_7.Q", "Operator_7.C.X"), ("a.b.Q", "a.b.C.X"), ("Q", ""), (".Q", ""), ("x", "")],
)
def test_the_exchange_for_commands_is_named_after_the_queue(queue, exchange):
    """A queue of another form names none."""
    assert command_exchange(queue) == exchange


SAMPLES = sorted((Path(__file__).parents[2] / "data" / "partner_feed").glob("*.jsonl"))


def messages():
    """Yield name, routing key and body of every recorded message."""
    for sample in SAMPLES:
        for number, line in enumerate(sample.read_text().splitlines(), 1):
            message = json.loads(line)
            yield f"{sample.name}:{number}", message["key"], message["body"].encode()


def test_every_recorded_message_is_read():
    """A sample that somebody recorded (tools/feed_sample.py) holds nothing that is not known."""
    odd = [
        f"{where}: {item.kind}, {item.detail}"
        for where, key, body in messages()
        for item in read(key, body)
        if isinstance(item, StreamAnomaly)
    ]

    assert SAMPLES
    assert odd == []


CANARIES = ("EH987654", "04E1B2C3D4", "Elm Street", "+47 99", "someone@example.com", "gar4ge-wifi")


@pytest.mark.parametrize(
    ("key", "document"),
    [
        ("EH987654.O.120", {"mid": "EH987654", "id": 120, "value": "7.5", "timestamp": AT}),
        ("EH987654.O.128", {"Timestamp": AT, "Value": "04E1B2C3D4"}),
        ("EH987654.O.128", {"Timestamp": AT, "Value": 99887766}),
        ("EH987654.OP.1", [{"Id": 20, "Value": '{"address": "Elm Street"}', "Timestamp": AT}]),
        ("EH987654.O.9999", {"Timestamp": AT, "Value": '{"phone": "+47 99", "n": "EH987654"}'}),
        ("EH987654.O.129", {"Timestamp": AT, "Value": '{"Auth": "04E1B2C3D4", "Id": 7}'}),
        ("EH987654.X", {"owner": {"mail": ["someone@example.com"]}, "on": "true"}),
        ("EH987654.O.36", {"mid": "EH987654", "id": 36, "value": "gar4ge-wifi", "timestamp": AT}),
    ],
)
def test_a_recorded_sample_has_no_personal_data_and_keeps_its_form(key, document):
    """Serials are stand-ins, texts are hidden; names, times and numbers stay."""
    line = json.loads(Redaction().line(key, json.dumps(document).encode()))

    assert not [each for each in CANARIES if each in json.dumps(line)]
    assert "99887766" not in line["body"]
    assert line["key"] == key.replace("EH987654", "EH000001")
    shape = json.loads(line["body"])
    assert type(shape) is type(document)
    assert json.dumps(shape).count(AT) == json.dumps(document).count(AT)


def test_a_body_that_is_no_json_is_recorded_by_its_size():
    """It may hold anything."""
    line = json.loads(Redaction().line("EH987654.O.120", b"\xff\x00secret"))

    assert line["body"] == "8 bytes that are not JSON"


def test_what_is_recorded_is_put_back_in_its_order():
    """All of it with one refusal at the end, also where the queue holds fewer or somebody stops."""

    class Channel:
        def __init__(self):
            self.left, self.put_back = [1, 2], []

        def basic_get(self, _queue):
            if not self.left:
                return None, None, None
            method = SimpleNamespace(delivery_tag=self.left.pop(0), routing_key="EH987654.O.120")
            return method, None, b"{}"

        def basic_nack(self, tag, *, multiple, requeue):
            self.put_back.append((tag, multiple, requeue))

    whole, part, none = Channel(), Channel(), Channel()
    none.left.clear()
    assert len(list(lines(whole, "Q", 9))) == 2
    reading = lines(part, "Q", 9)
    next(reading)
    reading.close()
    assert list(lines(none, "Q", 9)) == []
    assert (whole.put_back, part.put_back) == ([(2, True, True)], [(1, True, True)])
    assert none.put_back == []

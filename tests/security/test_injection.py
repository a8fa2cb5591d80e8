"""Text from outside stays text: it becomes no topic, path, line, column or colour."""

import json

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from bridge import logs
from bridge.adapters.easee.http_client import HttpClient
from bridge.core.composition import Core
from bridge.core.easee import rest_requests, rest_responses
from bridge.core.effects import LogEntry, SendRequest
from bridge.core.events import (
    CloudFailed,
    CloudResponse,
    MqttConnected,
    MqttMessage,
    ObservationsReceived,
    Started,
    StreamSubscription,
)
from bridge.core.messages import AckToken, Publish
from bridge.core.records.moment import Timestamp
from bridge.core.records.observation import RawObservation
from bridge.errors import CloudRejected, CloudUnavailable, CommandRefused
from bridge.settings import EaseeSettings, LogSettings, Secret, Settings
from tests.conftest import NOON
from tests.native import handled

ONE = "EH123456"
NOW = Timestamp(NOON, 1000.0)
# What a serial may not become: another topic, another path, another host, another line.
HOSTILE = (
    "../accounts/profile", "EH123456/set/start", "EH123456/../x", "+", "#", "EH12345#", "EH+23456",
    "EH123456\n", "EH12\x003456", "EH123456?x=1", "//evil.example", "EH123456%2F", "\u0665H123456",
    "EH123456\x1b[2J", "\u202eEH123456", "E" * 65_000, "", "$SYS", "bridge", "eh123456", "EH 12345",
)  # fmt: skip
NASTY = '\n{"level":"info"} \x1b[31mred\x1b[0m\r\x07\u202eevil\u2028line\x9b2J'


def machine(*chargers: str) -> Core:
    """Make a machine that serves these, or what the account lists."""
    return Core(
        Settings(EaseeSettings("x@example.com", Secret("p"), chargers)), version="1", salt=b"salt"
    )


def listed(ids: tuple[str, ...]) -> list:
    """Let the account list chargers; return everything that follows from it."""
    core = machine()
    out = list(handled(core, Started(), NOW))
    out += handled(core, MqttConnected(False, "5", 20), NOW)
    call = next(effect for effect in out if isinstance(effect, SendRequest))
    body = json.dumps([{"id": one, "name": NASTY} for one in ids]).encode()
    out += handled(core, CloudResponse(call.tag, 200, body), NOW)
    for one in ids:
        raw = RawObservation(one, 109, 4, "3", "2026-11-22T11:59:00Z")
        out += handled(core, ObservationsReceived((raw,)), NOW)
    return out


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_crafted_serial_from_the_cloud_becomes_no_topic_and_no_path(hostile):
    """It is dropped where it comes in; topics and requests are about the sound one only."""
    out = listed((hostile, ONE))
    topics = [effect.topic for effect in out if isinstance(effect, Publish)]
    paths = [effect.request.path for effect in out if isinstance(effect, SendRequest)]

    assert {topic.split("/")[1] for topic in topics} == {"bridge", ONE}
    assert all(not set(topic) & set("+#\0\n") and len(topic) < 200 for topic in topics)
    lists = ("/api/chargers", "/api/accounts/products")
    assert all(ONE in path or path in lists for path in paths)


@given(st.text(max_size=40) | st.sampled_from(HOSTILE))
def test_only_a_serial_leads_to_a_url(text):
    """Whatever stands for a charger: a path of ours on the configured host, or a refusal."""
    base = "https://api.example.com"
    try:
        path = rest_requests.observations_request(text, (109,)).path
    except CommandRefused:
        return
    target = HttpClient(base)._checked(base, path)

    assert (target.scheme, target.host) == ("https", "api.example.com")
    assert target.path == f"/state/{text}/observations"


@pytest.mark.parametrize(
    "wanted",
    [
        "charger/EH123456/set/start", "charger/bridge/state", "charger/EH123456/state/op_mode",
        "charger/reply", "charger/reply/", "charger/reply/a/+", "charger/reply/#",
        "charger/reply/a\x00b", "charger/reply/" + "a" * 65_000, "charger/reply//x",
        "charger/replyx/a", "other/topic", "$SYS/broker", "/charger/reply/x",
        "charger/reply/../set/start", "homeassistant/switch/x/config",
    ],
)  # fmt: skip
def test_a_response_topic_is_no_deputy(wanted):
    """We publish with our own rights: only below the reply topics, never where we are told."""
    core = machine(ONE)
    list(handled(core, Started(), NOW))
    topic = f"charger/{ONE}/set/start"
    message = MqttMessage(topic, b"no", AckToken(1, 1, 1), response_topic=wanted, correlation=b"1")
    topics = [e.topic for e in handled(core, message, NOW) if isinstance(e, Publish)]

    allowed = wanted == "charger/reply/../set/start"  # levels are levels: MQTT has no dot segments
    assert [t for t in topics if t == wanted] == ([wanted] if allowed else [])
    assert f"charger/{ONE}/result/start" in topics


def test_a_retained_command_is_refused_however_often_it_comes():
    """A thousand retained commands at a start: a thousand refusals and no request."""
    core = machine(ONE)
    out = list(handled(core, Started(), NOW))
    out += handled(core, MqttConnected(False, "5", 20), NOW)
    before = [effect for effect in out if isinstance(effect, SendRequest)]
    out = []
    for number in range(1000):
        ack_token = AckToken(1, number % 65_535 + 1, 1)
        message = MqttMessage(f"charger/{ONE}/set/reboot", b"PRESS", ack_token, retained=True)
        out += handled(core, message, NOW)
    answers = [json.loads(e.payload) for e in out if isinstance(e, Publish) and "result" in e.topic]

    assert before
    assert [one["reason"] for one in answers] == ["retained"] * 1000
    assert not [effect for effect in out if isinstance(effect, SendRequest)]


def everything_outside_can_say() -> list:
    """Put a nasty text wherever the outside has a say; return what the core makes of it."""
    core = machine(ONE)
    out = list(handled(core, Started(), NOW))
    call = next(effect for effect in out if isinstance(effect, SendRequest))
    events = (
        CloudFailed(call.tag, CloudUnavailable(NASTY)),
        CloudFailed(call.tag, CloudRejected(NASTY, status=400, reason="bad_request")),
        StreamSubscription(ONE, NASTY),
        ObservationsReceived((RawObservation(ONE, 120, 3, NASTY, NASTY),)),
        ObservationsReceived((RawObservation(NASTY, 120, 3, "1", "2026-11-22T11:59:00Z"),)),
        MqttMessage(f"charger/{NASTY}/set/{NASTY}", NASTY.encode(), AckToken(1, 1, 1)),
        MqttMessage(f"charger/{ONE}/set/start", NASTY.encode(), AckToken(1, 2, 1)),
        MqttMessage(f"charger/{ONE}/get/{NASTY}", NASTY.encode(), AckToken(1, 3, 1)),
        MqttMessage("charger/bridge/session/ack", NASTY.encode(), AckToken(1, 4, 1)),
        MqttMessage("charger/bridge/session/replay", NASTY.encode(), AckToken(1, 5, 1)),
    )
    for event in events:
        out += handled(core, event, NOW)
    return out


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_outside_text_forges_a_line_or_moves_the_cursor(form, capsys):
    """Every note of the core is one line, and holds nothing a terminal would obey."""
    logs.configure(LogSettings("debug", form))
    log = structlog.get_logger()
    notes = [effect for effect in everything_outside_can_say() if isinstance(effect, LogEntry)]
    for note in notes:
        log.log({"debug": 10, "info": 20, "warning": 30, "error": 40}[note.level], note.event,
                **note.fields)  # fmt: skip
    lines = capsys.readouterr().err.removesuffix("\n").split("\n")

    assert len(notes) >= 6
    assert len(lines) == len(notes)
    assert all(logs.escape(line) == line for line in lines)


def test_names_of_the_cloud_are_in_no_document_of_ours():
    """A charger's name is text of whoever shares it, and none of it is published."""
    out = listed((ONE,))

    assert not [e for e in out if isinstance(e, Publish) and b"evil" in e.payload]


def test_a_pin_code_in_a_broken_list_is_in_no_error():
    """Bodies with pin codes are not quoted in messages, where logs and topics would show them."""
    core = machine()
    out = list(handled(core, Started(), NOW))
    call = next(effect for effect in out if isinstance(effect, SendRequest))
    body = b'{"pinCode":"canary-4713", "id":'
    out = list(handled(core, CloudResponse(call.tag, 200, body), NOW))
    said = repr([effect for effect in out if isinstance(effect, LogEntry | Publish)])

    assert rest_responses.charger_list(b"[]").dropped == 0
    assert "canary" not in said

from datetime import timedelta

import pytest
from msgspec.structs import replace

from bridge.core.addressees import SITE, Addressees
from bridge.core.commands.validation import correlation_text, id_of, reply_to_of, validate
from bridge.core.events import MqttMessage
from bridge.core.messages import AckToken
from bridge.core.records.moment import Timestamp
from bridge.core.records.reply_to import ReplyTo
from bridge.core.topics import SetTopic, Topics
from bridge.errors import CommandRefused
from bridge.settings import CommandSettings
from tests.conftest import NOON

KNOWN = {"EH123456", "not-a-serial"}
NOW = Timestamp(NOON, 100.0)
SETTINGS = CommandSettings(allow=("control", "dynamic_charger_current"), ttl_s=60)


def _message(payload=b"PRESS", **facts):
    return MqttMessage("ignored", payload, AckToken(1, 1, 1), **facts)


def _admit(message, command="start", charger_id="EH123456", now=NOW):
    return validate(message, SetTopic(charger_id, command), KNOWN, SETTINGS, now)


@pytest.mark.parametrize(
    ("message", "charger_id", "command", "reason"),
    [
        (_message(b"", retained=True), "EH999999", "nonsense", "retained"),
        (_message(b""), "EH123456", "reboot", "empty_payload"),
        (_message(b""), "EH123456", "nonsense", "empty_payload"),
        (_message(b"\xff"), "EH999999", "nonsense", "unknown_charger"),
        (_message(), "not-a-serial", "start", "unknown_charger"),
        (_message(b"\xff"), "EH123456", "nonsense", "unknown_command"),
        (_message(b"\xff"), "EH123456", "reboot", "not_allowed"),
        (_message(b"\xff"), "EH123456", "start", "invalid_value"),
        (_message(b"off"), "EH123456", "start", "invalid_value"),
        (_message(correlation=b"x" * 1025), "EH123456", "start", "invalid_value"),
        (_message(b"40"), "EH123456", "dynamic_charger_current", "over_limit"),
    ],
)
def test_the_first_thing_wrong_is_the_reason(message, charger_id, command, reason):
    """Refusals come in a fixed order: retained first, the value last."""
    with pytest.raises(CommandRefused) as refused:
        _admit(message, command, charger_id)

    assert refused.value.reason == reason


def test_a_command_of_something_else_says_of_what_it_is_one():
    """The message shows the caller that the name is right and the addressee is not."""
    known = Addressees({SITE: {"site/7"}})
    with pytest.raises(CommandRefused) as refused:
        validate(_message(), SetTopic("site/7", "start"), known, SETTINGS, NOW)

    assert refused.value.reason == "unknown_command"
    assert refused.value.detail == "start is a command of: charger"


@pytest.mark.parametrize(
    ("payload", "expiry_s", "trusted", "ttl_s"),
    [
        (b"PRESS", None, True, 60.0),
        (b"PRESS", 5, True, 5.0),
        (b"PRESS", 0, True, 0.0),
        (b'{"ttl_s":300}', None, True, 300.0),
        (b'{"ttl_s":5000}', None, True, 600.0),
        (b'{"ttl_s":30}', 20, True, 20.0),
        (b'{"ttl_s":30,"expires_at":"2026-11-22T12:00:10Z"}', 20, True, 10.0),
        (b'{"expires_at":"2026-11-22T11:59:50Z"}', None, True, -10.0),
        (b'{"expires_at":"2026-11-22T11:59:50Z"}', None, False, 60.0),
    ],
)
def test_the_shortest_wish_counts(payload, expiry_s, trusted, ttl_s):
    """Of all times given the shortest counts; a clock nobody trusts judges no deadline."""
    request = _admit(_message(payload, expiry_s=expiry_s), now=replace(NOW, trusted=trusted))

    assert request.ttl_s == ttl_s


@pytest.mark.parametrize(
    ("payload", "correlation", "shown", "name"),
    [
        (b"PRESS", None, None, None),
        (b"PRESS", b"", None, None),
        (b'{"id":"a"}', b"b", "a", "a"),
        (b"PRESS", b"b", "b", "b"),
        (b"PRESS", b"\xff", None, b"\xff"),
        (b"PRESS", b"a\n", None, b"a\n"),
    ],
)
def test_a_command_is_named_by_id_or_correlation_data(payload, correlation, shown, name):
    """The payload's id comes first, and the same text names the same however it came."""
    request = _admit(_message(payload, correlation=correlation))

    assert request.id == shown
    assert request.name == (None if name is None else ("EH123456", name))


def test_long_correlation_data_makes_a_short_name():
    """However long the Correlation Data is, what is remembered of it is short."""
    names = [_admit(_message(correlation=b"x" * n)).name for n in (65, 1000, 1000)]

    assert [len(name[1]) for name in names] == [32, 32, 32]
    assert names[0] != names[1] == names[2]


def test_a_refusal_names_the_command_where_it_can():
    """The id of a payload that is refused for its value is still returned."""
    assert id_of(_message(b'{"id":"a","value":"x"}')) == "a"
    for payload in (
        b'{"id":"a","ttl_s":0}',
        b'{"id":"a","expires_at":"soon"}',
        b'{"id":"a","value":1,"value":2}',
        b'{"id":"a","value":NaN}',
        b'{"id":"a","value":[[[[[[[[[]]]]]]]]]}',
    ):
        assert id_of(_message(payload, correlation=b"c")) == "a"
    for payload in (b'{"id":7}', b'["id"]', b'{"id":"a', b'{"id":"a\\n"}', b'{"id":"%065d"}' % 1):
        assert id_of(_message(payload)) is None
    assert id_of(_message(b'{"id":"a","value":"%05000d"}' % 1)) is None
    assert id_of(_message(b"\xff", correlation=b"c")) == "c"
    assert id_of(_message(b"\xff")) is None


def test_answers_go_only_where_answers_belong():
    """A Response Topic outside the reply prefix is not honoured."""
    topics = Topics("charger")

    assert reply_to_of(
        _message(response_topic="charger/reply/a", correlation=b"c"), topics
    ) == ReplyTo("charger/reply/a", b"c")
    assert reply_to_of(
        _message(response_topic="charger/bridge/state", correlation=b"c"), topics
    ) == (ReplyTo())
    assert reply_to_of(_message(), topics) == ReplyTo()


@pytest.mark.fault("F10")
def test_a_deadline_is_judged_on_the_wall_clock_once():
    """``expires_at`` is turned into seconds at arrival; from then on the clock may jump."""
    late = Timestamp(NOON + timedelta(seconds=9), 109.0)

    assert _admit(_message(b'{"expires_at":"2026-11-22T12:00:10Z"}'), now=late).ttl_s == 1.0


@pytest.mark.parametrize(
    ("correlation", "text"),
    [
        (None, None),
        (b"", None),
        (b"abc", "abc"),
        (b"\xff", None),
        (b"a\x00", None),
        (b"abcd", None),
    ],
)
def test_printable_correlation_data_is_an_id(correlation, text):
    """Correlation Data is shown as the id where it is a short printable text."""
    assert correlation_text(correlation, 3) == text

"""What the broker refuses is told for as long as that is so, and sent again."""

import json

from bridge.core.alerts import Alerts
from bridge.core.denied import AGAIN_S, Denied
from bridge.core.effects import SendDenied
from bridge.core.events import Moment
from bridge.core.messages import Publish
from bridge.core.topics import Topics
from tests.conftest import NOON

NOT_AUTHORIZED = 0x87
TOPIC_NAME_INVALID = 0x90
VALUE = Publish("charger/EH000001/state/op_mode", b"charging")
OTHER = Publish("charger/EH000002/state/op_mode", b"charging")
EVENT = Publish("charger/EH000001/event/error", b"{}", retained=False)


def at(mono_s):
    """A moment of which only the monotonic clock counts."""
    return Moment(NOON, mono_s)


def alerts(effects):
    """Return what is published as the alert, in order."""
    topic = "charger/bridge/alert/publication_refused"
    return [e.payload for e in effects if isinstance(e, Publish) and e.topic == topic]


def test_the_alert_stands_until_what_was_refused_is_taken():
    """Other acknowledgements do not make it flicker."""
    denied = Denied(Alerts(Topics()))
    (raised,) = alerts(denied.acked(VALUE, NOT_AUTHORIZED, at(0)))
    assert VALUE.topic in json.loads(raised)["message"]

    assert alerts(denied.acked(OTHER, 0, at(1))) == []
    assert alerts(denied.acked(OTHER, NOT_AUTHORIZED, at(2))) == []
    assert alerts(denied.acked(VALUE, 0, at(3))) == []
    assert alerts(denied.acked(OTHER, 0, at(4))) == [b""]
    assert denied.deadline_s() is None


def test_what_is_refused_is_sent_again_every_half_minute():
    """For as long as it is refused, and not before its time."""
    denied = Denied(Alerts(Topics()))
    list(denied.acked(VALUE, NOT_AUTHORIZED, at(0)))
    assert denied.deadline_s() == AGAIN_S
    assert list(denied.tick(at(AGAIN_S - 1))) == []

    for time in (1, 2):
        assert list(denied.tick(at(time * AGAIN_S))) == [SendDenied()]
        list(denied.acked(VALUE, NOT_AUTHORIZED, at(time * AGAIN_S)))
    list(denied.acked(VALUE, 0, at(3 * AGAIN_S)))
    assert list(denied.tick(at(4 * AGAIN_S))) == []


def test_what_is_not_tried_again_is_told_for_half_a_minute():
    """An event is over; a topic the broker cannot take stays one."""
    for message, reason_code in ((EVENT, NOT_AUTHORIZED), (VALUE, TOPIC_NAME_INVALID)):
        denied = Denied(Alerts(Topics()))
        assert len(alerts(denied.acked(message, reason_code, at(0)))) == 1

        (cleared,) = (e for e in denied.tick(at(AGAIN_S)) if isinstance(e, Publish))
        assert cleared.payload == b""
        assert denied.deadline_s() is None


def test_a_value_taken_on_another_connection_is_not_refused_any_more():
    """The alert ends with it, and nothing is due."""
    denied = Denied(Alerts(Topics()))
    assert list(denied.taken([VALUE])) == []
    list(denied.acked(VALUE, NOT_AUTHORIZED, at(0)))

    assert alerts(denied.taken([OTHER])) == []
    assert alerts(denied.taken([OTHER, VALUE])) == [b""]
    assert denied.deadline_s() is None

"""How long a message may have waited at the broker: as long as it did not hear of us."""

from hypothesis import given
from hypothesis import strategies as st

from bridge.core.commands.broker_absence import BrokerAbsence
from bridge.core.domain_events import BrokerAbsenceKnown
from bridge.core.events import (
    MqttAcked,
    MqttConnected,
    MqttDisconnected,
    MqttMessage,
    MqttUnreachable,
    Started,
)
from bridge.core.messages import AckToken, Publish
from bridge.core.records.moment import Timestamp
from tests.conftest import NOON

KEEPALIVE_S = 30
CONNECTED = MqttConnected(True, "5", 20)
SIGNS = (MqttMessage("x", b"", AckToken(1, 1, 1)), MqttAcked(Publish("x", b""), 0))


def at(seconds):
    """Return a moment."""
    return Timestamp(NOON, seconds)


def test_before_the_first_connection_the_earlier_process_tells():
    """This one was not heard of at all."""
    absence = BrokerAbsence(KEEPALIVE_S)
    absence.handle(Started(alive_at=NOON), at(0.0))
    assert list(absence.handle(CONNECTED, at(5.0))) == [BrokerAbsenceKnown(True, None, NOON)]


@given(
    st.lists(st.tuples(st.sampled_from(SIGNS), st.floats(0.0, 100.0)), max_size=5),
    st.floats(0.0, 1000.0),
    st.floats(0.0, 1000.0),
)
def test_it_is_the_time_since_the_last_sign_of_life(signs, silent_s, away_s):
    """A connection that was half open is noticed within two keepalives."""
    absence, seconds = BrokerAbsence(KEEPALIVE_S), 0.0
    absence.handle(CONNECTED, at(seconds))
    for sign, wait_s in signs:
        seconds += wait_s
        absence.handle(sign, at(seconds))
    list(absence.handle(MqttDisconnected("gone"), at(seconds + silent_s)))
    end = seconds + silent_s + away_s
    (known,) = absence.handle(MqttConnected(False, "5", 20), at(end))

    assert not known.session_present
    assert known.waited_s == end - max(seconds, seconds + silent_s - 2 * KEEPALIVE_S)


def test_a_connection_that_ended_is_one_that_is_not_there():
    """Whoever tells of the broker is given the reason."""
    outputs = list(BrokerAbsence(KEEPALIVE_S).handle(MqttDisconnected("gone"), at(0.0)))
    assert outputs == [MqttUnreachable("gone")]


def test_an_end_without_a_beginning_is_no_sign_of_life():
    """An attempt that failed before the first connection says nothing."""
    absence = BrokerAbsence(KEEPALIVE_S)
    list(absence.handle(MqttDisconnected("gone"), at(0.0)))
    (known,) = absence.handle(CONNECTED, at(1.0))
    assert known.waited_s is None

"""What STATE messages say of the primary host."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.conventions.sparkplug.primary_host import PrimaryHost
from bridge.errors import DecodeError


def told(host, online, timestamp):
    """Hand over a STATE message; an old one is refused."""
    text = f'{{"online":{str(online).lower()},"timestamp":{timestamp}}}'
    try:
        host.told(text.encode())
    except DecodeError:
        return False
    return True


def test_without_a_configured_host_the_node_may_publish_always():
    """Also after its connection was lost."""
    host = PrimaryHost(None)
    host.disconnected()

    assert host.is_online


def test_a_host_is_offline_until_it_says_otherwise():
    """And again after our connection was lost: it may have gone meanwhile."""
    host = PrimaryHost("scada")
    assert not host.is_online
    assert told(host, True, 1000)
    assert (host.is_online, host.session) == (True, 1000)
    host.disconnected()
    assert not host.is_online
    assert told(host, True, 1000)
    assert host.is_online


def test_an_old_will_changes_nothing():
    """The broker may publish it behind the next birth of the host."""
    host = PrimaryHost("scada")
    told(host, True, 2000)

    assert not told(host, False, 1999)
    assert host.session == 2000
    assert told(host, False, 2000)
    assert not host.is_online


def test_each_birth_of_the_host_is_another_session():
    """Its timestamp tells them apart."""
    host = PrimaryHost("scada")
    told(host, True, 1000)
    told(host, True, 2000)

    assert host.session == 2000


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"ONLINE",
        b"[]",
        b'{"online":1,"timestamp":1}',
        b'{"online":true}',
        b"\xff",
        b"{" * 9999,
    ],
)
def test_what_is_no_state_message_is_refused(payload):
    """And changes nothing."""
    host = PrimaryHost("scada")
    told(host, True, 1000)
    with pytest.raises(DecodeError):
        host.told(payload)

    assert host.session == 1000


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=12))
def test_what_counts_is_the_newest_message(messages):
    """Of equal timestamps the later one."""
    host = PrimaryHost("scada")
    newest = None
    for online, timestamp in messages:
        told(host, online, timestamp)
        if newest is None or timestamp >= newest[1]:
            newest = (online, timestamp)

    assert host.is_online == bool(newest and newest[0])

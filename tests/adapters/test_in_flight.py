"""What the kernel does with a request that it cannot get rid of, on sockets of this machine."""

import socket

import pytest

from bridge.adapters import in_flight
from bridge.adapters.in_flight import mortal, sent_within, unacknowledged
from tests.mosquitto import until

pytestmark = pytest.mark.anyio


@pytest.fixture
def pair():
    """A connection over TCP: ours, and that of somebody who does not read by himself."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
        ours.setblocking(False)
        theirs.settimeout(10.0)
        with ours, theirs:
            yield ours, theirs


def fill(sock):
    """Write until the kernel takes no more; return how much it took."""
    taken = 0
    try:
        while True:
            taken += sock.send(bytes(65_536))
    except BlockingIOError:
        return taken


def drained(sock):
    """Read to the end; return how much came."""
    came = 0
    while data := sock.recv(65_536):
        came += len(data)
    return came


def life_ms(sock):
    """How long the kernel lets a connection live that is not acknowledged; 0 for its own time."""
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)


def test_what_was_not_sent_dies_with_the_connection(pair):
    """The other side gets a reset in place of the rest; without that it would get all of it."""
    ours, theirs = pair
    mortal(ours)
    fill(ours)
    ours.close()

    with pytest.raises(ConnectionResetError):
        drained(theirs)


def test_without_that_the_kernel_sends_it_after_the_end(pair):
    """The test above can fail."""
    ours, theirs = pair
    taken = fill(ours)
    ours.close()

    assert drained(theirs) == taken


async def test_a_life_is_lengthened_while_there_is_time_and_no_longer(pair):
    """Short at first, then as long as it has lasted and a little; never beyond the end."""
    ours, _ = pair
    left_s = [10.0]
    fill(ours)
    with sent_within(ours, lambda: left_s[0]):
        assert life_ms(ours) == 250
        left_s[0] = 7.0
        await until(lambda: life_ms(ours) == 3250)
        left_s[0] = 0.1
        await until(lambda: life_ms(ours) > 3250)
        assert 3250 < life_ms(ours) < 10_000

    assert life_ms(ours) == 0


async def test_what_was_acknowledged_is_left_alone(pair):
    """The answer may take as long as it takes; nothing of ours is left in the kernel."""
    ours, theirs = pair
    with sent_within(ours, lambda: 5.0):
        ours.send(b"request")
        assert life_ms(ours) == 250
        assert theirs.recv(99) == b"request"
        await until(lambda: life_ms(ours) == 0)
        assert unacknowledged(ours) == 0


async def test_time_that_is_over_is_not_for_ever(pair):
    """0 would mean the kernel's own quarter of an hour."""
    ours, _ = pair
    with sent_within(ours, lambda: 0.0):
        assert life_ms(ours) == 1


async def test_a_system_that_cannot_is_left_alone(pair, monkeypatch):
    """The deadline of whoever sends is all there is then."""
    monkeypatch.setattr(in_flight, "USER_TIMEOUT", None)
    ours, _ = pair
    with sent_within(ours, lambda: 5.0):
        assert life_ms(ours) == 0


async def test_a_socket_that_is_gone_is_no_error(pair):
    """Whoever waits for the answer will hear of it."""
    ours, _ = pair
    with sent_within(ours, lambda: 5.0):
        ours.close()
        mortal(ours)
        assert unacknowledged(ours) == 0

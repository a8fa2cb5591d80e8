"""What a service manager is told, over a socket like systemd's."""

import contextlib
import os
import socket

import pytest

from bridge.monitoring.systemd_notify import SystemdNotifier


@contextlib.contextmanager
def listening(address):
    """Listen as systemd does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        manager.settimeout(5)
        yield manager


@pytest.mark.parametrize("abstract", [False, True])
def test_every_word_arrives_as_systemd_spells_it(tmp_path, abstract):
    """Ready, alive and stopping, over a socket file or a name without one."""
    address = f"@charger-bridge-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with listening(address) as socket_:
        notifier = SystemdNotifier({"NOTIFY_SOCKET": address})
        assert notifier.ready()
        assert notifier.alive()
        assert notifier.stopping()
        said = [socket_.recv(64) for _ in range(3)]

    assert said == [b"READY=1", b"WATCHDOG=1", b"STOPPING=1"]


@pytest.mark.parametrize("address", ["", "relative/path", "/nobody/listens/here", "/a\0b", "@"])
def test_without_a_manager_nothing_happens(address):
    """A terminal, a container, a manager that went away: nothing is raised, nothing waits."""
    assert not SystemdNotifier({"NOTIFY_SOCKET": address}).ready()


def test_a_manager_that_does_not_read_holds_nobody_up(tmp_path):
    """A full socket is a lost word, not a bridge that stands still."""
    address = str(tmp_path / "notify")
    with listening(address):
        notifier = SystemdNotifier({"NOTIFY_SOCKET": address})
        said = [notifier.alive() for _ in range(5000)]

    assert said[0]
    assert not said[-1]


@pytest.mark.parametrize(
    ("environ", "every_s"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "²"}, None),
        ({}, None),
    ],
)
def test_it_is_fed_twice_in_each_period(environ, every_s):
    """The period is the environment's, and only if it is meant for this process."""
    assert SystemdNotifier(environ).feed_every_s == every_s

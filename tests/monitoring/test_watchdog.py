"""The watchdog: what is stuck is noticed, what only stood still is left alone."""

import os
import socket
import threading

from structlog.testing import capture_logs

from bridge.monitoring.systemd_notify import SystemdNotifier
from bridge.monitoring.watchdog import LivenessRegistry, Watchdog, where
from tests.conftest import PATIENCE_S

NOBODY = SystemdNotifier({})


def test_a_promise_is_overdue_until_it_is_renewed_or_kept(clock):
    """Each name is due on its own, by the monotonic clock."""
    liveness = LivenessRegistry(clock)
    liveness.expect("mqtt", 10.0)
    liveness.expect("store", 20.0)
    clock.advance(11)
    assert liveness.overdue() == ("mqtt",)

    liveness.expect("mqtt", 10.0)
    clock.advance(10)
    assert liveness.overdue() == ("store",)

    liveness.done("store")
    liveness.done("never promised")
    assert liveness.overdue() == ()


def test_only_looks_without_a_beat_are_counted():
    """However much time lies between two looks, one beat between them is enough."""
    watchdog = Watchdog(NOBODY, looks=3)
    for _ in range(10):
        watchdog.beat()
        assert watchdog.look()
        assert watchdog.look()
        assert watchdog.look()

    assert not watchdog.look()


def test_the_managers_period_makes_the_looks_closer_and_not_the_patience_shorter():
    """With a short WATCHDOG_USEC it is fed in time; a stuck loop still has its minute."""
    eager = Watchdog(SystemdNotifier({"WATCHDOG_USEC": "2000000"}), every_s=5.0, looks=12)
    eager.beat()

    assert sum(eager.look() for _ in range(100)) == 60


def test_the_manager_is_told_once_that_we_are_ready_and_fed_while_all_is_well(tmp_path):
    """READY comes with the first beat; after the last permitted look nobody is fed."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        listener.setblocking(False)
        watchdog = Watchdog(SystemdNotifier({"NOTIFY_SOCKET": address}), looks=2)
        watchdog.beat()
        watchdog.beat()
        looks = [watchdog.look() for _ in range(4)]
        said = [listener.recv(64) for _ in range(3)]

        assert looks == [True, True, False, False]
        assert said == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]


def test_a_thread_that_stands_still_ends_the_process_and_says_where():
    """Status 75, with file and line of where it stands and none of the values there."""
    left: list[int] = []
    done = threading.Event()
    release = threading.Event()

    def leave(status: int) -> None:
        left.append(status)
        done.set()

    def stuck() -> None:
        secret = "hunter2"  # what a local variable may hold
        watchdog.start()
        release.wait(PATIENCE_S)
        assert secret

    watchdog = Watchdog(NOBODY, every_s=0.01, looks=3, leave=leave)
    with capture_logs() as lines:
        thread = threading.Thread(target=stuck)
        thread.start()
        assert done.wait(PATIENCE_S)
        release.set()
        thread.join()

    assert left == [os.EX_TEMPFAIL]
    assert [line["event"] for line in lines] == ["watchdog.stuck"]
    assert "test_watchdog.py" in lines[0]["where"]
    assert "hunter2" not in str(lines)


def test_a_log_that_hangs_does_not_hold_up_the_end(monkeypatch):
    """Whatever is stuck may have the log with it; the process ends all the same."""
    left = threading.Event()
    release = threading.Event()
    watchdog = Watchdog(NOBODY, every_s=0.01, looks=2, leave=lambda _: left.set())
    monkeypatch.setattr(watchdog, "_last_word", lambda: release.wait(PATIENCE_S))
    monkeypatch.setattr("bridge.monitoring.watchdog.LAST_WORD_S", 0.05)
    watchdog.start()

    assert left.wait(PATIENCE_S)
    release.set()


def test_a_watchdog_that_was_stopped_bites_nobody():
    """Whoever ends it in order is not bitten afterwards."""
    left = threading.Event()
    watchdog = Watchdog(NOBODY, every_s=0.05, looks=2, leave=lambda _: left.set())
    watchdog.start()
    watchdog.stop()

    assert not left.wait(0.5)


def test_a_thread_that_ended_is_nowhere():
    """A thread that is gone is named so instead of failing the last word."""
    thread = threading.Thread(target=bool)
    thread.start()
    thread.join()

    assert where(thread.ident or 0) == "the thread has ended"

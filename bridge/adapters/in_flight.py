"""Withdraws expired requests from the kernel's send buffers.

A request that was written lies in the kernel, which sends it again and again while packets vanish:
first after a fifth of a second, then after twice as long each time, for a quarter of an hour, and
also when the process that wrote it is long dead.

Rules:

1. A connection that is closed, or whose process dies, takes along what was not sent (``SO_LINGER``
   with no time). The other side learns of it by a reset; there is no farewell.
2. While a request is not acknowledged its connection is given a short life (``TCP_USER_TIMEOUT``)
   that is lengthened while there is time. The kernel waits no longer between two tries than such
   a life: so an outage that ends in time is survived. And it gives up soon when it is not extended:
   so a process that stands still sends nothing late.
3. The kernel counts that life from its first try again, which it makes one or two of its
   timeouts after the first; the last one is shorter by that much.
4. Where a system has neither (not Linux), the deadline of the sender ends the connection, and
   the first rule keeps a dead process from sending.
"""

import asyncio
import contextlib
import fcntl
import socket
import struct
import sys
import termios
from collections.abc import Callable, Iterator
from typing import Final

# What the life is lengthened by, and how often. The kernel's own first timeout comes on top, so a
# loop that stands still for half a second loses no connection.
LIFE_S: Final = 0.25
EVERY_S: Final = 0.1
USER_TIMEOUT: Final[int | None] = getattr(socket, "TCP_USER_TIMEOUT", None)
# struct tcp_info of Linux: eight bytes, then tcpi_rto in microseconds.
TCP_INFO: Final = 11
RTO: Final = struct.Struct("8xI")
INT_BYTES: Final = 4
LINGER_ZERO: Final = struct.pack("ii", 1, 0)


def mortal(sock: socket.socket) -> None:
    """Discard unsent data when the connection closes or the process ends (rule 1)."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)


@contextlib.contextmanager
def sent_within(sock: socket.socket, left_s: Callable[[], float]) -> Iterator[None]:
    """Keep the kernel from sending later than the deadline; acknowledged data is not affected.

    Args:
        sock: A connected TCP socket; what is written to it inside is meant.
        left_s: Tells the seconds that are left.
    """
    if USER_TIMEOUT is None:
        yield
        return
    limit = _Limit(sock, USER_TIMEOUT, left_s)
    limit.lengthen()
    try:
        yield
    finally:
        limit.lift()


def unacknowledged(sock: socket.socket) -> int:
    """Return how many bytes are not acknowledged; 0 where the system does not report it."""
    try:
        answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(INT_BYTES))
    except (OSError, ValueError):  # it is closed
        return 0
    return int.from_bytes(answer, sys.byteorder)


class _Limit:
    """The time limit of one connection while a request is in progress."""

    def __init__(self, sock: socket.socket, option: int, left_s: Callable[[], float]) -> None:
        self._sock = sock
        self._option = option
        self._left_s = left_s
        self._all_s = left_s()
        self._longest_s = self._all_s - 2 * _rto_s(sock)
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def lengthen(self) -> None:
        """Extend the limit in steps until the deadline, and schedule the next extension."""
        used_s = self._all_s - self._left_s()
        self._set(max(0.001, min(used_s + LIFE_S, self._longest_s)))
        self._timer = self._loop.call_later(EVERY_S, self._go_on)

    def lift(self) -> None:
        """Remove the limit."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._set(0.0)

    def _go_on(self) -> None:
        if unacknowledged(self._sock):
            self.lengthen()
        else:
            self.lift()

    def _set(self, life_s: float) -> None:
        with contextlib.suppress(OSError):
            self._sock.setsockopt(socket.IPPROTO_TCP, self._option, round(life_s * 1000))


def _rto_s(sock: socket.socket) -> float:
    """Return the kernel's current retransmission timeout."""
    try:
        (micros,) = RTO.unpack(sock.getsockopt(socket.IPPROTO_TCP, TCP_INFO, RTO.size))
    except (OSError, struct.error):
        return 0.0
    return float(micros) / 1e6

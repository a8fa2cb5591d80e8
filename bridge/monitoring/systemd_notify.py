"""Notifications to systemd through its notification socket.

The protocol is a datagram of ``NAME=value`` lines to the socket that ``NOTIFY_SOCKET`` names. Where
there is none (a container, a terminal) every call does nothing. Source: sd_notify(3).
"""

import os
import socket
from collections.abc import Mapping
from typing import Final

MICROSECONDS: Final = 1_000_000
# systemd asks for a sign of life at least twice as often as it looks.
FEEDS_PER_PERIOD: Final = 2


class SystemdNotifier:
    """The service manager, if the environment names one."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._environ = environ

    def ready(self) -> bool:
        """Report that the configuration is read and the loop is running."""
        return self._tell("READY=1")

    def reloading(self, mono_s: float) -> bool:
        """Report that the configuration is being read again; :meth:`ready` follows.

        Args:
            mono_s: Now, on the machine's monotonic clock, as systemd 253 and newer want it.
        """
        return self._tell(f"RELOADING=1\nMONOTONIC_USEC={round(mono_s * MICROSECONDS)}")

    def stopping(self) -> bool:
        """Report that the process is stopping as requested."""
        return self._tell("STOPPING=1")

    def alive(self) -> bool:
        """Send the heartbeat for systemd's watchdog."""
        return self._tell("WATCHDOG=1")

    @property
    def feed_every_s(self) -> float | None:
        """Return the interval for :meth:`alive`, or None without a watchdog."""
        text = self._environ.get("WATCHDOG_USEC", "")
        meant = self._environ.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
        if not meant or not (text.isascii() and text.isdecimal()) or not int(text):
            return None
        return int(text) / MICROSECONDS / FEEDS_PER_PERIOD

    def _tell(self, line: str) -> bool:
        """Send one line; return False without a service manager, and never raise or block."""
        if self._address[:1] not in ("/", "@"):
            return False
        # An @ stands for the NUL byte of a name that is in no file system.
        address = f"\0{self._address[1:]}" if self._address[0] == "@" else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
                manager.setblocking(False)
                manager.sendto(line.encode(), address)
        except (OSError, ValueError):
            return False
        return True

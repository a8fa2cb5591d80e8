"""Ports on loopback that nobody uses."""

import itertools
import os
import random
import socket

# Below the ports that the kernel gives to outgoing connections (32768 and up on Linux): one that
# was found free there can be somebody's a moment later. Each worker of a run has a part of its own.
FIRST, PART, PARTS = 12_000, 1_000, 20

_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_lowest = FIRST + _worker % PARTS * PART
_offsets = itertools.count(random.randrange(PART))  # two runs at once start at different places


def unused_port() -> int:
    """Return a TCP port nobody listens on right now.

    Raises:
        OSError: Every port of this worker's part is in use.
    """
    for _ in range(PART):
        port = _lowest + next(_offsets) % PART
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"no unused port from {_lowest} to {_lowest + PART - 1}")

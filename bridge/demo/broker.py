"""The embedded broker: amqtt, a pure Python MQTT 3.1.1 broker on a loopback port."""

import contextlib
import socket
from collections.abc import AsyncIterator

from amqtt.broker import Broker

LOOPBACK = "127.0.0.1"
USUAL_PORT = 1883


def usable_port() -> int:
    """Return 1883 if nobody listens there, else a free port."""
    for port in (USUAL_PORT, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((LOOPBACK, port))
            free: int = probe.getsockname()[1]
            return free
    raise OSError("no free TCP port on the loopback interface")


@contextlib.asynccontextmanager
async def broker(port: int) -> AsyncIterator[None]:
    """Run a broker on a loopback port; anybody on this machine may use it.

    Args:
        port: From :func:`usable_port`.
    """
    embedded = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"{LOOPBACK}:{port}"}},
            "plugins": {
                "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}
            },
        }
    )
    await embedded.start()
    try:
        yield
    finally:
        await embedded.shutdown()

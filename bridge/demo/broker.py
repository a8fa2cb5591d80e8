"""The embedded broker: amqtt, a pure Python MQTT 3.1.1 broker on a loopback port."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

from bridge.errors import BridgeError
from bridge.extras import missing_extra

try:
    from amqtt.broker import Broker
    from amqtt.errors import BrokerError
    from amqtt.session import Session
except ImportError as exc:
    raise BridgeError(f"the broker of the demonstration: {missing_extra('demo', 'amqtt')}") from exc

LOOPBACK = "127.0.0.1"
USUAL_PORT = 1883
# From Python 3.12 on a server waits until every connection is closed, and amqtt may leave one open.
SHUTDOWN_WITHIN_S = 3.0


class DiscreetBroker(Broker):  # type: ignore[misc]  # amqtt has no types
    """A broker that sends a client only the topics it subscribed to, and loses no last words.

    amqtt 0.12.1 greets every client with what is retained under the subscriptions of *all*
    clients. The demo's own view subscribes to everything, so each would get a thousand messages.

    It acknowledges a message when it arrives, and drops what still waits to be passed on when the
    client leaves. Here a connection ends when all that was acknowledged on it was passed on.
    """

    async def _client_message_loop(self, session: Session, handler: Any) -> None:
        ended = handler.wait_disconnect

        async def ended_and_passed_on() -> object:
            packet: object = await ended()
            await session.delivered_message_queue.join()
            return packet

        handler.wait_disconnect = ended_and_passed_on
        await super()._client_message_loop(session, handler)

    async def _handle_message_delivery(
        self, session: Session, handler: Any, delivered: asyncio.Future[object]
    ) -> bool:
        goes_on: bool = await super()._handle_message_delivery(session, handler, delivered)
        if delivered.result() is not None:
            session.delivered_message_queue.task_done()
        return goes_on

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        held = self._subscriptions.get(subscription[0], ())
        if any(subscriber is session for subscriber, _ in held):
            await super()._publish_retained_messages_for_subscription(subscription, session)


def usable_port(*wanted: int) -> int:
    """Return the first port that is not in use.

    Args:
        wanted: Ports in their order, 0 for a free one; without any 1883, then a free one.
    """
    for port in wanted or (USUAL_PORT, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((LOOPBACK, port))
            free: int = probe.getsockname()[1]
            return free
    raise OSError("no free TCP port on the loopback interface")


@contextlib.asynccontextmanager
async def broker(port: int) -> AsyncIterator[None]:
    """Run a broker on a loopback port; every program on this machine may use it.

    Args:
        port: From :func:`usable_port`.
    """
    embedded = DiscreetBroker(
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
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SHUTDOWN_WITHIN_S):
                await embedded.shutdown()


@contextlib.asynccontextmanager
async def broker_on_usable_port() -> AsyncIterator[int]:
    """Run a broker on 1883 or on a free port, and provide the port.

    What was free can be taken before the broker has it, by a second demonstration for example.
    """
    async with contextlib.AsyncExitStack() as stack:
        port = usable_port()
        try:
            await stack.enter_async_context(broker(port))
        except BrokerError:
            port = usable_port(0)
            await stack.enter_async_context(broker(port))
        yield port

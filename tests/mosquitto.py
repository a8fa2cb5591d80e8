"""A real mosquitto, an outside client and small waiting helpers, for tests."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from tests.conftest import PATIENCE_S

EXECUTABLE = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or ""
START_TIMEOUT_S = PATIENCE_S
POLL_S = 0.02


async def until(condition: Callable[[], object], within_s: float = PATIENCE_S) -> None:
    """Wait until a condition holds, or fail."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - asks from outside; nobody would set an event
            await asyncio.sleep(POLL_S)


class Mosquitto:
    """One broker process on a loopback port, stopped by its process id.

    Args:
        folder: Where its configuration, log and store go.
        port: The port.
        listener: Further lines for the listener, e.g. ``"max_packet_size 1000"``.
        anonymous: Let everybody in.
    """

    def __init__(
        self, folder: Path, port: int, *, listener: tuple[str, ...] = (), anonymous: bool = True
    ) -> None:
        self.port = port
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._config = folder / f"mosquitto-{port}.conf"
        lines = [
            "per_listener_settings true",
            *(["user root"] if os.geteuid() == 0 else []),
            "set_tcp_nodelay true",
            "persistence true",
            f"persistence_location {folder}/",
            f"persistence_file mosquitto-{port}.db",
            f"log_dest file {folder}/mosquitto-{port}.log",
            f"listener {port} 127.0.0.1",
            f"allow_anonymous {str(anonymous).lower()}",
            *listener,
        ]
        self._config.write_text("\n".join(lines) + "\n")

    @property
    def pid(self) -> int:
        """Return the id of its process; 0 while there is none."""
        return 0 if self._process is None else self._process.pid

    @property
    def log(self) -> str:
        """What it logged."""
        return (self.folder / f"mosquitto-{self.port}.log").read_text()

    def start(self) -> None:
        """Start it and wait until it accepts connections."""
        self._process = subprocess.Popen(
            [EXECUTABLE, "-c", str(self._config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        give_up_at = time.perf_counter() + START_TIMEOUT_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            if self._process.poll() is not None or time.perf_counter() > give_up_at:
                raise RuntimeError("mosquitto did not start")
            time.sleep(POLL_S)

    def stop(self) -> None:
        """End it the polite way: it writes its store and sends no wills."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it like a power cut."""
        self._end(signal.SIGKILL)

    def write_down(self) -> None:
        """Have it write its memory to its store now, as it does every half hour by itself."""
        self._signal(signal.SIGUSR1)

    def freeze(self) -> None:
        """Make it a half-open peer: its kernel answers, it does not."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        self._process.send_signal(signal.SIGCONT)
        self._process.wait(timeout=5)
        self._process = None


class Outsider:
    """Another MQTT client: what a flow or a dashboard would see and send.

    Attributes:
        messages: Everything received, as ``(topic, payload, retained)``, oldest first.
        codes: Reason codes of its publications, oldest first.
    """

    def __init__(self, port: int, *filters: str, username: str | None = None) -> None:
        self.messages: list[tuple[str, bytes, bool]] = []
        self.codes: list[int] = []
        self._granted = 0
        self._filters = filters
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        if username is not None:
            self._client.username_pw_set(username, username)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._client.on_publish = self._on_publish
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def publish(
        self, topic: str, payload: bytes = b"", *, retain: bool = False, **properties: object
    ) -> None:
        """Publish at QoS 1; properties by their MQTT 5 names without spaces."""
        named = Properties(PacketTypes.PUBLISH)
        for name, value in properties.items():
            setattr(named, name, value)
        self._client.publish(topic, payload, 1, retain, named).wait_for_publish(5)

    def payloads(self, topic: str) -> list[bytes]:
        """Return what one topic carried, oldest first."""
        return [payload for name, payload, _ in self.messages if name == topic]

    @property
    def ready(self) -> bool:
        """Its subscriptions are granted."""
        return self._granted >= bool(self._filters)

    def close(self) -> None:
        """Disconnect and end its thread."""
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, client, *_):
        if self._filters:
            options = SubscribeOptions(qos=1, retainAsPublished=True)
            client.subscribe([(name, options) for name in self._filters])

    def _on_subscribe(self, *_):
        self._granted += 1

    def _on_message(self, _client, _data, message):
        self.messages.append((message.topic, bytes(message.payload), bool(message.retain)))

    def _on_publish(self, _client, _data, _mid, code, _props):
        self.codes.append(code.value)


@contextlib.contextmanager
def outsider(port: int, *filters: str, username: str | None = None) -> Iterator[Outsider]:
    """Provide another client, subscribed, and disconnect it in the end."""
    client = Outsider(port, *filters, username=username)
    try:
        give_up_at = time.perf_counter() + START_TIMEOUT_S
        while not client.ready and time.perf_counter() < give_up_at:
            time.sleep(POLL_S)
        yield client
    finally:
        client.close()

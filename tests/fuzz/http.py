"""The border towards whoever reaches the bridge's own web server."""

import asyncio
from functools import partial
from ipaddress import ip_address

from bridge.adapters.clock import SystemClock
from bridge.adapters.http.server import ClientGone, HttpServer, Reply, _Connection
from bridge.settings import HttpSettings

SERVER = HttpServer(HttpSettings(enabled=True), {"/healthz": lambda: Reply(b"ok\n")}, SystemClock())
ANSWER = partial(SERVER._answer, ip_address("127.0.0.1"))
LOOP = asyncio.new_event_loop()
STATUSES = (b"200", b"400", b"404", b"405", b"408", b"421", b"431", b"501", b"503")
MAX_HEAD_BYTES = 600


class Writer:
    """A client that takes everything."""

    def __init__(self) -> None:
        self.said = bytearray()

    def write(self, data: bytes) -> None:
        self.said += data

    async def drain(self) -> None:
        """Be fast."""


def http_request(data: bytes) -> None:
    """Requests: answered in turn or refused, and no byte of them comes back in an answer."""
    writer = Writer()

    async def talk() -> None:
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        try:
            await _Connection(reader, writer, ANSWER, SERVER._waits).hold()
        except ClientGone:
            return

    LOOP.run_until_complete(talk())
    answers = bytes(writer.said).split(b"HTTP/1.1 ")[1:]
    for answer in answers:
        assert answer.startswith(STATUSES), answer[:40]
        assert len(answer) <= MAX_HEAD_BYTES
    assert len(answers) <= data.count(b"\n") + 1

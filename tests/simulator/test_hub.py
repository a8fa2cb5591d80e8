import asyncio
import json
from contextlib import asynccontextmanager
from datetime import timedelta
from types import SimpleNamespace

import aiohttp
import pytest

from bridge.simulator.hub import PING, Connection, Hub, command_response, product_update
from bridge.simulator.readings import Reading, Response, Update
from bridge.simulator.scenario import Scenario
from tests.conftest import PATIENCE_S
from tests.simulator.lab import FIRST, NOON, SECOND

pytestmark = pytest.mark.anyio

SEPARATOR = "\x1e"
HANDSHAKE = '{"protocol":"json","version":1}' + SEPARATOR


def records(text: str) -> list[dict[str, object]]:
    """Read all records of a message."""
    return [json.loads(one) for one in text.split(SEPARATOR) if one]


class Ears:
    """One end of a hub connection."""

    def __init__(self, socket) -> None:
        self.socket = socket
        self.waiting: list[dict[str, object]] = []

    async def hear(self) -> dict[str, object]:
        """Return the next record."""
        while not self.waiting:
            async with asyncio.timeout(PATIENCE_S):
                self.waiting = records(await self.socket.receive_str())
        return self.waiting.pop(0)

    async def invoke(self, target, *arguments, **more) -> None:
        record = {"type": 1, "target": target, "arguments": list(arguments), **more}
        await self.socket.send_str(json.dumps(record) + SEPARATOR)


async def everything(ears: Ears, seconds: float) -> list[dict[str, object]]:
    """Listen for a while."""
    heard = []
    try:
        async with asyncio.timeout(seconds):
            while True:
                heard += records(await ears.socket.receive_str())
    except TimeoutError:
        return heard


@asynccontextmanager
async def listening(client, path="/hubs/chargers", *, greet=True):
    """Open a socket without negotiation, and shake hands."""
    headers = {"Authorization": f"Bearer {client.token}"}
    async with client.http.ws_connect(path, headers=headers) as socket:
        ears = Ears(socket)
        if greet:
            await socket.send_str(HANDSHAKE)
            assert await ears.hear() == {}
        yield ears


def test_an_observation_is_worded_as_the_vendor_does():
    """Exactly the documented keys, and the value is text."""
    update = Update(FIRST, 109, Reading(3, 4, NOON))

    assert product_update(update) == (
        '{"type":1,"target":"ProductUpdate","arguments":[{"mid":"EH000001","dataType":4,'
        '"id":109,"timestamp":"2026-11-22T12:00:00Z","value":"3"}]}\x1e'
    )


def test_a_command_response_is_worded_as_the_vendor_does():
    """Exactly the documented keys, ticks as an exact integer."""
    response = Response(FIRST, 48, 638229301050930920, NOON, NOON + timedelta(seconds=1), True)
    (record,) = records(command_response(response))

    assert record.keys() == {"type", "target", "arguments"}
    assert record["arguments"] == [
        {
            "serialNumber": FIRST,
            "id": 48,
            "timestamp": "2026-11-22T12:00:00.000000Z",
            "deliveredAt": "2026-11-22T12:00:01.000Z",
            "wasAccepted": True,
            "resultCode": 0,
            "comment": "",
            "ticks": 638229301050930920,
        }
    ]


@pytest.mark.parametrize("path", ["/hubs/chargers", "/hubs/products"])
async def test_a_subscription_replays_and_completes(connect, path):
    """Over a hundred old values, then the completion with result null, then what happens."""
    async with connect() as client, listening(client, path) as ears:
        await ears.invoke("SubscribeWithCurrentState", FIRST, True, invocationId="7")
        replayed = []
        while (record := await ears.hear()).get("type") == 1:
            replayed.append(record["arguments"][0])
        assert record == {"type": 3, "invocationId": "7", "result": None}
        assert len(replayed) > 100
        assert any(one["timestamp"] < "2026-11-22" for one in replayed)
        assert all(isinstance(one["value"], str) for one in replayed)
        assert client.simulator.subscribed == {FIRST}

        client.simulator.push(SECOND, 109, 3)
        client.simulator.push(FIRST, 109, 3)
        assert (await ears.hear())["arguments"][0]["mid"] == FIRST


async def test_without_an_invocation_id_nothing_is_completed(connect):
    """What follows a bare subscription is only what happens."""
    async with connect() as client, listening(client) as ears:
        await ears.invoke("subscribewithcurrentstate", FIRST, False, headers={})
        await ears.invoke("Nonsense", invocationId="2")

        assert (await ears.hear()) == {
            "type": 3,
            "invocationId": "2",
            "error": "The method does not exist.",
        }


async def test_errors_of_invocations_are_told(connect):
    """Unknown products and arguments that do not fit are answered with an error."""
    async with connect() as client, listening(client) as ears:
        await ears.invoke("SubscribeWithCurrentState", "EH999999", True, invocationId="1")
        assert "not known" in (await ears.hear())["error"]
        await ears.invoke("SubscribeWithCurrentState", FIRST, invocationId="2")
        assert "arguments" in (await ears.hear())["error"]


async def test_unsubscribing_ends_the_stream(connect):
    """After it nothing of that charger comes."""
    async with connect() as client, listening(client) as ears:
        await ears.invoke("SubscribeWithCurrentState", FIRST, False, invocationId="1")
        await ears.hear()
        await ears.invoke("Unsubscribe", FIRST, invocationId="2")
        assert (await ears.hear())["result"] is None

        assert client.simulator.subscribed == frozenset()


async def test_records_may_be_split_and_joined(connect):
    """The handshake and a subscription in one message, and one record in two."""
    async with connect() as client, listening(client, greet=False) as ears:
        record = json.dumps(
            {
                "type": 1,
                "invocationId": "1",
                "target": "SubscribeWithCurrentState",
                "arguments": [FIRST, False],
            }
        )
        await ears.socket.send_str(HANDSHAKE + '{"type":6}' + SEPARATOR + record[:30])
        await ears.socket.send_bytes((record[30:] + SEPARATOR).encode())

        assert await ears.hear() == {}
        assert (await ears.hear())["invocationId"] == "1"


@pytest.mark.parametrize(
    "text", ['{"protocol":"messagepack","version":1}\x1e', "hello\x1e", "[]\x1e"]
)
async def test_who_does_not_speak_the_protocol_is_sent_away(connect, text):
    """An error, then the socket closes."""
    async with connect() as client, listening(client, greet=False) as ears:
        await ears.socket.send_str(text)
        assert "error" in await ears.hear()
        async with asyncio.timeout(PATIENCE_S):
            assert (await ears.socket.receive()).type is aiohttp.WSMsgType.CLOSE
        assert client.simulator.connections == 0


async def test_a_quiet_hub_pings(connect):
    """Type 6 after the interval."""
    async with connect(ping_interval_s=0.02) as client, listening(client) as ears:
        assert await ears.hear() == {"type": 6}


async def test_a_quiet_client_is_given_up(connect):
    """Who says nothing for too long loses the socket."""
    async with connect(client_timeout_s=0.05) as client, listening(client) as ears:
        async with asyncio.timeout(PATIENCE_S):
            assert (await ears.socket.receive()).type is aiohttp.WSMsgType.CLOSE


async def test_a_silent_hub_says_nothing_at_all(connect):
    """Half-open: no ping, no value, the socket stays."""
    async with connect(ping_interval_s=0.01) as client, listening(client) as ears:
        client.simulator.silence(True)
        await ears.invoke("SubscribeWithCurrentState", FIRST, True, invocationId="1")
        heard = await everything(ears, 0.15)
        assert all(one == {"type": 6} for one in heard)  # what was under way before the silence
        assert len(heard) < 3
        assert client.simulator.subscribed == {FIRST}


async def test_raw_text_goes_out_as_it_is(connect):
    """Even half a record."""
    async with connect() as client, listening(client) as ears:
        client.simulator.send_raw('{"type":1,"tar')
        async with asyncio.timeout(PATIENCE_S):
            assert await ears.socket.receive_str() == '{"type":1,"tar'


async def test_dropped_and_closed_connections_end(connect):
    """Dropping says nothing, closing sends type 7."""
    async with connect() as client:
        async with listening(client) as ears:
            client.simulator.drop_connections()
            async with asyncio.timeout(PATIENCE_S):
                message = await ears.socket.receive()
            assert message.type in {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR}
        async with listening(client) as ears:
            client.simulator.close_connections("bye")
            assert await ears.hear() == {"type": 7, "error": "bye", "allowReconnect": True}
            async with asyncio.timeout(PATIENCE_S):
                assert (await ears.socket.receive()).type is aiohttp.WSMsgType.CLOSE


async def test_negotiation_offers_an_id_that_works_once(connect):
    """Version 0 uses the connection id, version 1 the token; a used one is refused."""
    async with connect() as client:
        for query, key in (("", "connectionId"), ("?negotiateVersion=1", "connectionToken")):
            status, offer = await client.ask("POST", f"/hubs/chargers/negotiate{query}")
            assert status == 200
            assert offer["availableTransports"][0]["transport"] == "WebSockets"
            path = f"/hubs/chargers?id={offer[key]}"
            async with listening(client, path):
                assert client.simulator.connections == 1
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                async with listening(client, path):
                    pass
            assert refused.value.status == 404


async def test_the_token_may_stand_in_the_url(connect):
    """A browser cannot set headers; without any token the door stays shut."""
    async with connect() as client:
        async with client.http.ws_connect(f"/hubs/chargers?access_token={client.token}") as socket:
            await socket.send_str(HANDSHAKE)
            assert await socket.receive_str() == "{}" + SEPARATOR
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.http.ws_connect("/hubs/chargers")
        assert refused.value.status == 401


class LateQueue(asyncio.Queue):
    """A queue whose first record comes in the moment in which the wait for it ends."""

    late = "{}" + SEPARATOR

    async def get(self):
        if self.late:
            self.put_nowait(self.late)
            self.late = ""
            raise TimeoutError
        return await super().get()


async def test_no_ping_goes_before_the_greeting():
    """A client takes the first record for the answer to its handshake."""
    sent = asyncio.Queue()
    socket = SimpleNamespace(send_str=sent.put)
    connection = Connection(socket, None)
    connection.waiting, connection.greeted = LateQueue(), True
    writing = asyncio.get_running_loop().create_task(
        Hub(Scenario(ping_interval_s=0.01), lambda _: None)._write(connection)
    )
    async with asyncio.timeout(PATIENCE_S):
        said = [await sent.get(), await sent.get()]
    writing.cancel()

    assert said == ["{}" + SEPARATOR, PING]

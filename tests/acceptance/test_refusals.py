"""What a cloud that refuses us makes of the gateway: a cloud of our own, written by hand."""

import json
from collections import Counter

import aiohttp
import pytest
from aiohttp import web

from tests.acceptance.conftest import Witness, configuration, running

pytestmark = [pytest.mark.anyio, pytest.mark.acceptance]

ONE = "EH123456"
LOGIN, REFRESH = "/api/accounts/login", "/api/accounts/refresh_token"
LIST, NEGOTIATE, HUB = "/api/chargers", "/hubs/chargers/negotiate", "/hubs/chargers"
STATE = f"/state/{ONE}/observations"
STAMP = "2026-11-22T11:00:00Z"
PAGE = "<!DOCTYPE html><html><head><title>Access denied</title></head></html>"
TOKENS = {"accessToken": "a", "refreshToken": "r", "expiresIn": 3600}
USUAL = {
    LOGIN: (200, TOKENS),
    REFRESH: (200, TOKENS | {"accessToken": "b"}),
    LIST: (200, [{"id": ONE}]),
    NEGOTIATE: (200, {"connectionId": "x"}),
    STATE: (200, {"observations": [{"id": 109, "value": 3, "timestamp": STAMP}]}),
}
SAID = "code 104 (account_locked): *** locked"
LOCKED = {"errorCode": 104, "errorCodeName": "AccountLocked", "title": "someone@example.com locked"}


class Refusing:
    """A cloud that answers from a table, and counts what it is asked."""

    def __init__(self, answers):
        self.answers = USUAL | answers
        self.asked = Counter()
        self.port = 0

    async def answer(self, request):
        self.asked[request.path] += 1
        if request.path == HUB and HUB not in self.answers:
            return await self.hub(request)
        status, document = self.answers.get(request.path, (404, {"title": "no"}))
        if isinstance(document, str):
            return web.Response(status=status, text=document, content_type="text/html")
        return web.Response(status=status, text=json.dumps(document), content_type="text/json")

    async def hub(self, request):
        """Take the handshake and a subscription, and tell three values in one call."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.TEXT:
                break
            call = json.loads(message.data.rstrip("\x1e"))
            if "protocol" in call:
                await socket.send_str("{}\x1e")
            elif call["type"] == 1:
                values = [
                    {"mid": ONE, "dataType": 4, "id": number, "timestamp": STAMP, "value": value}
                    for number, value in ((109, "3"), (120, "7"), (46, "25"))
                ]
                update = {"type": 1, "target": "ProductUpdate", "arguments": values}
                await socket.send_str(json.dumps(update) + "\x1e")
        return socket


@pytest.fixture
async def play(tmp_path, mosquitto):
    """Start the gateway in front of such a cloud."""
    stack = []

    async def build(answers, **easee):
        cloud = Refusing(answers)
        app = web.Application()
        app.router.add_route("*", "/{any:.*}", cloud.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        witness = Witness(mosquitto.port)
        await witness.start()
        config = configuration(url, f"{url}{HUB}", mosquitto.port, tmp_path)
        config["easee"].update(easee)
        gateway = running(config, tmp_path)
        await gateway.__aenter__()
        stack.append((gateway, witness, runner))
        return cloud, witness

    yield build
    for gateway, witness, runner in stack:
        await gateway.__aexit__(None, None, None)
        await witness.stop()
        await runner.cleanup()


def alerts(witness):
    """Return the open alerts by kind."""
    topics = {t: p for t, p in witness.retained.items() if t.startswith("charger/bridge/alert/")}
    return {topic.rsplit("/", 1)[1]: json.loads(said) for topic, said in topics.items() if said}


CAUSES = [
    (
        {LOGIN: (400, LOCKED)},
        "login_refused",
        "code 104 (account_locked): *** locked",
        "auth_failed",
    ),
    ({LOGIN: (401, "")}, "login_refused", "status 401", "auth_failed"),
    ({LOGIN: (403, PAGE)}, "blocked", "something between here and the cloud", "blocked"),
    ({LOGIN: (200, PAGE)}, "blocked", "something between here and the cloud", "blocked"),
    ({LIST: (403, PAGE)}, "blocked", "something between here and the cloud", "blocked"),
    ({LIST: (429, {})}, "cloud_unreachable", "fewer requests", "connected"),
    ({LIST: (200, [])}, "no_chargers", "the account lists none", "connected"),
    ({LIST: (200, [{"id": "eh123456"}])}, "no_chargers", "1 with an id in lower-case", "connected"),
    ({LIST: (200, {"chargers": []})}, "no_chargers", "with the keys chargers", "connected"),
]


@pytest.mark.parametrize(("answers", "kind", "words", "state"), CAUSES)
async def test_each_cause_is_told_once_with_its_own_words(play, answers, kind, words, state):
    """One alert, whose message names the cause; one login, whatever it was."""
    cloud, witness = await play(answers)
    await witness.until(lambda: kind in alerts(witness), kind)
    await witness.value("charger/bridge/cloud", state)

    assert words in alerts(witness)[kind]["message"]
    assert list(alerts(witness)) == [kind]
    assert cloud.asked[LOGIN] == 1


@pytest.mark.parametrize(
    "answer", [{"expiresIn": "3600"}, {"expiresIn": None, "refreshToken": None}]
)
async def test_an_odd_login_is_used_and_every_record_read(play, answer):
    """A lifetime in a text, or no refresh token: one login, and all three values of a call."""
    cloud, witness = await play({LOGIN: (200, TOKENS | answer)})
    await witness.value(f"charger/{ONE}/state/op_mode", "charging")
    await witness.value(f"charger/{ONE}/state/total_power", "7")
    await witness.value(f"charger/{ONE}/state/led", "awaiting_authorization")
    await witness.value("charger/bridge/cloud", "connected")

    assert cloud.asked[LOGIN] == 1


@pytest.mark.parametrize("where", [NEGOTIATE, HUB])
@pytest.mark.parametrize("status", [401, 403])
async def test_a_hub_that_refuses_us_leaves_rest_alone(play, where, status):
    """One renewal, no second login; values come by polling after a minute."""
    cloud, witness = await play({where: (status, {})})
    await witness.until(lambda: "stream_refused" in alerts(witness), "stream_refused")
    await witness.value("charger/bridge/cloud", "degraded", timeout_s=90.0)
    await witness.value(f"charger/{ONE}/state/op_mode", "charging")

    assert cloud.asked[LOGIN] == 1
    assert cloud.asked[REFRESH] <= 1  # a 403 at the upgrade is waited out first
    assert cloud.asked[where] >= 1


async def test_a_read_is_taken_as_far_as_it_can_be_read(play):
    """Ids in digits and keys in capitals are values; one without a time is named."""
    rows = [
        {"Id": "109", "Value": 3, "Timestamp": STAMP},
        {"id": 120.0, "value": 7.5, "timestamp": STAMP},
        {"id": 46, "value": 25, "timestamp": None},
    ]
    _, witness = await play({STATE: (200, {"Observations": rows})}, source="poll")
    await witness.value(f"charger/{ONE}/state/op_mode", "charging")
    await witness.value(f"charger/{ONE}/state/total_power", "7.5")
    await witness.until(lambda: "undecodable" in alerts(witness), "an alert")

    assert f"{ONE}/46" in alerts(witness)["undecodable"]["message"]

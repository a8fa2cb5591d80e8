import asyncio
import json
import stat
import traceback
from datetime import timedelta

import httpx
import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from bridge.adapters.easee.http_transport import DeadlineExceeded
from bridge.adapters.easee.rest_client import EaseeCloud
from bridge.core.easee.rest_requests import (
    CloudRequest,
    Endpoint,
    charger_list_request,
    observations_request,
)
from bridge.core.events import CloudStatusChanged, VendorReplied
from bridge.errors import (
    AuthFailed,
    Blocked,
    BridgeError,
    CloudError,
    CloudRejected,
    CloudUnavailable,
    ConnectionLost,
    OutcomeUnknown,
    RateLimited,
)
from bridge.settings import EaseeSettings, Secret

pytestmark = pytest.mark.anyio

ID = "EH123456"
LIST = charger_list_request()
READ = observations_request(ID, (109,))
START = CloudRequest(
    "POST",
    f"/api/chargers/{ID}/commands/start_charging",
    Endpoint.CHARGER_COMMAND,
    ID,
    command=True,
)
PASSWORD = "canary-password"
LOGIN, REFRESH = "/api/accounts/login", "/api/accounts/refresh_token"
CREDENTIALS = {"errorCode": 100, "errorCodeName": "InvalidUserPassword", "title": PASSWORD}


class Body(httpx.AsyncByteStream):
    """A body as a server sends it."""

    def __init__(self, content):
        self.content = content

    async def __aiter__(self):
        yield self.content


def answer(status=200, document=None, **headers):
    """Make a response."""
    content = b"" if document is None else json.dumps(document).encode()
    packed = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, headers=packed, stream=Body(content))


class Easee:
    """A cloud that rotates tokens and remembers everything it was asked."""

    def __init__(self):
        self.paths = []
        self.tokens_seen = []
        self.refreshes_seen = []
        self.count = 0
        self.access = self.refresh = None
        self.scripts = {}
        self.lifetime_s = 3600
        self.pause_s = 0.0

    def script(self, path, *answers):
        """Answer the next requests for a path with these, in order."""
        self.scripts.setdefault(path, []).extend(answers)

    def pair(self):
        self.count += 1
        self.access = f"canary-access-{self.count}"
        self.refresh = f"canary-refresh-{self.count}"
        return answer(
            200,
            {
                "accessToken": self.access,
                "refreshToken": self.refresh,
                "expiresIn": self.lifetime_s,
                "tokenType": "Bearer",
                "accessClaims": [],
            },
        )

    async def __call__(self, request):
        await asyncio.sleep(self.pause_s)
        path = request.url.path
        self.paths.append(path)
        if self.scripts.get(path):
            scripted = self.scripts[path].pop(0)
            if isinstance(scripted, Exception):
                raise scripted
            return scripted() if callable(scripted) else scripted
        body = json.loads(request.content) if request.content else None
        if path == LOGIN:
            if body["password"] != PASSWORD or body["userName"] != "someone@example.com":
                return answer(400, CREDENTIALS)
            return self.pair()
        if path == REFRESH:
            self.refreshes_seen.append(body["refreshToken"])
            if (body["accessToken"], body["refreshToken"]) != (self.access, self.refresh):
                return answer(401, {"errorCode": 105, "errorCodeName": "RefreshTokenExpired"})
            return self.pair()
        self.tokens_seen.append(request.headers["Authorization"].removeprefix("Bearer "))
        if self.tokens_seen[-1] != self.access:
            return answer(401)
        if path.endswith("/negotiate"):
            return answer(200, {"connectionToken": "c"})
        if path == "/api/chargers":
            return answer(200, [{"id": ID}])
        return answer(202, {"device": ID, "commandId": 25, "ticks": 1})


@pytest.fixture
def easee():
    """A cloud."""
    return Easee()


@pytest.fixture
async def make(easee, clock, tmp_path):
    """Make gateways that share a cloud, a clock and a folder, as restarts do."""
    made = []

    def build(**changes):
        events = []
        fields = {"username": "someone@example.com", "password": Secret(PASSWORD)} | changes
        cloud = EaseeCloud(
            EaseeSettings(**fields),
            token_path=tmp_path / "tokens.json",
            clock=clock,
            # What answers are like is test_vendor_notes.py's.
            emit=lambda event: None if isinstance(event, VendorReplied) else events.append(event),
            transport=httpx.MockTransport(easee),
        )
        cloud.events = events
        made.append(cloud)
        return cloud

    yield build
    for cloud in made:
        await cloud.close()


def stored(tmp_path):
    """Read the token file."""
    return json.loads((tmp_path / "tokens.json").read_text())


# -- sessions -------------------------------------------------------------------------------------


async def test_one_login_serves_everything(make, easee):
    """The first request logs in, the next ones use the same token."""
    cloud = make()
    first = await cloud.send(START, within_s=30)
    await cloud.send(READ, within_s=30)

    assert first.status == 202
    assert json.loads(first.body)["ticks"] == 1
    assert easee.paths == [LOGIN, START.path, "/state/EH123456/observations"]
    assert cloud.events == [CloudStatusChanged("ok")]


async def test_twenty_callers_cause_one_login_and_one_refresh(make, easee):
    """Whoever asks, one login or refresh is under way at a time."""
    cloud = make()
    easee.pause_s = 0.01
    await asyncio.gather(*(cloud.send(START, within_s=30) for _ in range(20)))
    assert easee.paths.count(LOGIN) == 1

    easee.access = "revoked"
    easee.script(REFRESH, easee.pair())
    await asyncio.gather(*(cloud.send(START, within_s=30) for _ in range(20)))
    assert easee.paths.count(REFRESH) == 1
    assert easee.paths.count(LOGIN) == 1


async def test_a_caller_that_gives_up_does_not_stop_the_login(make, easee):
    """Its request was not sent; the login goes on for the next one."""
    cloud = make()
    easee.pause_s = 0.1
    with pytest.raises(CloudUnavailable) as caught:
        await cloud.send(START, within_s=0.02)
    assert type(caught.value) is CloudUnavailable
    await cloud.send(START, within_s=30)

    assert easee.paths == [LOGIN, START.path]


async def test_a_token_is_renewed_at_four_fifths_of_its_life(make, easee, clock):
    """The old token serves on while the new one is fetched; nobody waits."""
    cloud = make()
    await cloud.send(START, within_s=30)
    clock.advance(2879)
    await cloud.send(START, within_s=30)
    assert REFRESH not in easee.paths

    clock.advance(2)
    old = await cloud.token()
    for _ in range(100):
        await asyncio.sleep(0.001)
        if await cloud.token() != old:
            break
    await cloud.send(START, within_s=30)

    assert old == "canary-access-1"
    assert easee.paths[-2:] == [REFRESH, START.path]
    assert easee.tokens_seen[-1] == "canary-access-2"


async def test_an_expired_token_is_refreshed_before_it_is_sent(make, easee, clock):
    """After its lifetime no request goes out with the old token."""
    cloud = make()
    await cloud.send(START, within_s=30)
    clock.advance(3601)
    await cloud.send(START, within_s=30)

    assert easee.paths == [LOGIN, START.path, REFRESH, START.path]
    assert easee.tokens_seen == ["canary-access-1", "canary-access-2"]


@pytest.mark.fault("F10")
async def test_a_jump_of_the_wall_clock_changes_nothing(make, easee, clock):
    """Lifetimes are monotonic: neither a jump ahead nor one back causes a request."""
    cloud = make()
    await cloud.send(START, within_s=30)
    for days in (30, -300):
        clock.wall += timedelta(days=days)
        await cloud.send(START, within_s=30)

    assert easee.paths == [LOGIN, START.path, START.path, START.path]


@pytest.mark.fault("F29")
async def test_a_401_is_refreshed_and_replayed_once(make, easee):
    """A revoked token costs one refresh, and the request is sent again."""
    cloud = make()
    await cloud.send(START, within_s=30)
    easee.script(START.path, answer(401))
    reply = await cloud.send(START, within_s=30)

    assert reply.status == 202
    assert easee.paths[2:] == [START.path, REFRESH, START.path]


async def test_a_refused_refresh_costs_one_login(make, easee):
    """When the refresh token is refused as well, one login brings it back."""
    cloud = make()
    await cloud.send(START, within_s=30)
    easee.access = easee.refresh = "revoked"
    await cloud.send(START, within_s=30)

    assert easee.paths[2:] == [START.path, REFRESH, LOGIN, START.path]


async def test_tokens_that_are_always_refused_end_in_a_long_wait(make, easee, clock):
    """One refresh, one login, then silence for ten minutes to an hour, longer each time."""
    cloud = make()
    await cloud.send(START, within_s=30)
    easee.script(START.path, *(answer(401) for _ in range(9)))
    with pytest.raises(AuthFailed) as caught:
        await cloud.send(START, within_s=30)
    assert easee.paths[2:] == [START.path, REFRESH, START.path, LOGIN, START.path]
    assert 600 <= caught.value.retry_after_s <= 1200
    assert not caught.value.credentials_wrong
    assert cloud.events[-1].state == "token_refused"

    asked = len(easee.paths)
    clock.advance(caught.value.retry_after_s - 1)
    for request in (START, READ):
        with pytest.raises(AuthFailed):
            await cloud.send(request, within_s=30)
    assert await cloud.token() == easee.access  # the hub may take it
    assert len(easee.paths) == asked

    clock.advance(2)
    with pytest.raises(AuthFailed) as again:
        await cloud.send(START, within_s=30)
    assert easee.paths[asked:] == [LOGIN, START.path]
    assert again.value.retry_after_s > caught.value.retry_after_s

    clock.advance(3601)
    easee.scripts.clear()
    await cloud.send(START, within_s=30)
    assert [event.state for event in cloud.events] == ["ok", "token_refused", "ok"]


@pytest.mark.fault("F29")
async def test_wrong_credentials_stop_everything_for_half_an_hour(make, easee, clock):
    """Error code 100 is told with what to do about it, and nothing is sent in between."""
    cloud = make(password=Secret("wrong"))
    with pytest.raises(AuthFailed) as caught:
        await cloud.send(START, within_s=30)
    assert caught.value.credentials_wrong
    assert str(caught.value) == (
        "the cloud refuses user or password: check easee.username and the password;"
        " next try in 30 min"
    )
    clock.advance(1790)
    with pytest.raises(AuthFailed) as later:
        await cloud.send(READ, within_s=30)
    assert "next try in 1 min" in str(later.value)
    assert easee.paths == [LOGIN]
    assert [event.state for event in cloud.events] == ["auth_failed"]

    clock.advance(11)
    with pytest.raises(AuthFailed):
        await cloud.send(START, within_s=30)
    assert easee.paths == [LOGIN, LOGIN]


async def test_a_login_in_an_outage_is_tried_again_soon(make, easee, clock):
    """Trouble and a body that broke on its way: wait a little, and say nothing about passwords."""
    broken = httpx.Response(200, stream=Body(b'{"accessToken": "a'))
    easee.script(LOGIN, answer(500), answer(503, None), broken)
    cloud = make()
    for status in (500, 503, 200):
        with pytest.raises(CloudUnavailable) as caught:
            await cloud.send(START, within_s=30)
        assert caught.value.status == status
        assert 0 < caught.value.retry_after_s <= 90
        clock.advance(91)
    await cloud.send(START, within_s=30)

    assert easee.paths == [LOGIN] * 4 + [START.path]


PAGE = b"<!DOCTYPE html><html><head><title>Access denied</title></head></html>"


def page(status):
    """Answer with a web page."""
    return httpx.Response(status, stream=Body(PAGE))


@pytest.mark.parametrize("path", [LOGIN, READ.path.split("?")[0]])
@pytest.mark.parametrize("status", [403, 200, 503, 511])
async def test_a_page_in_the_clouds_place_is_told_as_one(make, easee, clock, path, status):
    """Nothing goes over REST for ten minutes, longer each time; never a word about a password."""
    cloud = make()
    easee.script(path, page(status), page(status))
    for waited_s in (600, 1200):
        with pytest.raises(Blocked) as caught:
            await cloud.send(READ, within_s=30)
        assert caught.value.retry_after_s == waited_s
        asked = len(easee.paths)
        clock.advance(waited_s - 1)
        with pytest.raises(Blocked, match="something between here and the cloud"):
            await cloud.send(START, within_s=30)
        assert len(easee.paths) == asked
        clock.advance(2)
    await cloud.send(READ, within_s=30)

    assert [event.state for event in cloud.events] == ["kept_out", "ok"]
    assert cloud.events[0].detail == (
        f"something between here and the cloud refuses this address (status {status}, a web page)"
    )


async def test_a_command_answered_by_a_page_may_have_been_carried_out(make, easee):
    """With a 2xx nobody knows; it is not called failed."""
    cloud = make()
    easee.script(START.path, page(200))
    with pytest.raises(OutcomeUnknown):
        await cloud.send(START, within_s=30)

    assert cloud.events[-1].state == "kept_out"


async def test_a_limited_login_is_told(make, easee):
    """Without a token nothing works, so it is more than a held group of endpoints."""
    cloud = make()
    easee.script(LOGIN, answer(429, None, Retry_After="120"))
    with pytest.raises(RateLimited):
        await cloud.send(START, within_s=30)

    assert cloud.events == [
        CloudStatusChanged("limited", "the cloud asks for fewer requests; next login in 2 min")
    ]


HUB = "https://streams.easee.com/hubs/chargers"
NEGOTIATE = "/hubs/chargers/negotiate"
HUB_REFUSALS = [
    lambda: answer(401),
    lambda: answer(403),
    lambda: answer(403, {"message": "Forbidden"}),
    lambda: page(403),
    lambda: answer(429, None, Retry_After="600"),
    lambda: answer(503),
    lambda: httpx.ConnectError("refused"),
]


@pytest.mark.parametrize("refusal", HUB_REFUSALS)
async def test_what_the_hub_says_counts_for_the_hub_only(make, easee, refusal):
    """However often: REST and commands go on with one login, and the account is not blamed."""
    cloud = make()
    await cloud.send(START, within_s=30)
    for _ in range(5):
        easee.script(NEGOTIATE, refusal())
        with pytest.raises((CloudError, ConnectionLost)):
            await cloud.negotiate(HUB, await cloud.token())
        assert (await cloud.send(READ, within_s=30)).status == 202

    assert easee.paths.count(LOGIN) == 1
    assert NEGOTIATE in easee.paths
    assert cloud.events == [CloudStatusChanged("ok")]


async def test_a_block_the_vendor_names_counts_for_both(make, easee):
    """Asking elsewhere would make it longer."""
    cloud = make()
    easee.script(NEGOTIATE, answer(403, {"message": "your IP is now blocked"}))
    with pytest.raises(Blocked):
        await cloud.negotiate(HUB, await cloud.token())
    with pytest.raises(Blocked):
        await cloud.send(START, within_s=30)


async def test_an_outage_is_told_with_every_reason_it_has(make, easee, clock):
    """Two troubles with a minute between them are enough; another reason is told too."""
    cloud = make()
    await cloud.send(START, within_s=30)
    for error in (httpx.ConnectError("one"), httpx.ConnectError("one"), httpx.ConnectError("two")):
        easee.script(START.path, error)
        with pytest.raises(CloudUnavailable):
            await cloud.send(START, within_s=30)
        clock.advance(60)

    assert [event.state for event in cloud.events] == ["ok", "unavailable", "unavailable"]
    assert ["one" in event.detail for event in cloud.events[1:]] == [True, False]


async def test_a_business_400_never_causes_a_login(make, easee):
    """No car is no reason to log in."""
    cloud = make()
    refusal = {"errorCode": 410, "errorCodeName": "ChargerDisconnected", "title": "No car"}
    easee.script(START.path, answer(400, refusal))
    with pytest.raises(CloudRejected) as caught:
        await cloud.send(START, within_s=30)

    error = caught.value
    assert (error.status, error.code, error.reason) == (400, 410, "charger_disconnected")
    assert easee.paths == [LOGIN, START.path]
    assert cloud.events == [CloudStatusChanged("ok")]


async def test_a_token_the_hub_refuses_is_replaced(make, easee):
    """The stream names the token it was refused with and gets another; others keep theirs."""
    cloud = make()
    first = await cloud.token()
    await cloud.send(START, within_s=30)
    second = await cloud.token(rejected=first)

    assert second != first
    assert await cloud.token(rejected=first) == second
    assert easee.paths == [LOGIN, START.path, REFRESH]


async def test_an_endpoint_that_always_answers_401_does_not_renew_for_ever(make, easee):
    """While other requests prove the tokens good, one endpoint's 401 is its own refusal."""
    cloud = make()
    other = CloudRequest("GET", "/api/other", Endpoint.OTHER)
    easee.script("/api/other", *(answer(401) for _ in range(50)))
    await cloud.send(START, within_s=30)
    send = cloud._http.send

    async def proving(method, base, path, **keywords):
        if path == "/api/other" and keywords["token"]:
            cloud._tokens.mark_accepted(keywords["token"])
        return await send(method, base, path, **keywords)

    cloud._http.send = proving
    with pytest.raises(CloudRejected) as caught:
        await cloud.send(other, within_s=30)

    assert caught.value.status == 401
    assert easee.paths.count("/api/other") == 4


# -- the token file -------------------------------------------------------------------------------


async def test_a_restart_uses_the_stored_token(make, easee, tmp_path):
    """No login when the last run's token is still good."""
    await make().send(START, within_s=30)
    await make().send(START, within_s=30)

    assert easee.paths == [LOGIN, START.path, START.path]
    assert stat.S_IMODE((tmp_path / "tokens.json").stat().st_mode) == 0o600


async def test_a_restart_after_an_hour_refreshes(make, easee, clock):
    """A token known to be expired is not tried; its refresh token is."""
    await make().send(START, within_s=30)
    clock.advance(4000)
    await make().send(START, within_s=30)

    assert easee.paths == [LOGIN, START.path, REFRESH, START.path]


async def test_a_restart_with_a_clock_nobody_believes_tries_the_token(make, easee, clock):
    """Without a trusted clock the age is unknown; a 401 would correct it."""
    await make().send(START, within_s=30)
    clock.wall += timedelta(days=400)
    clock.trusted = False
    await make().send(START, within_s=30)

    assert easee.paths == [LOGIN, START.path, START.path]


async def test_a_new_pair_is_on_the_disk_before_it_is_used(make, easee, tmp_path):
    """Whenever a request arrives, its token is already in the file."""
    cloud = make()
    on_disk = []
    serve = easee.__class__.__call__

    async def look(request):
        if request.headers.get("Authorization"):
            on_disk.append(f"Bearer {stored(tmp_path)['access_token']}")
            assert request.headers["Authorization"] == on_disk[-1]
        return await serve(easee, request)

    cloud._http._transport = httpx.MockTransport(look)
    await cloud.send(START, within_s=30)
    easee.access = easee.refresh = "revoked"
    easee.script(START.path, answer(401))
    await cloud.send(START, within_s=30)

    assert len(set(on_disk)) == 2


async def test_a_transport_learns_when_the_time_of_a_request_is_over(make, easee, clock):
    """It asks right before the bytes leave; the time is the one the caller gave, by our clock."""
    cloud = make()
    serve = easee.__class__.__call__
    told = []

    async def look(request):
        left_s = request.extensions["left_s"]
        told.append((request.url.path, left_s()))
        if request.url.path == START.path:
            clock.advance(31)
            told.append((request.url.path, left_s()))
        return await serve(easee, request)

    cloud._http._transport = httpx.MockTransport(look)
    await cloud.send(START, within_s=30)

    assert told[-2:] == [(START.path, 30), (START.path, -1)]


async def test_a_command_leaves_only_while_the_lease_holds(make, easee, clock):
    """Another worker serves the charger afterwards; what changes nothing is not held to it."""
    cloud = make()
    await cloud.send(START, within_s=30)
    serve, told = easee.__class__.__call__, []
    until_s = clock.now().mono_s + 3.6
    cloud._lease_left_s = lambda: until_s - clock.now().mono_s

    async def look(request):
        told.append((request.method, request.extensions["left_s"]()))
        return await serve(easee, request)

    cloud._http._transport = httpx.MockTransport(look)
    await cloud.send(replace(START, command=True), within_s=30)
    await cloud.send(charger_list_request(), within_s=30)

    assert told == [("POST", pytest.approx(3.6)), ("GET", 30)]


async def test_a_lease_that_ran_out_says_nothing_about_the_cloud(make, clock):
    """However many commands do not leave: a worker that cannot reach the cloud gives back."""
    cloud = make()
    await cloud.send(START, within_s=30)
    cloud._lease_left_s = lambda: -1.0

    def look(request):
        assert request.extensions["left_s"]() < 0
        raise DeadlineExceeded("late")

    cloud._http._transport = httpx.MockTransport(look)
    for _ in range(5):
        with pytest.raises(CloudUnavailable):
            await cloud.send(START, within_s=30)
        clock.advance(60)

    said = [event.state for event in cloud.events if isinstance(event, CloudStatusChanged)]
    assert said == ["ok"]


async def test_a_refresh_token_is_never_used_twice(make, easee, clock, tmp_path):
    """Lost answers, crashes and refusals included: each refresh token is sent once at most."""
    cloud = make()
    await cloud.send(START, within_s=30)
    clock.advance(4000)
    easee.script(REFRESH, httpx.ReadTimeout("lost"))
    with pytest.raises(CloudUnavailable) as caught:
        await cloud.send(START, within_s=30)
    assert not isinstance(caught.value, OutcomeUnknown)
    assert stored(tmp_path)["refresh_token"] is None

    # The process dies here; the next one finds no refresh token to repeat.
    await make().send(START, within_s=30)
    assert easee.paths == [LOGIN, START.path, REFRESH, LOGIN, START.path]
    assert len(easee.refreshes_seen) == len(set(easee.refreshes_seen))


async def test_a_refresh_that_was_not_sent_keeps_its_token(make, easee, clock):
    """No connection: the refresh token is as good as before."""
    cloud = make()
    await cloud.send(START, within_s=30)
    clock.advance(4000)
    easee.script(REFRESH, httpx.ConnectError("refused"))
    with pytest.raises(CloudUnavailable):
        await cloud.send(START, within_s=30)
    clock.advance(100)
    await cloud.send(START, within_s=30)

    assert easee.paths == [LOGIN, START.path, REFRESH, REFRESH, START.path]


async def test_a_token_file_that_cannot_be_written_is_no_reason_to_stop(make, tmp_path):
    """Without storage the gateway works, and says what the next start will cost."""
    (tmp_path / "tokens.json").mkdir()
    with capture_logs() as logs:
        assert (await make().send(START, within_s=30)).status == 202

    assert {"tokens.ignored", "tokens.not_saved"} <= {line["event"] for line in logs}


# -- limits ---------------------------------------------------------------------------------------


@pytest.mark.fault("F25")
async def test_a_429_is_obeyed_by_its_group_only(make, easee, clock):
    """The time that was named passes without a request of this kind; others go on."""
    cloud = make()
    easee.script("/state/EH123456/observations", answer(429, None, Retry_After="180"))
    with pytest.raises(RateLimited) as caught:
        await cloud.send(READ, within_s=30)
    assert (caught.value.retry_after_s, caught.value.local, caught.value.status) == (
        180.0,
        False,
        429,
    )
    asked = len(easee.paths)
    clock.advance(60)
    with pytest.raises(RateLimited) as held:
        await cloud.send(READ, within_s=30)
    assert held.value.local
    assert held.value.retry_after_s == 120.0
    assert len(easee.paths) == asked

    await cloud.send(START, within_s=30)
    clock.advance(121)
    await cloud.send(READ, within_s=30)


async def test_a_short_wait_for_the_budget_is_waited(make, clock):
    """When there is room in time the request waits instead of failing."""
    cloud = make()
    for _ in range(3):
        await cloud.send(LIST, within_s=90)

    assert len(clock.slept_s) == 1
    assert 55 <= clock.slept_s[0] <= 65


async def test_a_long_wait_for_the_budget_is_refused_at_once(make, easee, clock):
    """When there is no room in time nobody waits and nothing is sent."""
    cloud = make()
    for _ in range(2):
        await cloud.send(LIST, within_s=10)
    with pytest.raises(RateLimited) as caught:
        await cloud.send(LIST, within_s=10)

    assert caught.value.local
    assert clock.slept_s == []
    assert easee.paths.count("/api/chargers") == 2


@pytest.mark.parametrize(
    ("refusal", "silence_s"),
    [
        (lambda: answer(403, {"message": "Forbidden"}), 86_400),
        (lambda: answer(403, {"message": "Too many requests, your IP is now blocked"}), 86_400),
        (lambda: answer(429, {"message": "IP blocked"}, Retry_After="7200"), 7200),
    ],
)
async def test_a_block_is_silence_across_restarts(make, easee, clock, refusal, silence_s):
    """Not one request until it is over, from this process or the next."""
    cloud = make()
    easee.script(START.path, refusal())
    with pytest.raises(Blocked) as caught:
        await cloud.send(START, within_s=30)
    assert caught.value.retry_after_s == silence_s
    assert [event.state for event in cloud.events] == ["blocked"]
    assert "nothing is sent before" in cloud.events[0].detail

    asked = len(easee.paths)
    for gateway in (cloud, make()):
        clock.advance(silence_s / 4)
        for attempt in (
            gateway.send(START, within_s=30),
            gateway.send(READ, within_s=30),
            gateway.token(),
            gateway.negotiate("https://streams.easee.com/hubs/chargers", "t"),
        ):
            with pytest.raises(Blocked) as silent:
                await attempt
            assert silent.value.status is None
            assert silent.value.retry_after_s <= silence_s
        assert [event.state for event in gateway.events] == ["blocked"]
    assert len(easee.paths) == asked

    clock.advance(silence_s)
    await gateway.send(START, within_s=30)
    assert [event.state for event in gateway.events] == ["blocked", "ok"]


async def test_no_clock_makes_a_block_longer_than_it_was(make, easee, clock):
    """A restart before the clock is set waits as long as was named, and not for a day."""
    easee.script(START.path, answer(403, {"message": "IP blocked"}, Retry_After="300"))
    with pytest.raises(Blocked):
        await make().send(START, within_s=30)

    clock.wall -= timedelta(days=500)
    clock.trusted = False
    with pytest.raises(Blocked) as silent:
        await make().send(READ, within_s=30)
    assert silent.value.retry_after_s == 300


async def test_a_block_during_login_is_a_block(make, easee):
    """A blocked login is no matter of credentials."""
    easee.script(LOGIN, answer(403, {"message": "Forbidden"}))
    cloud = make()
    with pytest.raises(Blocked):
        await cloud.send(START, within_s=30)
    with pytest.raises(Blocked):
        await cloud.send(START, within_s=30)

    assert easee.paths == [LOGIN]


# -- trouble --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "headers", "wait_s"),
    [(500, {}, None), (502, {}, None), (503, {}, 60.0), (504, {"Retry_After": "9"}, 9.0)],
)
@pytest.mark.fault("F26")
async def test_trouble_of_the_cloud_is_unavailable(make, easee, status, headers, wait_s):
    """5xx is nobody's fault; 503 means about a minute unless it says otherwise."""
    cloud = make()
    easee.script(START.path, answer(status, None, **headers))
    with pytest.raises(CloudUnavailable) as caught:
        await cloud.send(START, within_s=30)

    assert (caught.value.status, caught.value.retry_after_s) == (status, wait_s)


async def test_a_lost_answer_is_an_unknown_outcome(make, easee):
    """The command may have been carried out, and is not sent again here."""
    cloud = make()
    easee.script(START.path, httpx.ReadTimeout("lost"))
    with pytest.raises(OutcomeUnknown):
        await cloud.send(START, within_s=30)

    assert easee.paths == [LOGIN, START.path]


@pytest.mark.fault("F24")
async def test_nothing_is_sent_after_its_time(make, easee, clock):
    """When the token took all the time there was, the request stays here."""
    cloud = make()
    await cloud.send(START, within_s=30)
    token = cloud._tokens.token

    async def slow(**keywords):
        clock.advance(31)
        return await token(**keywords)

    cloud._tokens.token = slow
    with pytest.raises(CloudUnavailable):
        await cloud.send(START, within_s=30)

    assert easee.paths == [LOGIN, START.path]


async def test_an_outage_is_told_once(make, easee):
    """Three troubles in a row are told, the fourth adds nothing, the end is told."""
    cloud = make()
    await cloud.send(START, within_s=30)
    easee.script(START.path, *(answer(500) for _ in range(4)))
    for _ in range(4):
        with pytest.raises(CloudUnavailable):
            await cloud.send(START, within_s=30)
    await cloud.send(START, within_s=30)

    assert [event.state for event in cloud.events] == ["ok", "unavailable", "ok"]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (301, "redirected"),
        (307, "redirected"),
        (400, "bad_request"),
        (403, "forbidden"),
        (404, "not_found"),
        (405, "method_not_allowed"),
    ],
)
async def test_a_refusal_is_named(make, easee, status, reason):
    """Refusals carry status and reason; redirects are not followed."""
    cloud = make()
    easee.script(START.path, answer(status, None, Location="/api/elsewhere"))
    with pytest.raises(CloudRejected) as caught:
        await cloud.send(START, within_s=30)

    assert (caught.value.status, caught.value.reason) == (status, reason)
    assert easee.paths == [LOGIN, START.path]


@pytest.mark.fault("F25")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_to_another_host_is_a_429(make, easee, clock, status):
    """It is a rate limiter's: not followed, its group waits, the status is the true one."""
    cloud = make()
    easee.script(START.path, answer(status, None, Location="https://limiter.example/"))
    with pytest.raises(RateLimited) as caught:
        await cloud.send(START, within_s=30)
    error = caught.value
    assert (error.status, error.local, error.retry_after_s) == (status, False, 120)
    with pytest.raises(RateLimited) as held:
        await cloud.send(START, within_s=30)
    assert held.value.local
    clock.advance(120)
    await cloud.send(START, within_s=30)

    assert easee.paths == [LOGIN, START.path, START.path]


async def test_a_login_that_is_sent_to_another_host_is_a_429_too(make, easee):
    """The password goes nowhere else, and the next login waits as long."""
    cloud = make()
    easee.script(LOGIN, answer(307, None, Location="https://limiter.example/api/accounts/login"))
    for _ in range(2):
        with pytest.raises(RateLimited):
            await cloud.send(START, within_s=30)

    assert easee.paths == [LOGIN]


async def test_a_result_somewhere_else_leaves_it_open(make, easee):
    """303 says that something was done; behind a question it is a refusal like others."""
    cloud = make()
    asked = charger_list_request()
    for path in (START.path, asked.path):
        easee.script(path, answer(303, None, Location="/api/result/7"))
    with pytest.raises(OutcomeUnknown) as caught:
        await cloud.send(START, within_s=30)
    assert caught.value.status == 303
    with pytest.raises(CloudRejected, match="moved"):
        await cloud.send(asked, within_s=30)


# -- the hub and the check ------------------------------------------------------------------------


async def test_negotiate_uses_the_token_it_is_given(make, easee):
    """The stream gets the body of the answer."""
    cloud = make()
    body = await cloud.negotiate(HUB, await cloud.token())

    assert easee.tokens_seen == [easee.access]
    assert json.loads(body) == {"connectionToken": "c"}


async def test_negotiate_goes_to_configured_hosts_only(make, easee):
    """The token is not given to another hub, and not without TLS."""
    cloud = make()
    for url in ("https://evil.example/hubs/chargers", "http://streams.easee.com/hubs/chargers"):
        with pytest.raises(CloudRejected):
            await cloud.negotiate(url, "t")

    assert easee.paths == []


async def test_the_probe_says_what_it_found(make):
    """One line: where, and which chargers; the serials are to be had alone too."""
    assert await make().list_chargers() == ("EH123456",)
    assert await make().probe() == (
        "logged in at https://api.easee.com; the account lists 1 charger(s): EH123456"
    )


async def test_the_probe_notices_another_service(make, easee):
    """A page with status 200 is not the cloud."""
    easee.script("/api/chargers", answer(200, {"hello": "world"}))
    with pytest.raises(CloudUnavailable) as caught:
        await make().probe()

    assert "not like the Easee cloud" in str(caught.value)


# -- secrets --------------------------------------------------------------------------------------


async def test_no_secret_is_in_an_error_a_log_line_or_an_event(make, easee, clock):
    """Whatever the cloud echoes, password and tokens stay out of everything people can see."""
    errors = []
    with capture_logs() as logs:
        cloud = make()
        await cloud.send(START, within_s=30)
        echo = {"title": f"bad token {easee.access}", "errors": {"x": [f"not {PASSWORD}"]}}
        long = {"title": f"{'.' * 190} {easee.access}"}
        easee.script(
            START.path,
            answer(400, echo),
            answer(400, long),
            answer(500, echo),
            answer(429, echo),
            answer(401, echo),
            httpx.ReadTimeout(f"x {easee.access[:3]}"),
            lambda: answer(403, {"message": f"IP blocked, token {easee.access}"}),
        )
        easee.script(REFRESH, answer(400, echo))
        easee.script(LOGIN, answer(400, echo), answer(401, CREDENTIALS), answer(400, CREDENTIALS))
        for _ in range(10):
            try:
                await cloud.send(START, within_s=30)
            except BridgeError as error:
                errors.append("".join(traceback.format_exception(error)))
                errors.append(repr(error))
            clock.advance(3000)

    seen = f"{errors} {logs} {cloud.events} {cloud!r}"
    assert len(errors) >= 12
    assert "canary" not in seen

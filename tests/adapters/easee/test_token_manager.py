import asyncio
import contextlib
import json

import pytest
from structlog.testing import capture_logs

from bridge.adapters.easee.http_client import HttpResponse
from bridge.adapters.easee.token_file import TokenFile
from bridge.adapters.easee.token_manager import LOGIN_PATH, REFRESH_PATH, TokenManager
from bridge.core.records.stored_tokens import StoredTokens
from bridge.errors import AuthFailed, Blocked, CloudUnavailable, OutcomeUnknown, RateLimited
from bridge.settings import EaseeSettings, Secret

pytestmark = pytest.mark.anyio


def pair(number):
    """Make the answer to a successful login or refresh."""
    document = {"accessToken": f"a{number}", "refreshToken": f"r{number}", "expiresIn": 3600}
    return HttpResponse(200, json.dumps(document).encode())


class Post:
    """Answers logins and refreshes from a list, and remembers them."""

    def __init__(self):
        self.answers = []
        self.paths = []
        self.refreshes = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, path, body):
        self.paths.append(path)
        if path == REFRESH_PATH:
            self.refreshes.append(json.loads(body)["refreshToken"])
        await self.gate.wait()
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def post():
    """The cloud's side."""
    return Post()


@pytest.fixture
async def account(post, clock, tmp_path):
    """An account that was never logged in."""
    made = TokenManager(
        EaseeSettings("someone@example.com", Secret("canary")),
        tokens=TokenFile(tmp_path / "tokens.json", "account"),
        clock=clock,
        post=post,
    )
    assert made.restore() == 0
    yield made
    await made.close()


STEPS = [
    # what the refused token came from, was it accepted before, what follows
    ("login", True, [REFRESH_PATH]),
    ("refresh", True, [REFRESH_PATH]),
    ("refresh", False, [LOGIN_PATH]),
    ("login", False, []),
]


@pytest.mark.parametrize(("origin", "proven", "expected"), STEPS)
async def test_what_follows_a_refused_token(account, post, origin, proven, expected):
    """The table at the head of the module is what happens."""
    post.answers = [pair(1), pair(2), pair(3)]
    token = await account.token()
    if origin == "refresh":
        account.mark_accepted(token)
        token = await account.token(rejected=token.reveal())
    if proven:
        account.mark_accepted(token)
    asked = len(post.paths)
    if expected:
        assert await account.token(rejected=token.reveal()) != token
    else:
        with pytest.raises(AuthFailed):
            await account.token(rejected=token.reveal())

    assert post.paths[asked:] == expected


@pytest.mark.parametrize(
    ("error", "refreshes"),
    [
        (CloudUnavailable("no connection"), ["r1", "r1"]),
        (RateLimited("spent", retry_after_s=1, local=True), ["r1", "r1"]),
        (Blocked("silent", status=None, retry_after_s=1), ["r1", "r1"]),
        (CloudUnavailable("trouble", status=500), ["r1"]),
        (OutcomeUnknown("lost"), ["r1"]),
        (RateLimited("429", retry_after_s=1), ["r1"]),
        (Blocked("blocked", status=403, retry_after_s=1), ["r1"]),
    ],
)
async def test_a_refresh_token_is_kept_only_if_it_was_not_sent(
    account, post, clock, error, refreshes
):
    """What may have reached the cloud is never sent a second time."""
    post.answers = [pair(1), error, pair(2)]
    await account.token()
    clock.advance(3601)
    with pytest.raises(type(error) if not isinstance(error, OutcomeUnknown) else CloudUnavailable):
        await account.token()
    clock.advance(120)
    await account.token()

    assert post.refreshes == refreshes
    assert post.paths[-1] == (REFRESH_PATH if len(refreshes) == 2 else LOGIN_PATH)


async def test_a_refresh_that_cannot_be_read_costs_a_login(account, post, clock):
    """A page instead of tokens: the refresh token is spent, so the account logs in."""
    post.answers = [pair(1), HttpResponse(200, b"<html>"), pair(2)]
    await account.token()
    clock.advance(3601)
    await account.token()

    assert post.paths == [LOGIN_PATH, REFRESH_PATH, LOGIN_PATH]


async def test_a_login_refused_for_another_reason_is_not_about_the_password(account, post):
    """Say status, code and the vendor's words without a secret, and wait ten minutes at least."""
    post.answers = [HttpResponse(403, b'{"errorCode": 7, "title": "Locked, canary"}')]
    with pytest.raises(AuthFailed) as caught:
        await account.token()

    assert not caught.value.credentials_wrong
    assert caught.value.state == "login_refused"
    assert caught.value.retry_after_s == 900.0
    assert str(caught.value) == (
        "the login was refused with status 403, code 7 (forbidden): Locked, ***; next try in 15 min"
    )


@pytest.mark.parametrize("password", ["n", "100", "error", "errorCode", "Invalid user"])
async def test_a_wrong_password_is_known_whatever_it_is(post, clock, tmp_path, password):
    """The vendor's code is read although the password is a part of the answer."""
    account = TokenManager(
        EaseeSettings("someone@example.com", Secret(password)),
        tokens=TokenFile(tmp_path / "tokens.json", "account"),
        clock=clock,
        post=post,
    )
    post.answers = [
        HttpResponse(400, b'{"errorCode":100,"title":"Invalid user or password","type":null}')
    ]
    with pytest.raises(AuthFailed) as caught:
        await account.token()

    assert caught.value.credentials_wrong


REFUSED_LOGINS = [
    (400, b'{"errorCode":104,"errorCodeName":"AccountLocked","title":"Account is locked"}'),
    (400, b'{"type":"about:blank","title":"Account is locked","status":400,"detail":"x"}'),
    (400, b""),
    (400, b"{}"),
    (401, b""),
    (403, b"Access is not granted"),
    (409, b'{"message":"terms"}'),
    (422, b'{"errors":{"userName":["is locked"]}}'),
    (423, b'["locked"]'),
]


@pytest.mark.parametrize(("status", "body"), REFUSED_LOGINS)
async def test_a_refused_login_is_tried_once_in_ten_minutes(account, post, clock, status, body):
    """Whatever the refusal looks like; nobody says that the password is wrong."""
    post.answers = [HttpResponse(status, body) for _ in range(20)]
    for _ in range(12):
        with pytest.raises(AuthFailed) as caught:
            await account.token()
        assert caught.value.state == "login_refused"
        assert "password" not in str(caught.value)
        clock.advance(300)

    assert 2 <= len(post.paths) <= 6


@pytest.mark.parametrize(
    "said",
    [
        "someone@example.com is locked",
        "Someone@Example.com is locked",
        "+47 123 45 678 is locked",
        "4712345678 is locked",
        'user \\"someone@example.com\\" is locked',
    ],
)
async def test_who_was_refused_is_not_repeated(account, post, said):
    """A refusal may name the user; alerts and logs do not."""
    post.answers = [HttpResponse(400, f'{{"errorCode": 104, "title": "{said}"}}'.encode())]
    with capture_logs() as logs, pytest.raises(AuthFailed) as caught:
        await account.token()

    seen = f"{caught.value} {logs}"
    assert "is locked" in seen
    for part in ("someone", "Someone", "4712345678", "123 45"):
        assert part not in seen


LIFETIMES = [("3600", 3600), (None, 3600), ("soon", 3600), (-1, 3600), (True, 3600), (1800.5, 1800)]


@pytest.mark.parametrize("lifetime", LIFETIMES)
@pytest.mark.parametrize("path", [LOGIN_PATH, REFRESH_PATH])
async def test_a_lifetime_of_any_kind_is_used(account, post, clock, lifetime, path):
    """A text, nothing or nonsense: the token is used, and renewed once at its end."""
    told, lasts_s = lifetime
    odd = {"accessToken": "a2", "refreshToken": "r2", "expiresIn": told}
    answer = HttpResponse(200, json.dumps(odd).encode())
    post.answers = [answer] if path == LOGIN_PATH else [pair(1), answer]
    await account.token()
    if path == REFRESH_PATH:
        clock.advance(3601)
    assert (await account.token()).reveal() == "a2"
    asked = len(post.paths)
    clock.advance(lasts_s * 0.79)
    assert (await account.token()).reveal() == "a2"
    assert len(post.paths) == asked

    post.answers = [pair(3)]
    clock.advance(lasts_s * 0.21 + 1)
    assert (await account.token()).reveal() == "a3"
    assert post.paths[asked:] == [REFRESH_PATH]


@pytest.mark.parametrize("refresh", [{}, {"refreshToken": None}, {"refreshToken": ""}])
async def test_without_a_refresh_token_the_next_login_comes_at_the_end(
    account, post, clock, refresh
):
    """Such an answer is used to its end, and not thrown away."""
    alone = HttpResponse(
        200, json.dumps({"accessToken": "a1", "expiresIn": 3600} | refresh).encode()
    )
    post.answers = [alone, pair(2)]
    for _ in range(35):
        assert (await account.token()).reveal() == "a1"
        clock.advance(100)
    assert post.paths == [LOGIN_PATH]

    clock.advance(101)
    assert (await account.token()).reveal() == "a2"
    assert post.paths == [LOGIN_PATH, LOGIN_PATH]


async def test_a_cloud_that_forgets_every_login_is_not_stormed(account, post, clock):
    """Each token is taken once and then refused: a handful of logins in half an hour, no more."""
    alone = HttpResponse(200, json.dumps({"accessToken": "a", "expiresIn": 5}).encode())
    post.answers = [alone] * 200
    rejected = None
    for _ in range(180):
        with contextlib.suppress(CloudUnavailable):
            token = await account.token(rejected=rejected)
            account.mark_accepted(token)
            rejected = token.reveal()
        clock.advance(10)

    assert 2 <= post.paths.count(LOGIN_PATH) <= 5


async def test_an_answer_without_a_token_is_not_asked_for_again_soon(account, post, clock):
    """A 2xx with something else in it is waited out for ten minutes."""
    post.answers = [HttpResponse(200, b'{"accessToken": null}'), pair(1)]
    with pytest.raises(CloudUnavailable) as caught:
        await account.token()
    assert caught.value.retry_after_s >= 600

    clock.advance(601)
    await account.token()


async def test_the_hubs_refusal_never_holds_rest(account, post):
    """It costs one renewal; refused again, the token at hand goes on serving both."""
    post.answers = [pair(1), pair(2)]
    first = (await account.token_for_hub()).reveal()
    second = (await account.token_for_hub(rejected=first)).reveal()
    assert (first, second) == ("a1", "a2")

    assert (await account.token_for_hub()).reveal() == second
    assert (await account.token()).reveal() == second
    assert post.paths == [LOGIN_PATH, REFRESH_PATH]


async def test_a_token_that_rest_refuses_still_serves_the_hub(account, post, clock):
    """REST waits ten minutes at least; the hub uses the token as long as it lives."""
    post.answers = [pair(1), pair(2)]
    token = (await account.token()).reveal()
    with pytest.raises(AuthFailed) as caught:
        await account.token(rejected=token)
    assert caught.value.state == "token_refused"
    assert caught.value.retry_after_s >= 600

    assert (await account.token_for_hub()).reveal() == token
    clock.advance(caught.value.retry_after_s + 1)
    assert (await account.token()).reveal() == "a2"
    assert post.paths == [LOGIN_PATH, LOGIN_PATH]


@pytest.mark.fault("F26")
async def test_outages_are_waited_out_longer_and_longer(account, post, clock):
    """Logins in an outage come at growing, bounded intervals, and the count ends with success."""
    waits = []
    post.answers = [CloudUnavailable("x", status=500) for _ in range(6)] + [pair(1)]
    for _ in range(6):
        with pytest.raises(CloudUnavailable) as caught:
            await account.token()
        waits.append(caught.value.retry_after_s)
        clock.advance(caught.value.retry_after_s)
    assert waits == [7.5, 15.0, 30.0, 60.0, 67.5, 67.5]

    assert (await account.token()).reveal() == "a1"


async def test_a_time_the_cloud_names_is_waited(account, post):
    """Retry-After of a failed login is longer than our own wait, so it counts."""
    post.answers = [CloudUnavailable("x", status=503, retry_after_s=300.0)]
    with pytest.raises(CloudUnavailable) as caught:
        await account.token()

    assert caught.value.retry_after_s == 300.0


async def test_a_failed_early_refresh_leaves_the_old_token_in_use(account, post, clock):
    """While the old token lives an outage of the login is nobody's problem."""
    post.answers = [pair(1), CloudUnavailable("x")]
    await account.token()
    clock.advance(3000)
    for _ in range(5):
        assert (await account.token()).reveal() == "a1"
        await asyncio.sleep(0.005)

    assert post.paths == [LOGIN_PATH, REFRESH_PATH]


async def test_closing_during_a_login_ends_it(account, post):
    """Whoever waits for the token is told; nothing is left running."""
    post.gate.clear()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(refused(account))
        await asyncio.sleep(0.005)
        await account.close()

    assert isinstance(waiting.result(), CloudUnavailable)


async def refused(account):
    """Return the error a token is refused with."""
    try:
        await account.token()
    except CloudUnavailable as error:
        return error
    return None


# -- tokens that several workers share ------------------------------------------------------------


class SharedVault:
    """What workers share, in memory: a lock, and the tokens that were kept last."""

    def __init__(self):
        self.kept = StoredTokens()
        self.lock = asyncio.Lock()

    def load(self):
        return self.kept

    def save(self, tokens):
        self.kept = tokens

    @contextlib.asynccontextmanager
    async def renewing(self):
        async with self.lock:
            yield self.kept


@pytest.fixture
async def workers(post, clock):
    """Three workers of one account."""
    vault = SharedVault()
    settings = EaseeSettings("someone@example.com", Secret("canary"))
    made = [TokenManager(settings, tokens=vault, clock=clock, post=post) for _ in range(3)]
    yield made
    for each in made:
        await each.close()


async def test_one_login_serves_all_workers(workers, post):
    """Who comes second finds the tokens of the first."""
    post.answers = [pair(1)]
    tokens = await asyncio.gather(*(each.token() for each in workers))

    assert {token.reveal() for token in tokens} == {"a1"}
    assert post.paths == [LOGIN_PATH]


async def test_one_refresh_serves_all_workers(workers, post, clock):
    """Its refresh token is sent once, however many find the old one at its end."""
    post.answers = [pair(1), pair(2)]
    for each in workers:
        each.mark_accepted(await each.token())
    clock.advance(3601)
    tokens = [await each.token() for each in workers]

    assert {token.reveal() for token in tokens} == {"a2"}
    assert post.refreshes == ["r1"]


async def test_a_token_that_another_worker_replaced_is_not_refreshed_again(workers, post):
    """A 401 for the old one leads to the newer one."""
    post.answers = [pair(1), pair(2)]
    old = [await each.token() for each in workers[:2]]
    for each, token in zip(workers, old, strict=False):
        each.mark_accepted(token)
    await workers[0].token(rejected="a1")

    assert (await workers[1].token(rejected="a1")).reveal() == "a2"
    assert post.refreshes == ["r1"]
    assert b"r2" not in workers[1].redact(b"r1 a2 r2")

"""One login for all workers, and one refresh."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from bridge.adapters.easee.http_client import HttpResponse
from bridge.adapters.easee.token_manager import LOGIN_PATH, REFRESH_PATH, TokenManager
from bridge.adapters.store.postgres.connection import Connection
from bridge.adapters.store.postgres.tokens import SharedTokens
from bridge.core.records.stored_tokens import StoredTokens
from bridge.errors import AuthFailed, CloudUnavailable
from bridge.settings import EaseeSettings, Secret

pytestmark = pytest.mark.anyio
EASEE = EaseeSettings("someone@example.com", Secret("canary"))


class Cloud:
    """Rotates tokens, and never takes a refresh token twice."""

    def __init__(self):
        self.paths = []
        self.refreshed = []
        self.refuses = False

    async def __call__(self, path, body):
        self.paths.append(path)
        await asyncio.sleep(0.01)
        if self.refuses:
            document = {"errorCode": 100, "errorCodeName": "InvalidUserPassword"}
            return HttpResponse(400, json.dumps(document).encode())
        if path == REFRESH_PATH:
            self.refreshed.append(json.loads(body)["refreshToken"])
            assert len(set(self.refreshed)) == len(self.refreshed), "reuse: taken for theft"
        number = len(self.paths)
        document = {"accessToken": f"a{number}", "refreshToken": f"r{number}", "expiresIn": 3600}
        return HttpResponse(200, json.dumps(document).encode())


@pytest.fixture
def cloud():
    """The cloud's side."""
    return Cloud()


@pytest.fixture
async def connections(server, database):
    """Makes connections."""
    made = []

    def make():
        made.append(Connection(server.settings))
        return made[-1]

    yield make
    for each in made:
        await each.close()


@pytest.fixture
async def workers(connections, cloud, clock):
    """Three workers of one account."""
    made = [
        TokenManager(
            EASEE,
            tokens=SharedTokens(connections(), connections(), "account"),
            clock=clock,
            post=cloud,
        )
        for _ in range(3)
    ]
    yield made
    for each in made:
        await each.close()


async def tokens_of(workers, **how):
    """Ask all workers at once."""
    found = await asyncio.gather(*(each.token(**how) for each in workers))
    return [token.reveal() for token in found]


async def test_one_login_and_one_refresh_an_hour_serve_all(workers, cloud, clock):
    """For ten hours, whoever comes first."""
    assert await tokens_of(workers) == ["a1"] * 3
    assert cloud.paths == [LOGIN_PATH]
    for hour in range(2, 12):
        for each in workers:
            each.mark_accepted(Secret(f"a{hour - 1}"))
        clock.advance(3601)
        assert await tokens_of(workers) == [f"a{hour}"] * 3
    assert cloud.paths == [LOGIN_PATH] + [REFRESH_PATH] * 10


async def test_a_token_that_is_refused_to_all_is_renewed_once(workers, cloud):
    """The others take over what the first one got."""
    await tokens_of(workers)
    for each in workers:
        each.mark_accepted(Secret("a1"))

    assert await tokens_of(workers, rejected="a1") == ["a2"] * 3
    assert cloud.refreshed == ["r1"]


async def test_a_worker_that_is_started_later_needs_no_login(workers, connections, cloud, clock):
    """It finds the tokens of the others."""
    await tokens_of(workers)
    late = TokenManager(
        EASEE, tokens=SharedTokens(connections(), connections(), "account"), clock=clock, post=cloud
    )
    assert late.restore() == 0.0

    assert (await late.token()).reveal() == "a1"
    assert cloud.paths == [LOGIN_PATH]
    await late.close()


async def test_wrong_credentials_are_tried_by_one_worker(workers, cloud, server, clock):
    """The others are told the same, and wait."""
    cloud.refuses = True
    outcomes = await asyncio.gather(*(each.token() for each in workers), return_exceptions=True)

    assert all(isinstance(each, AuthFailed) and each.credentials_wrong for each in outcomes)
    assert cloud.paths == [LOGIN_PATH]
    cloud.refuses = False
    clock.advance(1801)
    server.sql("UPDATE renewal SET refused_until = refused_until - interval '1801 s'")
    assert await tokens_of(workers) == ["a2"] * 3


async def test_a_worker_that_dies_while_it_renews_keeps_nobody(connections, server):
    """Its lock goes with its connection; its refresh token is not sent again."""
    dying, other = (SharedTokens(connections(), connections(), "account") for _ in range(2))
    await asyncio.to_thread(dying.save, StoredTokens(Secret("a1"), Secret("r1")))

    async def renew():
        async with dying.renewing() as kept:
            assert kept.refresh == Secret("r1")
            await asyncio.to_thread(dying.save, StoredTokens(Secret("a1")))
            server.sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE state = 'idle in transaction'"
            )

    outcome = await asyncio.gather(renew(), return_exceptions=True)
    assert isinstance(outcome[0], CloudUnavailable)
    async with other.renewing() as kept:
        assert kept == StoredTokens(Secret("a1"))


async def test_every_field_is_kept_and_nothing_of_another_account(connections):
    """Times come back in UTC."""
    at = datetime(2026, 11, 22, 12, 0, tzinfo=UTC) + timedelta(hours=1)
    tokens = StoredTokens(Secret("a"), Secret("r"), at)
    one, other = (SharedTokens(connections(), connections(), name) for name in ("one", "other"))
    await asyncio.to_thread(one.save, tokens)

    async with one.renewing() as kept, other.renewing() as others:
        assert (kept, others) == (tokens, StoredTokens())
    assert one.load() == StoredTokens()


async def test_what_could_not_be_kept_is_kept_at_the_next_renewal(connections, server):
    """Nobody is given a refresh token that was replaced."""
    vault = SharedTokens(connections(), connections(), "account")
    await asyncio.to_thread(vault.save, StoredTokens(Secret("a1"), Secret("r1")))
    server.shut()
    try:
        await asyncio.to_thread(vault.save, StoredTokens(Secret("a2"), Secret("r2")))
        with pytest.raises(CloudUnavailable):
            async with vault.renewing():
                pass
    finally:
        server.open_()

    async with vault.renewing() as kept:
        assert kept == StoredTokens(Secret("a2"), Secret("r2"))

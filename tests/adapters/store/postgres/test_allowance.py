"""One budget for all workers of an account."""

import asyncio
import itertools

import pytest

from bridge.adapters.store.postgres.allowance import (
    OUTAGE_COMMANDS,
    OUTAGE_RESERVE,
    SharedAllowance,
)
from bridge.adapters.store.postgres.connection import Connection
from bridge.core.easee.rate_limits import COMMAND_RESERVE, GLOBAL_LIMIT, TRIAL_S
from bridge.core.easee.rest_requests import CloudRequest, Endpoint, charger_list_request
from bridge.errors import CloudUnavailable

pytestmark = pytest.mark.anyio
LIST = charger_list_request()
WINDOW_S = GLOBAL_LIMIT.window_s


def start(number):
    """Make a command for one of many chargers: no limit but the account's."""
    path = f"/api/chargers/EH{number:06}/commands/start_charging"
    return CloudRequest("POST", path, Endpoint.CHARGER_COMMAND, f"EH{number:06}", command=True)


def read(number):
    """Make a question for one of many chargers."""
    return CloudRequest("GET", f"/api/chargers/EH{number:06}/x", Endpoint.OTHER, f"EH{number:06}")


@pytest.fixture
async def workers(server, database, clock):
    """Three workers of one account, each with a clock and a connection."""
    connections = [Connection(server.settings) for _ in range(3)]
    yield [SharedAllowance(each, "account", clock) for each in connections]
    for each in connections:
        await each.close()


class Account:
    """Lets time pass, and remembers when what was reserved."""

    def __init__(self, server, clock):
        self.server = server
        self.clock = clock
        self.at_s = 0.0
        self.sent = []

    def advance(self, seconds):
        self.at_s += seconds
        self.clock.advance(seconds)
        for table, column in (
            ("request", "at"), ("cooldown", "until"), ("account", "silent_until"),
        ):  # fmt: skip
            self.server.sql(
                f"UPDATE {table} SET {column} = {column} - make_interval(secs => $1)", seconds
            )

    async def demand(self, worker, request):
        """Reserve as long as there is room; return how long the rest would wait."""
        while not (wait_s := await worker.reserve(request())):
            self.sent.append(self.at_s)
        return wait_s

    def most_within(self, window_s):
        """Return how many requests the fullest window holds."""
        return max(sum(at <= each < at + window_s for each in self.sent) for at in set(self.sent))


async def test_three_workers_at_full_demand_stay_within_the_limit(workers, server, clock):
    """Commands and questions, for twenty minutes, in every five of them."""
    account, numbers = Account(server, clock), itertools.count()
    for step in range(12):
        kinds = (start, read, start) if step % 2 else (read, start, read)
        await asyncio.gather(
            *(
                account.demand(worker, lambda kind=kind: kind(next(numbers)))
                for worker, kind in zip(workers, kinds, strict=True)
            )
        )
        account.advance(100.0)

    assert account.most_within(WINDOW_S) == GLOBAL_LIMIT.requests - OUTAGE_RESERVE
    assert len(account.sent) >= 3 * (GLOBAL_LIMIT.requests - OUTAGE_RESERVE)


async def test_questions_leave_the_share_of_commands_free(workers, server, clock):
    """Whoever asks them."""
    account, numbers = Account(server, clock), itertools.count()
    await asyncio.gather(*(account.demand(each, lambda: read(next(numbers))) for each in workers))
    assert len(account.sent) == GLOBAL_LIMIT.requests - COMMAND_RESERVE - OUTAGE_RESERVE

    await asyncio.gather(*(account.demand(each, lambda: start(next(numbers))) for each in workers))
    assert len(account.sent) == GLOBAL_LIMIT.requests - OUTAGE_RESERVE


async def test_the_account_has_two_charger_lists_a_minute(workers, server, clock):
    """Not each worker; and what had no room is not counted."""
    account = Account(server, clock)
    for _ in range(30):
        await asyncio.gather(*(account.demand(each, lambda: LIST) for each in workers))
        account.advance(7.0)

    assert account.most_within(60.0) == 2
    assert 6 <= len(account.sent) <= 8


async def test_a_429_to_one_worker_silences_its_group_for_all(workers, server, clock):
    """At once; after the named time one request of one worker tries, and its answer frees all."""
    account = Account(server, clock)
    assert await workers[0].too_many_requests(Endpoint.CHARGER_LIST, "", 40.0) == 40.0
    waits = await asyncio.gather(*(each.reserve(LIST) for each in workers))
    assert all(38.0 < wait_s <= 40.0 for wait_s in waits)
    assert await workers[1].reserve(start(1)) == 0.0

    account.advance(40.0)
    waits = await asyncio.gather(*(each.reserve(LIST) for each in workers))
    assert waits.count(0.0) == 1
    assert all(wait_s <= TRIAL_S for wait_s in waits)
    trier = workers[waits.index(0.0)]
    await trier.accepted(LIST)
    others = [each for each in workers if each is not trier]
    assert await others[0].reserve(LIST) == 0.0


async def test_a_429_without_a_time_is_longer_every_time(workers, server, clock):
    """Whichever worker gets it: 2, 4, 8 minutes."""
    account = Account(server, clock)
    for worker, expected_s in zip(workers, (120.0, 240.0, 480.0), strict=True):
        waited_s = await worker.too_many_requests(Endpoint.CHARGER_LIST, "", None)
        assert expected_s - 1 < waited_s <= expected_s
        account.advance(expected_s)
        assert await worker.reserve(LIST) == 0.0


async def test_a_block_silences_all_workers_for_its_time(workers, server, clock):
    """A shorter one does not end a longer one."""
    account = Account(server, clock)
    await workers[0].block(3600.0)
    await workers[1].block(60.0)
    for each in workers:
        assert 3590.0 < await each.silent_for_s() <= 3600.0
        assert await each.reserve(start(1)) >= 60.0
    account.advance(3601.0)
    for each in workers:
        assert await each.silent_for_s() == 0.0
        assert await each.reserve(start(1)) == 0.0


async def test_every_partition_may_connect_to_the_hub(server, database, clock):
    """Sixteen at a start are no more than one gateway does for each."""
    db = Connection(server.settings)
    worker = SharedAllowance(db, "account", clock, connections=16)
    request = CloudRequest("POST", "/hubs/chargers/negotiate", Endpoint.NEGOTIATE)
    waits = [await worker.reserve(request) for _ in range(40)]
    await db.close()

    assert waits == [0.0] * 40


async def test_another_account_has_another_budget(workers, server, clock):
    """Nothing is shared between accounts."""
    other = Connection(server.settings)
    await workers[0].block(3600.0)

    assert await SharedAllowance(other, "other", clock).reserve(LIST) == 0.0
    await other.close()


async def test_without_the_database_a_few_commands_are_sent_and_counted_later(
    workers, server, clock
):
    """Stop and pause work; a question or a login waits."""
    worker = workers[0]
    assert await worker.reserve(LIST) == 0.0
    server.shut()
    try:
        login = CloudRequest("POST", "/api/accounts/login", Endpoint.LOGIN, command=True)
        for request in (LIST, login):
            with pytest.raises(CloudUnavailable):
                await worker.reserve(request)
        for number in range(OUTAGE_COMMANDS):
            assert await worker.silent_for_s() == 0.0
            assert await worker.reserve(start(number)) == 0.0
        with pytest.raises(CloudUnavailable):
            await worker.reserve(start(99))
        with pytest.raises(CloudUnavailable):
            await worker.silent_for_s()
    finally:
        server.open_()

    waits = await asyncio.gather(*(worker.reserve(read(number)) for number in range(7)))
    assert waits == [0.0] * 7
    sent = server.sql("SELECT count(*) FROM request")[0][0]
    assert sent == 1 + OUTAGE_COMMANDS + 7


async def test_a_429_that_could_not_be_shared_holds_its_worker_and_is_shared_later(
    workers, server, clock
):
    """It is written down as soon as the database answers."""
    server.shut()
    try:
        assert await workers[0].too_many_requests(Endpoint.CHARGER_LIST, "", 300.0) == 300.0
        await workers[0].block(30.0)
        assert await workers[0].silent_for_s() == 30.0
    finally:
        server.open_()
    clock.advance(30.0)
    assert await workers[0].reserve(start(1)) > 0  # the block is told, and begins then
    assert await workers[1].reserve(LIST) > 250.0

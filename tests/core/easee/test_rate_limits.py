import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.core.easee.rate_limits import (
    COMMAND_RESERVE,
    GLOBAL_LIMIT,
    LIMITS,
    RateLimiter,
    limit_of,
)
from bridge.core.easee.rest_requests import CloudRequest, Endpoint

ENDPOINTS = st.sampled_from(list(Endpoint))
SCOPES = st.sampled_from(["EH000001", "EH000002"])


def request(endpoint=Endpoint.OBSERVATIONS, scope="", *, command=False):
    """Make a request of which only the budget matters."""
    return CloudRequest("GET", "/x", endpoint, scope, command=command)


REQUESTS = st.builds(
    lambda endpoint, scope, command: request(endpoint, scope, command=command),
    ENDPOINTS,
    SCOPES,
    st.booleans(),
)


def most_in_any_window(times, window_s):
    """Count the fullest window."""
    return max((sum(t <= other <= t + window_s for other in times) for t in times), default=0)


def flood(budget, wanted, until_s, step_s=1.0, start_s=0.0):
    """Send whatever is allowed whenever it is, and return what went when."""
    sent = []
    now_s = start_s
    while now_s < until_s:
        for one in wanted:
            if budget.wait_s(one, now_s) == 0:
                budget.record(one, now_s)
                budget.accepted(one)
                sent.append((now_s, one))
        now_s += step_s
    return sent


def test_every_endpoint_has_a_limit():
    """No class of requests is without one."""
    assert set(LIMITS) == set(Endpoint)


@given(st.lists(st.tuples(REQUESTS, st.floats(min_value=0, max_value=40)), max_size=300))
def test_no_window_ever_holds_more_than_its_limit(wanted):
    """However requests arrive, no window of any endpoint and scope holds more than its limit."""
    limiter = RateLimiter()
    sent = {}
    now_s = 0.0
    for one, pause_s in wanted:
        now_s += pause_s
        if limiter.wait_s(one, now_s) == 0:
            limiter.record(one, now_s)
            limiter.accepted(one)
            scope = one.scope if LIMITS[one.endpoint].by_scope else ""
            sent.setdefault((one.endpoint, scope), []).append(now_s)

    for (endpoint, _), times in sent.items():
        limit = LIMITS[endpoint]
        assert most_in_any_window(times, limit.window_s) <= limit.requests


@settings(max_examples=10)
@given(st.floats(min_value=0.05, max_value=2.0))
@pytest.mark.fault("F21")
def test_a_flood_never_exceeds_a_limit(step_s):
    """Asking all the time for everything keeps every limit and the one for everything."""
    limiter = RateLimiter()
    wanted = [request(endpoint, command=True) for endpoint in Endpoint]
    wanted += [request(Endpoint.CHARGER_COMMAND, f"EH00000{n}", command=True) for n in range(9)]
    sent = flood(limiter, wanted, until_s=400.0, step_s=step_s)

    for endpoint, limit in LIMITS.items():
        times = [at for at, one in sent if one.endpoint is endpoint and not one.scope]
        assert most_in_any_window(times, limit.window_s) <= limit.requests
    times = [at for at, _ in sent]
    assert most_in_any_window(times, GLOBAL_LIMIT.window_s) <= GLOBAL_LIMIT.requests


def test_reads_leave_the_share_of_commands_alone():
    """However many reads there are, a fifth of the whole budget is left for commands."""
    limiter = RateLimiter()
    chargers = [f"EH{n:06}" for n in range(60)]
    reads = [request(Endpoint.SITE, charger) for charger in chargers]
    sent = flood(limiter, reads, until_s=60.0)
    commands = [request(Endpoint.CHARGER_COMMAND, c, command=True) for c in chargers]
    after = flood(limiter, commands, until_s=61.0, step_s=0.1, start_s=60.0)

    assert len(sent) == GLOBAL_LIMIT.requests - COMMAND_RESERVE
    assert len(after) == COMMAND_RESERVE
    assert limiter.wait_s(reads[0], 61.0) > 0
    assert limiter.wait_s(commands[0], 61.0) > 0


@pytest.mark.parametrize("connections", [1, 2, 16])
def test_each_partition_may_make_its_connection_to_the_hub(connections):
    """All of them at a start, and when their worker is replaced a moment later."""
    limiter = RateLimiter(connections)
    request = CloudRequest("POST", "/hubs/chargers/negotiate", Endpoint.NEGOTIATE)
    sent = 0
    while limiter.wait_s(request, 1000.0) <= 0:
        limiter.record(request, 1000.0)
        sent += 1

    assert sent == limit_of(Endpoint.NEGOTIATE, connections).requests
    assert sent >= 2 * connections
    assert sent == 20 or connections > 1
    others = set(Endpoint) - {Endpoint.NEGOTIATE}
    assert all(limit_of(each, connections) is LIMITS[each] for each in others)


def test_the_wait_is_exact():
    """After the wait that was named a request goes, and not a moment earlier."""
    limiter = RateLimiter()
    one = request(Endpoint.CHARGER_LIST)
    limiter.record(one, 100.0)
    limiter.record(one, 130.0)
    wait_s = limiter.wait_s(one, 140.0)

    assert limiter.wait_s(one, 140.0 + wait_s - 0.001) > 0
    assert limiter.wait_s(one, 140.0 + wait_s) == 0
    assert 20.0 <= wait_s <= 25.0


def test_a_429_on_sessions_does_not_hold_observations():
    """What one group is told does not concern the others, nor another charger."""
    limiter = RateLimiter()
    limiter.too_many_requests(Endpoint.SESSIONS, "EH000001", 10.0, 180.0)

    assert limiter.wait_s(request(Endpoint.SESSIONS, "EH000001"), 10.0) == 180.0
    assert limiter.wait_s(request(Endpoint.SESSIONS, "EH000002"), 10.0) == 0
    assert limiter.wait_s(request(Endpoint.OBSERVATIONS), 10.0) == 0


def test_one_request_tries_after_a_429():
    """When the wait is over one request goes, and the others follow once it was taken."""
    limiter = RateLimiter()
    one = request(Endpoint.OBSERVATIONS)
    limiter.too_many_requests(one.endpoint, one.scope, 0.0, 30.0)
    assert limiter.wait_s(one, 30.0) == 0
    limiter.record(one, 30.0)

    assert limiter.wait_s(one, 30.0) > 0
    limiter.accepted(one)
    assert limiter.wait_s(one, 30.0) == 0


@pytest.mark.fault("F25")
def test_a_429_without_a_time_waits_longer_each_time():
    """Unnamed waits grow, and end at an hour."""
    limiter = RateLimiter()
    waits = [limiter.too_many_requests(Endpoint.SITE, "", 10_000.0 * n, None) for n in range(7)]

    assert waits == [120.0, 240.0, 480.0, 960.0, 1920.0, 3600.0, 3600.0]


def test_the_longest_of_several_429_counts():
    """Two answers to requests that were under way together do not shorten the wait."""
    limiter = RateLimiter()
    limiter.too_many_requests(Endpoint.SITE, "", 0.0, 200.0)

    assert limiter.too_many_requests(Endpoint.SITE, "", 1.0, 5.0) == 199.0


@given(REQUESTS, st.floats(min_value=0, max_value=99.9))
def test_nothing_is_allowed_during_a_block(one, later_s):
    """While the vendor blocks us no request of any kind may go, commands included."""
    limiter = RateLimiter()
    limiter.block(50.0, 100.0)
    limiter.block(50.0, 1.0)

    assert limiter.wait_s(one, 50.0 + later_s) > 0
    assert limiter.silent_for_s(50.0 + later_s) > 0
    assert limiter.wait_s(one, 150.0) == 0
    assert limiter.silent_for_s(150.0) == 0


def test_a_hold_that_still_lasts_is_not_forgotten():
    """Clearing up idle groups does not shorten what one of them was told."""
    limiter = RateLimiter()
    told = request(Endpoint.CHARGER_COMMAND, "EH999999", command=True)
    limiter.record(told, 0.0)
    limiter.too_many_requests(told.endpoint, told.scope, 0.0, 3600.0)
    for n in range(1000):
        limiter.record(request(Endpoint.CHARGER_COMMAND, f"EH{n:06}", command=True), 100.0 + n)

    assert limiter.wait_s(told, 3000.0) == 600.0


def test_memory_is_bounded_by_the_limit_for_everything():
    """Ever new scopes do not pile up."""
    limiter = RateLimiter()
    for n in range(20_000):
        one = request(Endpoint.CHARGER_COMMAND, f"EH{n:06}", command=True)
        limiter.record(one, float(n))
        limiter.too_many_requests(one.endpoint, one.scope, float(n), 1.0)

    assert len(limiter._logs) < 300
    assert len(limiter._cooldowns) < 300

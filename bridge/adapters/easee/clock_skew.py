"""Measures this machine's clock against the Date header of the vendor's response."""

import httpx

from bridge.adapters.easee.http_client import CONNECT_TIMEOUT_S, USER_AGENT, date_of
from bridge.adapters.easee.unreached import in_words
from bridge.errors import CloudUnavailable
from bridge.ports import Clock


async def clock_skew_s(
    api_url: str, clock: Clock, *, transport: httpx.AsyncBaseTransport | None = None
) -> float | None:
    """Return how far this machine's clock is ahead, by one request without credentials.

    Args:
        api_url: Base of the REST interface.
        clock: Ours.
        transport: Another way to send, for tests.

    Returns:
        Seconds we are ahead, to about a second; None when the answer has no readable date.

    Raises:
        CloudUnavailable: No answer.
    """
    headers = {"User-Agent": USER_AGENT}
    timeout = httpx.Timeout(CONNECT_TIMEOUT_S)
    try:
        async with httpx.AsyncClient(
            headers=headers, timeout=timeout, trust_env=False, transport=transport
        ) as client:
            answer = await client.head(api_url)
    except httpx.HTTPError as exc:
        raise CloudUnavailable(f"cannot connect to {api_url}: {in_words(exc)}") from exc
    said = date_of(answer)
    return None if said is None else (clock.now().wall - said).total_seconds()

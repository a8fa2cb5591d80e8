"""The vendor's documented rate limits, as sliding windows."""

import math
import re
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Limit:
    """At most ``count`` requests in ``window``, for each value of the pattern's first group.

    Attributes:
        method: HTTP method.
        path: Must match the whole path; a group names what is counted apart.
        count: Requests.
        window: Length of the window.
    """

    method: str
    path: re.Pattern[str]
    count: int
    window: timedelta


def _limit(method: str, path: str, count: int, **window: int) -> Limit:
    return Limit(method, re.compile(path), count, timedelta(**window))


# Vendor's description of the interface and reports from the field; no figure was found for
# logging in or for commands, so those have none here.
DOCUMENTED: Sequence[Limit] = (
    _limit("GET", r"/api/chargers", 2, minutes=1),
    _limit("POST", r"/api/chargers/([^/]+)/settings", 20, minutes=1),
    _limit("POST", r"/api/sites/[^/]+/circuits/([^/]+)/settings", 20, minutes=1),
    _limit("POST", r"/api/equalizers/([^/]+)/commands/configure_[a-z_]+", 1, minutes=1),
    _limit("GET", r"/state/[^/]+/observations", 100, minutes=5),
    _limit("GET", r"/api/sessions/charger/([^/]+)/.*", 10, hours=1),
    _limit("GET", r"/api/chargers/([^/]+)/sessions/.*", 10, hours=1),
)


@dataclass(slots=True)
class Limits:
    """The windows, and what has passed through them.

    Attributes:
        limits: Which ones; empty for none.
    """

    limits: Sequence[Limit] = DOCUMENTED
    _passed: dict[tuple[int, str], deque[datetime]] = field(
        default_factory=lambda: defaultdict(deque)
    )

    def wait_s(self, method: str, path: str, now: datetime) -> int:
        """Count a request and return how long it has to wait; 0 lets it through."""
        for index, limit in enumerate(self.limits):
            match = limit.path.fullmatch(path) if method == limit.method else None
            if match is None:
                continue
            passed = self._passed[index, match[1] if match.re.groups else ""]
            while passed and now - passed[0] >= limit.window:
                passed.popleft()
            if len(passed) >= limit.count:
                return math.ceil((passed[0] + limit.window - now).total_seconds())
            passed.append(now)
        return 0

"""Logins and tokens.

Rules:

1. Access and refresh tokens come in pairs. A refresh gives a new pair and uses the old refresh
   token up.
2. A refresh token that was used before ends the whole login: it may have been stolen.
3. A refresh needs both tokens of the pair.
"""

import base64
import hashlib
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bridge.simulator.problems import (
    INVALID_USER_PASSWORD,
    REFRESH_TOKEN_EXPIRED,
    Answer,
    business_error,
    validation_error,
)
from bridge.simulator.scenario import Scenario

BEARER = "Bearer "
LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Grant:
    login: int
    expires_at: datetime


class Accounts:
    """Who may ask.

    Args:
        scenario: Whether credentials are checked, and how long tokens live.
    """

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._rng = random.Random(f"{scenario.seed}:tokens")  # noqa: S311 - a toy cloud
        self._logins = 0
        self._access: dict[str, _Grant] = {}
        self._refresh: dict[str, _Grant] = {}
        self._used: dict[str, int] = {}

    def login(self, body: Mapping[str, object], now: datetime) -> Answer:
        """Answer ``POST /api/accounts/login``."""
        user, password = body.get("userName"), body.get("password")
        missing = [
            key
            for key, value in (("userName", user), ("password", password))
            if not isinstance(value, str) or not value
        ]
        if missing:
            return validation_error({key: [f"The {key} field is required."] for key in missing})
        wanted = self._scenario
        right = wanted.username in (None, user) and wanted.password in (None, password)
        if not right:
            return business_error(
                INVALID_USER_PASSWORD, "InvalidUserPassword", "Invalid user or password"
            )
        self._logins += 1
        return self._pair(self._logins, now)

    def refresh(self, body: Mapping[str, object], now: datetime) -> Answer:
        """Answer ``POST /api/accounts/refresh_token``."""
        access, refresh = body.get("accessToken"), body.get("refreshToken")
        if not isinstance(access, str) or not isinstance(refresh, str):
            return validation_error({"refreshToken": ["Both tokens are required."]})
        if refresh in self._used:
            self._end(self._used[refresh])
            return _expired()
        grant = self._refresh.pop(refresh, None)
        if grant is None or grant.expires_at <= now or self._login_of(access) != grant.login:
            return _expired()
        self._used[refresh] = grant.login
        return self._pair(grant.login, now)

    def knows(self, token: str, now: datetime) -> bool:
        """Return whether an access token is valid now."""
        grant = self._access.get(token)
        return grant is not None and grant.expires_at > now

    def admits(self, authorization: str | None, now: datetime) -> bool:
        """Return whether an Authorization header is valid now."""
        if authorization is None or not authorization.startswith(BEARER):
            return False
        return self.knows(authorization[len(BEARER) :], now)

    def revoke(self, *, refresh_too: bool) -> None:
        """Make all access tokens invalid, and the refresh tokens with them if wanted."""
        for token, grant in self._access.items():
            self._access[token] = _Grant(grant.login, LONG_AGO)
        if refresh_too:
            self._refresh.clear()

    def _login_of(self, access: str) -> int | None:
        # An expired access token still names its login: that is what refreshing is for.
        grant = self._access.get(access)
        return grant.login if grant is not None else None

    def _end(self, login: int) -> None:
        for kept in (self._access, self._refresh):
            for token in [token for token, grant in kept.items() if grant.login == login]:
                del kept[token]

    def _pair(self, login: int, now: datetime) -> Answer:
        life = timedelta(seconds=self._scenario.token_ttl_s)
        refresh_life = timedelta(seconds=self._scenario.refresh_ttl_s)
        access = self._token("Bearer", now, life)
        refresh = self._token("Refresh", now, refresh_life)
        self._access[access] = _Grant(login, now + life)
        self._refresh[refresh] = _Grant(login, now + refresh_life)
        return Answer(
            200,
            {
                "accessToken": access,
                "expiresIn": self._scenario.token_ttl_s,
                "accessClaims": [],
                "tokenType": "Bearer",
                "refreshToken": refresh,
            },
        )

    def _token(self, kind: str, now: datetime, life: timedelta) -> str:
        # Shaped like the vendor's: three parts, the middle one readable JSON with its times.
        claims = {
            "iat": int(now.timestamp()),
            "exp": int((now + life).timestamp()),
            "typ": kind,
            "reuse_id": f"{self._rng.getrandbits(64):016x}",
        }
        head, middle = (_part(json.dumps(one).encode()) for one in ({"alg": "HS256"}, claims))
        mark = hashlib.sha256(f"{self._scenario.seed}.{middle}".encode()).digest()
        return f"{head}.{middle}.{_part(mark)}"


def _part(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _expired() -> Answer:
    return business_error(
        REFRESH_TOKEN_EXPIRED, "RefreshTokenExpired", "Refresh token has expired", status=401
    )

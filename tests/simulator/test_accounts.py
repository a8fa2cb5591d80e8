from datetime import timedelta

import pytest

from bridge.simulator.accounts import Accounts
from bridge.simulator.scenario import Scenario
from tests.simulator.lab import NOON

SOMEONE = {"userName": "someone@example.com", "password": "pw"}


def pair(answer) -> dict[str, str]:
    """Keep the two tokens of an answer."""
    return {key: answer.document[key] for key in ("accessToken", "refreshToken")}


def test_any_credentials_log_in_by_default():
    """The token object has the vendor's keys."""
    answer = Accounts(Scenario()).login(SOMEONE, NOON)

    assert answer.status == 200
    assert set(answer.document) == {
        "accessToken",
        "expiresIn",
        "accessClaims",
        "tokenType",
        "refreshToken",
    }
    assert answer.document["expiresIn"] == 3600


@pytest.mark.parametrize("change", [{"userName": "else"}, {"password": "wrong"}])
def test_wrong_credentials_are_a_400_with_code_100(change):
    """Not a 401: the vendor says 400 InvalidUserPassword."""
    accounts = Accounts(Scenario(username="someone@example.com", password="pw"))
    answer = accounts.login({**SOMEONE, **change}, NOON)

    assert answer.status == 400
    assert answer.document["errorCode"] == 100
    assert accounts.login(SOMEONE, NOON).status == 200


def test_a_login_without_its_fields_is_a_validation_error():
    """No errorCode, an errors map."""
    answer = Accounts(Scenario()).login({"username": "x"}, NOON)

    assert answer.status == 400
    assert set(answer.document["errors"]) == {"userName", "password"}


def test_access_tokens_expire():
    """A token is good until its time is over."""
    accounts = Accounts(Scenario(token_ttl_s=60))
    access = accounts.login(SOMEONE, NOON).document["accessToken"]

    assert accounts.admits(f"Bearer {access}", NOON + timedelta(seconds=59))
    assert not accounts.admits(f"Bearer {access}", NOON + timedelta(seconds=60))
    assert not accounts.admits(access, NOON)
    assert not accounts.admits(None, NOON)
    assert not accounts.admits("Bearer other", NOON)


def test_a_refresh_rotates_both_tokens():
    """The new pair works, also after the old access token expired."""
    accounts = Accounts(Scenario(token_ttl_s=60))
    old = pair(accounts.login(SOMEONE, NOON))
    later = NOON + timedelta(seconds=120)
    new = pair(accounts.refresh(old, later))

    assert new["accessToken"] != old["accessToken"]
    assert new["refreshToken"] != old["refreshToken"]
    assert accounts.admits(f"Bearer {new['accessToken']}", later)
    assert accounts.refresh(new, later).status == 200


def test_a_used_refresh_token_ends_the_login():
    """Reuse is a 401 with code 105, and the newer pair is dead too."""
    accounts = Accounts(Scenario())
    old = pair(accounts.login(SOMEONE, NOON))
    new = pair(accounts.refresh(old, NOON))
    answer = accounts.refresh(old, NOON)

    assert (answer.status, answer.document["errorCode"]) == (401, 105)
    assert not accounts.admits(f"Bearer {new['accessToken']}", NOON)
    assert accounts.refresh(new, NOON).status == 401


def test_a_refresh_needs_its_own_access_token():
    """Tokens of two logins do not mix, and half a pair is a validation error."""
    accounts = Accounts(Scenario())
    one, other = (pair(accounts.login(SOMEONE, NOON)) for _ in range(2))

    assert accounts.refresh({**one, "accessToken": other["accessToken"]}, NOON).status == 401
    assert accounts.refresh({"refreshToken": one["refreshToken"]}, NOON).status == 400


def test_refresh_tokens_expire():
    """After a day away only a login helps."""
    accounts = Accounts(Scenario())
    old = pair(accounts.login(SOMEONE, NOON))

    assert accounts.refresh(old, NOON + timedelta(days=1)).document["errorCode"] == 105


@pytest.mark.parametrize(("refresh_too", "status"), [(True, 401), (False, 200)])
def test_revoked_tokens_are_refused(refresh_too, status):
    """Access tokens die at once; refresh tokens only when told."""
    accounts = Accounts(Scenario())
    old = pair(accounts.login(SOMEONE, NOON))
    accounts.revoke(refresh_too=refresh_too)

    assert not accounts.admits(f"Bearer {old['accessToken']}", NOON)
    assert accounts.refresh(old, NOON).status == status

"""An account is known by a hash that tells nothing."""

from dataclasses import replace

from bridge.core.records.stored_tokens import StoredTokens, account_of
from bridge.settings import EaseeSettings, Secret

ONE = EaseeSettings("someone@example.com", Secret("canary"))


def test_an_account_is_a_name_at_a_cloud():
    """The password is no part of it; another cloud is another account."""
    assert account_of(ONE) == account_of(replace(ONE, password=Secret("other")))
    assert (
        len({account_of(each) for each in (ONE, replace(ONE, api_url="http://127.0.0.1:1"))}) == 2
    )
    assert "someone" not in account_of(ONE)


def test_tokens_are_not_shown():
    """Not by accident, in a log or a traceback."""
    assert "canary" not in repr(StoredTokens(Secret("canary"), Secret("canary")))

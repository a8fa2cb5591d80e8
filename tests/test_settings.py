"""Settings: secrets do not show themselves."""

import copy

from bridge.settings import EaseeSettings, Secret, Settings


def test_a_secret_shows_itself_only_when_asked():
    """No repr, str or format of the settings holds the password."""
    settings = Settings(EaseeSettings("someone@example.com", Secret("hunter2")))

    assert "hunter2" not in repr(settings)
    assert "hunter2" not in f"{settings.easee.password} {settings.easee.password!s}"
    assert settings.easee.password.reveal() == "hunter2"


def test_secrets_compare_by_what_they_hide():
    """Two settings are equal when their secrets are."""
    assert Secret("a") == Secret("a") != Secret("b")
    assert len({Secret("a"), copy.copy(Secret("a"))}) == 1

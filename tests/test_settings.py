"""Settings: secrets do not show themselves."""

import copy
from pathlib import Path

import pytest

from bridge.settings import EaseeSettings, Secret, Settings, StoreSettings


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


@pytest.mark.parametrize(
    "path", ["/var/lib/x/bridge.db", "bridge.db", "/bridge.db", "data/x.db", "a//x.db", "a/x.db/"]
)
def test_the_state_directory_is_the_folder_of_the_store(path):
    """Files beside the store stay where they were."""
    easee = EaseeSettings("someone@example.com", Secret("hunter2"))
    settings = Settings(easee, store=StoreSettings(path=path))

    assert settings.state_folder == str(Path(path).parent)

"""The configuration names one of the stores there are."""

from bridge.adapters.store.backends import BACKENDS, backend_of
from bridge.adapters.store.sqlite.backend import SqliteBackend
from bridge.settings import StoreSettings


def test_the_store_of_a_configuration_is_the_one_it_names():
    """SQLite, where nothing else is said."""
    assert isinstance(backend_of(StoreSettings()), SqliteBackend)
    assert StoreSettings().kind in BACKENDS

"""The configuration names one of the stores there are."""

from bridge.adapters.store.backends import BACKENDS, backend_of, cluster_of
from bridge.adapters.store.local_cluster import LocalCluster
from bridge.adapters.store.sqlite.backend import SqliteBackend
from bridge.settings import EaseeSettings, Secret, Settings, StoreSettings


def test_the_store_of_a_configuration_is_the_one_it_names():
    """SQLite, where nothing else is said."""
    assert isinstance(backend_of(StoreSettings()), SqliteBackend)
    assert StoreSettings().kind in BACKENDS


def test_without_an_address_nothing_is_shared(clock, tmp_path):
    """One process, its files and its budget."""
    easee = EaseeSettings("someone@example.com", Secret("canary"))
    settings = Settings(easee, store=StoreSettings(path=str(tmp_path / "bridge.db")))
    assert isinstance(cluster_of(settings, clock), LocalCluster)

"""A database of PostgreSQL with one partition, whose lease has epoch 1."""

import pytest

from bridge.adapters.store.postgres.connection import Connection
from bridge.adapters.store.postgres.schema import migrate
from bridge.core.records.lease import Lease
from tests.postgres import shared_server


@pytest.fixture
def lease():
    """The lease of the one partition."""
    return Lease(0, 1, 0.0)


@pytest.fixture
def stale():
    """Its lease before it was taken over."""
    return Lease(0, 0, 0.0)


@pytest.fixture
def server():
    """The server of this process, without anything of ours."""
    shared_server().reset()
    return shared_server()


@pytest.fixture
async def database(server):
    """A connection to a database that is ready."""
    db = Connection(server.settings)
    await migrate(db)
    await db.execute("INSERT INTO lease VALUES (0, 1, 'one', clock_timestamp() + interval '1 h')")
    yield db
    await db.close()

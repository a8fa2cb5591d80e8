"""No accepted report is lost however often the broker is killed; `make soak-broker` goes on."""

import pytest

from bridge.core.sessions.delivery import ReportDelivery
from tests.soak.broker import soak

pytestmark = [pytest.mark.anyio, pytest.mark.broker]

KILLS = 3


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.fault("F12")
async def test_a_killed_broker_loses_nothing_for_good(seed, tmp_path):
    """With a consumer that acknowledges and with one that does not, SIGKILL after SIGKILL."""
    run = await soak(KILLS, seed, tmp_path)

    assert run.oracle.problems(kill=KILLS) == []
    assert run.connections > KILLS


async def test_the_oracle_notices_a_bridge_that_trusts_the_broker(tmp_path, monkeypatch):
    """A bridge that takes PUBACK for delivery loses reports here, so the tests above can fail."""
    monkeypatch.setattr(ReportDelivery, "_owe_again", lambda self, key: self._published.pop(key))
    monkeypatch.setattr("tests.soak.broker.AWAY", 1.0)
    monkeypatch.setattr("tests.soak.broker.WRITTEN_DOWN", 0.0)
    monkeypatch.setattr("tests.soak.broker.DRAIN_TIMEOUT_S", 1.0)
    run = await soak(2, 2, tmp_path)

    assert run.oracle.missing

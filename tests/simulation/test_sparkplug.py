"""Random lives of a Sparkplug node and its host."""

import pytest

from tests.simulation.sparkplug import differences, live

SEEDS = range(12)
FAULTS = {
    "reboots": {},
    "losses": {"losses": 0.05},
    "repeats": {"repeats": 0.05},
    "aliases": {"aliases": True, "losses": 0.02, "repeats": 0.02},
    "without a primary host": {"host_id": None},
}


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_host_ends_with_the_native_values_and_every_report(seed, kind):
    """It sees no gap without a rebirth behind it, and no rule broken; a record repeats it all."""
    world = live(seed, **FAULTS[kind])

    assert world.violations == []
    assert world.replayed > 0
    assert differences(world) == {}
    if kind == "without a primary host":
        return  # nobody tells that there is no host, and nothing is kept for it
    archived = {(key, revision) for key, revision, *_ in world.archive}
    assert {(row.key, row.revision) for row in world.rows.values()} <= archived
    assert [row.key for row in world.rows.values() if not row.settled] == []
    assert world.early == []
    if kind == "reboots":
        assert world.gaps == 0

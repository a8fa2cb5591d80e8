"""Lives of the limits of one charger: one owner, never charging when it should be paused."""

import os

from tests.simulation.limits import play_many

LIVES = int(os.environ.get("LIMIT_LIVES", "25"))


def test_limits_have_one_owner_in_every_life():
    """Switches and held limits through crashes, losses, refusals and other controllers.

    No phases are switched under load, no held limit is sent against a newer one or to a charger
    that is paused, what is called paused is paused, each command has one result, and what is held
    is there in the end.
    """
    counts, broken = play_many(range(1, LIVES + 1))

    assert broken == []
    assert all(counts[name] for name in ("crashes", "foreign", "phase modes", "sent again"))

import json

import pytest

from bridge.core.alerts import Alerts
from bridge.core.chargers.offline_access_alerts import (
    NOBODY,
    OPEN,
    OfflineAccessAlerts,
    unexpected_policy,
)
from bridge.core.records.moment import Timestamp
from tests.conftest import NOON
from tests.native import publishes

NOW = Timestamp(NOON, 0.0)


class Settings:
    """Observations 42, 15, 16, 17 and 45 of one charger."""

    def __init__(self, *values):
        self._values = dict(zip((42, 15, 16, 17, 45), values, strict=True))

    def value(self, observation_id):
        return self._values.get(observation_id)

    def measured_at(self, observation_id):
        return NOON


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ((True, False, True, False, None), None),
        ((True, False, False, True, None), OPEN),
        ((True, False, False, True, 0), OPEN),
        ((False, True, True, True, 0), OPEN),
        ((True, False, True, True, 1), None),
        ((True, False, False, False, None), NOBODY),
        ((False, True, True, True, 2), NOBODY),
        ((False, False, False, True, 0), None),
        ((False, False, False, False, 2), None),
        ((True, False, None, False, None), None),
        ((True, False, False, None, None), None),
        ((None, None, False, False, None), None),
    ],
)
def test_only_restricted_access_that_opens_or_shuts_entirely_is_a_surprise(values, kind):
    """Everybody or nobody while offline, where access is restricted and all settings are seen."""
    assert unexpected_policy(Settings(*values)) == kind


def test_the_alerts_name_the_chargers_and_go_when_it_is_mended():
    """Two chargers, one alert; it is told again when the names change and cleared at last."""
    watch, told = OfflineAccessAlerts(Alerts()), []
    for charger_id, values in (
        ("EH000001", (True, False, False, True, None)),
        ("EH000002", (True, False, False, True, None)),
        ("EH000002", (True, False, False, True, 0)),
        ("EH000001", (True, False, False, False, None)),
        ("EH000002", (True, False, True, False, None)),
        ("EH000001", (True, False, True, False, None)),
    ):
        effects = watch.observed(charger_id, Settings(*values), NOW)
        told.append(
            {
                e.topic.rsplit("/", 1)[1]: e.payload and json.loads(e.payload)["message"][-18:]
                for e in publishes(effects)
            }
        )

    assert [sorted(one) for one in told] == [[OPEN], [OPEN], [], [NOBODY, OPEN], [OPEN], [NOBODY]]
    assert told[1][OPEN] == "EH000001, EH000002"
    assert told[4][OPEN] == told[5][NOBODY] == b""

"""A configuration that changed is used, and what of it is not is told."""

from dataclasses import replace

from bridge.core.alerts import Alerts
from bridge.core.domain_events import ChargersConfigured, SettingsChanged
from bridge.core.events import ReconfigurationFailed, Reconfigured
from bridge.core.messages import Publish
from bridge.core.reconfiguration import Reconfiguration
from bridge.core.records.moment import Timestamp
from bridge.settings import CommandSettings, EaseeSettings, Secret, Settings
from tests.conftest import NOON
from tests.native import as_messages

NOW = Timestamp(NOON, 1.0)
BEFORE = Settings(EaseeSettings("x", Secret("p"), ("EH123456",)))
OTHER = replace(BEFORE, easee=EaseeSettings("x", Secret("p"), ("EH654321",)))


class Desk:
    """A reconfiguration."""

    def __init__(self):
        self.alerts = Alerts()
        self.reconfiguration = Reconfiguration(BEFORE, self.alerts)

    def take(self, event):
        return as_messages(self.reconfiguration.handle(event, NOW))


def test_new_settings_reach_everybody_and_other_chargers_come_first():
    """Chargers are told of only where they changed, compared with what is in force by then."""
    desk = Desk()
    allowed = replace(BEFORE, commands=CommandSettings(allow=()))
    assert desk.take(Reconfigured(allowed)) == [SettingsChanged(allowed)]
    chosen = ChargersConfigured(("EH654321",))
    assert desk.take(Reconfigured(OTHER)) == [chosen, SettingsChanged(OTHER)]
    assert desk.take(Reconfigured(OTHER)) == [SettingsChanged(OTHER)]


def test_what_waits_for_a_restart_is_told_until_nothing_does():
    """With the keys."""
    desk = Desk()
    told = [e for e in desk.take(Reconfigured(BEFORE, ("mqtt.host",))) if isinstance(e, Publish)]
    assert b"mqtt.host" in told[0].payload
    desk.take(Reconfigured(BEFORE))
    assert desk.alerts.kinds == ()


def test_what_cannot_be_used_is_told_and_nothing_else_happens():
    """The old configuration stays in force."""
    desk = Desk()
    outputs = desk.take(ReconfigurationFailed(("no such key", "no such file")))
    assert not [one for one in outputs if isinstance(one, SettingsChanged)]
    assert b"no such key; no such file" in outputs[-1].payload


def test_alerts_use_new_names():
    """What is raised behind the change names a charger as people call it now."""
    desk = Desk()
    easee = replace(BEFORE.easee, names=(("EH123456", "Garage"),))
    desk.take(Reconfigured(replace(BEFORE, easee=easee), ("mqtt.host",)))
    _, raised = desk.alerts.raise_("gap", "EH123456: 5", "", NOW)
    assert raised.message == "Garage (EH123456): 5"

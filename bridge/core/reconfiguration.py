"""Apply a configuration that was changed while the gateway runs."""

from collections.abc import Iterator

from bridge.core.alerts import Alerts
from bridge.core.domain_events import (
    NOTHING,
    ChargersConfigured,
    Input,
    Output,
    Outputs,
    SettingsChanged,
)
from bridge.core.events import ReconfigurationFailed, Reconfigured
from bridge.core.records.moment import Timestamp
from bridge.settings import Settings

ALERT = "configuration"


class Reconfiguration:
    """Apply new settings, and raise an alert for what is not applied.

    Args:
        settings: In force.
        alerts: Where it is told.
    """

    name = "configuration"
    interests = frozenset({Reconfigured, ReconfigurationFailed})

    def __init__(self, settings: Settings, alerts: Alerts) -> None:
        self._settings = settings
        self._alerts = alerts

    def handle(self, event: Input, now: Timestamp) -> Outputs:
        """Handle a configuration that was read again."""
        match event:
            case Reconfigured(settings, waiting):
                return self._changed(settings, waiting, now)
            case ReconfigurationFailed(problems):
                return self._alerts.raise_(
                    ALERT,
                    f"the changed configuration is not used: {'; '.join(problems)}",
                    "Fix the file and reload. Until then the previous configuration stays active.",
                    now,
                )
        return NOTHING

    def deadline_s(self) -> None:
        """Return None: no ``Tick`` is wanted."""

    def _changed(
        self, settings: Settings, waiting: tuple[str, ...], now: Timestamp
    ) -> Iterator[Output]:
        before, self._settings = self._settings, settings
        self._alerts.name(settings.easee.names)
        if settings.easee.chargers != before.easee.chargers:
            yield ChargersConfigured(settings.easee.chargers)
        yield SettingsChanged(settings)
        if waiting:
            yield from self._alerts.raise_(
                ALERT,
                f"these keys changed and wait for a restart: {', '.join(waiting)}",
                "restart the bridge",
                now,
            )
        else:
            yield from self._alerts.clear(ALERT)

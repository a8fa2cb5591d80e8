"""Automatic traffic: arriving and leaving cars, and tags."""

import random
from dataclasses import dataclass

from bridge.simulator.charger import Charger
from bridge.simulator.presentation import OpMode
from bridge.simulator.sessions import AUTH_REMOTE, Car

TAG = "04B1D3F5A79C21"
REMOTE_USER = "user-1905"
# World seconds.
FIRST_CAR_WITHIN_S = (5.0, 20.0)
BETWEEN_CARS_S = (300.0, 1500.0)
LINGERS_FULL_S = (120.0, 900.0)
TAG_AFTER_S = (10.0, 40.0)
MAX_WAIT_S = 3600.0


@dataclass(slots=True)
class Traffic:
    """The comings and goings at one charger.

    Attributes:
        rng: Its own, apart from the charger's.
        authorize_after_s: See :class:`~bridge.simulator.scenario.Scenario`.
    """

    rng: random.Random
    authorize_after_s: float | None = None
    _cars: int = 0
    _next_at_s: float | None = None
    _waiting_since_s: float | None = None
    _full_until_s: float | None = None
    _tag_at_s: float | None = None

    def advance(self, charger: Charger) -> None:
        """Do what is due at the charger's simulated time."""
        if not charger.reachable:
            return
        if charger.car is None:
            self._arrive(charger)
        elif charger.waiting_for_authorization:
            self._wait(charger)
        else:
            self._waiting_since_s = None
            self._linger(charger)

    def _arrive(self, charger: Charger) -> None:
        self._waiting_since_s = None
        self._full_until_s = None
        if self._next_at_s is None:
            pause_s = BETWEEN_CARS_S if self._cars else FIRST_CAR_WITHIN_S
            self._next_at_s = charger.world_s + self.rng.uniform(*pause_s)
        if charger.world_s >= self._next_at_s:
            self._next_at_s = None
            self._cars += 1
            charger.plug_in(
                Car(
                    wants_kwh=round(self.rng.uniform(6, 28), 1),
                    max_current_a=self.rng.choice((10.0, 16.0, 16.0, 20.0, 32.0)),
                    phases=self.rng.choice((1, 3, 3)),
                )
            )

    def _wait(self, charger: Charger) -> None:
        if self._waiting_since_s is None:
            self._waiting_since_s = charger.world_s
            self._tag_at_s = charger.world_s + self.rng.uniform(*TAG_AFTER_S)
        waited_s = charger.world_s - self._waiting_since_s
        local = charger.flag(15)
        if local and self._tag_at_s is not None and charger.world_s >= self._tag_at_s:
            charger.show_tag(TAG)
        elif self.authorize_after_s is not None and waited_s >= self.authorize_after_s:
            charger.authorize(REMOTE_USER, AUTH_REMOTE)
        elif waited_s >= MAX_WAIT_S:
            charger.unplug()

    def _linger(self, charger: Charger) -> None:
        if charger.number(109) != OpMode.COMPLETED:
            self._full_until_s = None
        elif self._full_until_s is None:
            self._full_until_s = charger.world_s + self.rng.uniform(*LINGERS_FULL_S)
        elif charger.world_s >= self._full_until_s:
            charger.unplug()

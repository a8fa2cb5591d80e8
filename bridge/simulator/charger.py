"""One simulated charger: car, authorization, session, and the observations about them.

Rules:

1. State is a few facts; what is shown follows from them through :mod:`presentation`.
2. While it is away from its cloud (offline or rebooting) it says nothing and its values freeze.
3. World seconds (``world_s``) drive what happens; ``at`` stamps it.
"""

import json
import math
import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from bridge.simulator.plans import NO_LIMIT_A, SINGLE_PHASE, Plan, limit_a, stored, withheld
from bridge.simulator.presentation import Facts, Limit, OpMode, Reason, present
from bridge.simulator.readings import Value
from bridge.simulator.sessions import (
    AUTH_NONE,
    AUTH_TAG,
    PRICE,
    Car,
    Session,
    finished_text,
    started_text,
)
from bridge.simulator.telemetry import Telemetry
from bridge.simulator.voice import Voice

SESSIONS_KEPT = 1000
# From the authorization to the contactor: the car's own handshake takes some seconds.
DRAWS_AFTER_S = 4.0
DEAUTHORIZES_FOR_S = 2.0
# The cloud's word on a tag that it does not know.
VERIFIES_FOR_S = 3.0
REBOOTS_FOR_S = 30.0
# The cloud notices a lost charger at once (250) and calls it offline (109 = 0) a little later.
CALLED_OFFLINE_AFTER_S = 60.0
DEFAULT_CIRCUIT_CURRENT_A = 40.0  # what an Easee Home falls back to at a restart
REBOOT_BY_COMMAND = 20
# An error code (119) of this simulator: the vendor names none.
SWITCHED_UNDER_LOAD = 38
# What is said of each limit while current flows at it, and while it lets nothing flow.
LIMITS = (
    (Reason.LIMITED_BY_CAR, Reason.CAR_NOT_CHARGING),
    (Reason.LIMITED_BY_CHARGER_MAX, Reason.CHARGER_MAX_TOO_LOW),
    (Reason.LIMITED_BY_CIRCUIT_MAX, Reason.CIRCUIT_MAX_TOO_LOW),
    (Reason.LIMITED_BY_DYNAMIC_CHARGER, Reason.DYNAMIC_CHARGER_TOO_LOW),
    (Reason.LIMITED_BY_DYNAMIC_CIRCUIT, Reason.DYNAMIC_CIRCUIT_TOO_LOW),
    (Reason.LIMITED_BY_EQUALIZER, Reason.EQUALIZER_TOO_LOW),
    (Reason.LIMITED_BY_SCHEDULE, Reason.WAITING_FOR_SCHEDULE),
)


@dataclass(slots=True)
class Charger(Voice):
    """One charger.

    Attributes:
        rng: Its own randomness, so that chargers do not disturb each other.
        primary: It leads its circuit.
        pending_op_mode: 7 or 2.
        tags_known: The cloud knows the tags that are shown.
        world_s: World seconds lived.
        settings: Settings that no observation reflects.
        reject_next: Answer the next command with no.
        switched_under_load: How often its phases were switched while current flowed.
        equalizer_a: What an Equalizer leaves it by phase; without one, infinite.
    """

    rng: random.Random = field(kw_only=True)
    primary: bool = True
    pending_op_mode: int = int(OpMode.AWAITING_AUTHORIZATION)
    tags_known: bool = True
    world_s: float = 0.0
    settings: dict[str, Value] = field(default_factory=dict)
    plans: dict[str, Plan] = field(default_factory=dict)
    price: Mapping[str, object] = field(default_factory=lambda: PRICE)
    sessions: deque[Session] = field(default_factory=lambda: deque(maxlen=SESSIONS_KEPT))
    reject_next: bool = False
    equalizer_a: float = math.inf
    touch_alive: bool = True
    online: bool = True
    offline_since: datetime | None = None
    offline_since_s: float = 0.0
    car: Car | None = None
    session: Session | None = None
    next_session: int = 1
    authorization: tuple[str, int] | None = None
    meter_kwh: float = 0.0
    taken_kwh: float = 0.0
    failed: bool = False
    overridden: bool = False
    switched_under_load: int = 0
    telemetry: Telemetry = field(default_factory=Telemetry)
    _draws_at_s: float | None = None
    _deauthorizing_until_s: float | None = None
    _pairing_until_s: float | None = None
    _verifying_until_s: float | None = None
    _rebooting_until_s: float | None = None
    _release: int | None = None
    _dynamic_until_s: float | None = None
    _circuit_until_s: float | None = None

    # -- facts -----------------------------------------------------------------------------

    @property
    def reachable(self) -> bool:
        """Whether the charger is connected to the cloud."""
        return self.online and self._rebooting_until_s is None

    @property
    def authorization_required(self) -> bool:
        """Return whether the cloud's switch (42) or the local one (15) is on."""
        return self.flag(42) or self.flag(15)

    @property
    def must_authorize(self) -> bool:
        """A car here would have to wait for an authorization."""
        return self.authorization_required and self.authorization is None

    @property
    def waiting_for_authorization(self) -> bool:
        """A car is here and waits for one."""
        return self.car is not None and self.must_authorize and self.reachable

    @property
    def charging(self) -> bool:
        """Current flows."""
        return self.reachable and self.number(109) == OpMode.CHARGING

    @property
    def phases(self) -> int:
        """Return how many phases the car draws from."""
        wanted = self.car.phases if self.car is not None else 3
        allowed = 1 if self.number(38) == SINGLE_PHASE else self.telemetry.grid.phases
        return min(wanted, allowed)

    @property
    def session_kwh(self) -> float | None:
        """Energy of the running session; None without one."""
        if self.session is None:
            return None
        return round(self.meter_kwh - self.session.meter_start_kwh, 6)

    def limit(self) -> Limit:
        """Return the lowest of all limits; of equal ones the first."""
        car_a = self.car.max_current_a if self.car is not None else 32.0
        circuit_a = min(self.number(one) for one in (22, 23, 24))
        dynamic_circuit_a = min(self.number(one) for one in (111, 112, 113))
        scheduled_a = None if self.overridden else limit_a(self.plans, self.at)
        amps = (
            *(car_a, self.number(47), circuit_a, self.number(48), dynamic_circuit_a),
            self.equalizer_a,
            # What withholds everything is told by the facts.
            NO_LIMIT_A if scheduled_a is None else scheduled_a,
        )
        lowest_a = min(amps)
        return Limit(lowest_a, *LIMITS[amps.index(lowest_a)])

    def balance(self, amps: float) -> None:
        """Take what an Equalizer leaves it, and report it (230 to 232)."""
        self.equalizer_a = amps
        if self.reachable:
            for observation_id in (230, 231, 232):
                self.change(observation_id, amps)

    def facts(self) -> Facts:
        """Return everything the shown state depends on."""
        return Facts(
            car=self.car is not None,
            full=self.car is not None and self.taken_kwh >= self.car.wants_kwh,
            drawing=self._draws_at_s is not None and self.world_s >= self._draws_at_s,
            must_authorize=self.must_authorize,
            deauthorizing=self._deauthorizing_until_s is not None,
            verifying=self._verifying_until_s is not None,
            enabled=self.flag(31),
            failed=self.failed,
            withheld=not self.overridden and withheld(self.plans, self.at),
            smart=self.flag(102),
            pairing=self._pairing_until_s is not None,
            primary=self.primary,
            limit=self.limit(),
            pending_op_mode=self.pending_op_mode,
        )

    # -- what happens to it ------------------------------------------------------------------

    def plug_in(self, car: Car) -> None:
        """Connect a car. A new connection resets the dynamic limit (and so ends a pause)."""
        self.car = car
        self.taken_kwh = 0.0
        self.overridden = False
        self.set_dynamic_current(self.number(47), 0)
        for observation_id, value in ((103, True), (104, 32.0), (76, 1)):
            self.change(observation_id, value)
        self.show()

    def unplug(self) -> None:
        """Unplug the car: the session ends and the authorization with it."""
        if self.car is None:
            return
        self.car = None
        self.authorization = None
        self.overridden = False
        self.end_session()
        for observation_id, value in ((103, self.flag(30)), (104, -1.0), (76, 0)):
            self.change(observation_id, value)
        self.show()

    def authorize(self, auth: str, reason: int) -> None:
        """Authorize the waiting car; does nothing when none waits."""
        if not self.waiting_for_authorization:
            return
        self.authorization = (auth, reason)
        self.show()

    def deauthorize(self) -> None:
        """Revoke the authorization; nothing happens when there is none."""
        if self.authorization is None:
            return
        self.authorization = None
        self.end_session()
        self._deauthorizing_until_s = self.world_s + DEAUTHORIZES_FOR_S
        self.show()

    def show_tag(self, tag: str) -> None:
        """Read an RFID tag at the charger: pairs it, or authorizes a waiting car.

        A tag that the cloud does not know changes nothing but the light, for a moment.
        """
        if self._pairing_until_s is not None:
            self._pairing_until_s = None
            self.put(69, tag)
            self.show()
            return
        self.put(128, tag)
        self.put(108, bytes.fromhex(tag)[::-1].hex().upper())
        if self.tags_known or self.flag(15):
            self.authorize(tag, AUTH_TAG)
        elif self.waiting_for_authorization:
            self._verifying_until_s = self.world_s + VERIFIES_FOR_S
            self.show()

    def touch(self) -> None:
        """Press the touch button: smart charging toggles, unless a setting disabled the button."""
        if self.touch_alive:
            self.put(102, not self.flag(102))
            self.show()

    def set_dynamic_current(self, amps: float, minutes: float) -> None:
        """Set the volatile limit (48).

        Args:
            amps: 0 pauses.
            minutes: World minutes until it falls back; 0: until something changes it.
        """
        self._dynamic_until_s = self.world_s + 60 * minutes if minutes else None
        self.change(48, float(amps))
        self.show()

    def set_circuit_current(self, amps: tuple[float, float, float], minutes: float) -> None:
        """Set the circuit's volatile limit (111 to 113); see :meth:`set_dynamic_current`."""
        self._circuit_until_s = self.world_s + 60 * minutes if minutes else None
        for observation_id, one in zip((111, 112, 113), amps, strict=True):
            self.change(observation_id, one)
        self.show()

    def switch_phases(self, mode: int) -> None:
        """Set the phase mode (38); under load that harms the charger, which goes into an error."""
        self.change(38, mode)
        if self.telemetry.current_a > 0:
            self.switched_under_load += 1
            self.fail(SWITCHED_UNDER_LOAD)

    def pair(self, timeout_s: float) -> None:
        """Enter the pairing mode for RFID tags."""
        self._pairing_until_s = self.world_s + timeout_s
        self.show()

    def set_plan(self, kind: str, plan: Plan | None) -> None:
        """Store or (None) forget a schedule, and report it (62)."""
        held = stored(self.plans, kind, plan)
        self.plans.clear()
        self.plans |= held
        self.overridden = False
        self.put(62, json.dumps(self.plans, separators=(",", ":")))
        self.show()

    def fail(self, code: int) -> None:
        """Set an error code (0: no error)."""
        self.failed = code != 0
        self.put(119, code)
        self.show()

    # -- its link to the cloud ---------------------------------------------------------------

    def go_offline(self, since: datetime | None = None) -> None:
        """Lose the cloud. The cloud says so at once, and calls the charger offline later."""
        if not self.online:
            return
        self.online = False
        self.offline_since = since if since is not None else self.at
        self.offline_since_s = self.world_s
        self.cloud_put(250, False, since)
        self.cloud_put(251, "SERVER_INITIATED_DISCONNECT", since)

    def reconnect(self) -> None:
        """Reconnect to the cloud and report everything that is shown."""
        self.online = True
        self.offline_since = None
        self.cloud_put(250, True)
        self.put(11, 0)
        self.show(everything=True)

    def reboot(self, release: int | None = None) -> None:
        """Restart: volatile limits are reset, and for a while there is silence.

        Args:
            release: The firmware that is installed meanwhile; None for none.
        """
        self._release = release
        self.cloud_put(250, False)
        self.cloud_put(251, "CLIENT_INITIATED_DISCONNECT")
        self._rebooting_until_s = self.world_s + REBOOTS_FOR_S

    def _booted(self) -> None:
        self._rebooting_until_s = None
        if self._release is not None:
            self.change(80, self._release)
        self._dynamic_until_s = None
        self._circuit_until_s = None
        self._draws_at_s = None
        self.cloud_put(250, True)
        self.put(89, REBOOT_BY_COMMAND)
        self.put(80, int(self.number(80)))
        self.put(48, self.number(47))
        for observation_id in (111, 112, 113):
            self.put(observation_id, DEFAULT_CIRCUIT_CURRENT_A)
        self.show(everything=True)

    # -- time ----------------------------------------------------------------------------------

    def advance(self, seconds: float, at: datetime) -> None:
        """Advance the charger by some simulated seconds, up to the time ``at``."""
        self.world_s += seconds
        self.at = at
        if not self.online:
            late = self.world_s - self.offline_since_s >= CALLED_OFFLINE_AFTER_S
            if late and self.number(109) != OpMode.OFFLINE:
                self.cloud_put(109, int(OpMode.OFFLINE))
            return
        if self._passed(self._rebooting_until_s):
            self._booted()
        if not self.reachable:
            return
        self._run_timers()
        self._measure(seconds)
        self.show()

    def _measure(self, seconds: float) -> None:
        target_a = self.limit().amps if self.charging else 0.0
        energy_kwh = self.telemetry.draw(target_a, self.phases, seconds, self.rng)
        self.meter_kwh += energy_kwh
        self.taken_kwh += energy_kwh
        for observation_id, value in self.telemetry.sent(
            self.world_s,
            self.rng,
            phases=self.phases,
            session_kwh=self.session_kwh,
            meter_kwh=self.meter_kwh,
        ):
            self.put(observation_id, value)

    def _run_timers(self) -> None:
        if self._passed(self._dynamic_until_s):
            self.set_dynamic_current(self.number(47), 0)
        if self._passed(self._circuit_until_s):
            first, second, third = (self.number(one) for one in (50, 51, 52))
            self.set_circuit_current((first, second, third), 0)
        if self._passed(self._deauthorizing_until_s):
            self._deauthorizing_until_s = None
        if self._passed(self._pairing_until_s):
            self._pairing_until_s = None
        if self._passed(self._verifying_until_s):
            self._verifying_until_s = None

    def _passed(self, until_s: float | None) -> bool:
        return until_s is not None and self.world_s >= until_s

    # -- what is shown -------------------------------------------------------------------------

    def show(self, *, everything: bool = False) -> None:
        """Update sessions and shown state.

        Args:
            everything: Report them even where they did not change, as after an outage.
        """
        if not self.reachable:
            return
        self._follow_session()
        shown = present(self.facts())
        report = self.put if everything else self.change
        report(46, shown.led)
        report(96, shown.reason)
        report(109, shown.op_mode)
        report(100, shown.pilot)
        if shown.op_mode != OpMode.CHARGING:
            for observation_id, value in self.telemetry.ended():
                self.put(observation_id, value)

    def _follow_session(self) -> None:
        if self.car is None or self.must_authorize:
            self._draws_at_s = None
            return
        if self.session is None:
            self.start_session()
        if self._draws_at_s is None:
            self._draws_at_s = self.world_s + DRAWS_AFTER_S

    def start_session(self) -> None:
        """Open a session and report it (223)."""
        auth, reason = self.authorization or ("", AUTH_NONE)
        session = Session(
            self.next_session,
            self.at.replace(microsecond=0),
            round(self.meter_kwh, 6),
            auth,
            reason,
        )
        self.session = session
        self.next_session += 1
        self.put(223, started_text(session))

    def end_session(self, stopped_at: datetime | None = None) -> None:
        """Close the running session, if any, and report it (129)."""
        if self.session is None:
            return
        finished = replace(
            self.session,
            stopped_at=stopped_at or self.at.replace(microsecond=0),
            energy_kwh=self.session_kwh or 0.0,
        )
        self.session = None
        self.report_session(finished)
        self.put(121, finished.energy_kwh)
        self.put(124, self.meter_kwh)

    def report_session(self, finished: Session) -> None:
        """Store a finished session and report it (129)."""
        finished = replace(finished, price=dict(self.price))
        self.sessions.append(finished)
        self.put(129, finished_text(finished))

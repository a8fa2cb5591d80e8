"""World of the simulated cloud: chargers, circuits, commands in progress, and time.

Pure: time comes in through :meth:`World.step`, what happened is taken out with
:meth:`World.drain`. The same scenario and the same steps give the same observations.

Rules:

1. A write is answered before anything happens: 202 with ticks. The charger's CommandResponse and
   the observations that reflect it follow ``command_latency_s`` later.
2. A charger without its cloud gets the same 202 and never answers (evcc#28077).
"""

import heapq
import random
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count

from bridge.simulator import plans, settings
from bridge.simulator.charger import Charger
from bridge.simulator.commands import COMMANDS
from bridge.simulator.equalizer import Equalizer
from bridge.simulator.exchange import Order, by_number
from bridge.simulator.offline import come_back
from bridge.simulator.problems import (
    CONFLICT,
    NOT_FOUND,
    NOTHING_CHANGED,
    Answer,
    charger_disconnected,
    validation_error,
)
from bridge.simulator.readings import Response, Update
from bridge.simulator.scenario import Scenario
from bridge.simulator.seed import seed
from bridge.simulator.sessions import PRICE
from bridge.simulator.telemetry import GRIDS
from bridge.simulator.traffic import Traffic

CHARGERS_PER_CIRCUIT = 3
FIRST_CIRCUIT = 8101
SITE_ID = 8001
MAX_SLICE_S = 10.0  # world seconds lived at once
# In less than this nothing happens at a charger, and a request need not wait for all of them. Many
# chargers live in longer slices: each of them takes 20 us of every slice.
MIN_SLICE_S = 0.01
MIN_SLICE_OF_ONE_S = 0.001
MAX_SLICES = 20_000
COMMANDS_KEPT = 1000

SET_DYNAMIC_CIRCUIT_CURRENT = 22
SET_MAX_CIRCUIT_CURRENT = 24
# The number of this command is published nowhere.
CONFIGURE_MAX_CURRENT = 120
ADD_SCHEDULE = 60
CLEAR_SCHEDULE = 61

SENT, EXPIRED, EXECUTED, REJECTED = 1, 2, 3, 4
EXPIRES_AFTER = timedelta(minutes=5)

YEAR_ONE = datetime(1, 1, 1, tzinfo=UTC)
TICKS_PER_MICROSECOND = 10

CIRCUIT_SETTINGS: Mapping[str, int] = {
    **{f"dynamicCircuitCurrentP{phase}": 110 + phase for phase in (1, 2, 3)},
    **{f"maxCircuitCurrentP{phase}": 21 + phase for phase in (1, 2, 3)},
    **{f"offlineMaxCircuitCurrentP{phase}": 49 + phase for phase in (1, 2, 3)},
}

# The three access levels as the two switches they set: (42, 15).
ACCESS_LEVELS: Mapping[int, tuple[bool, bool]] = {
    1: (False, False),
    2: (True, False),
    3: (False, True),
}


@dataclass(slots=True)
class CommandRecord:
    """What the cloud knows of one command it took."""

    command_id: int
    ticks: int
    sent_at: datetime
    delivered_at: datetime | None = None
    accepted: bool | None = None


class World:
    """The chargers and their time.

    Attributes:
        longest_slice_s: World seconds that chargers live at once, at most.
    """

    def __init__(self, scenario: Scenario, started_at: datetime) -> None:
        self.scenario = scenario
        self.now = started_at
        self.chargers: dict[str, Charger] = {}
        self.equalizers: dict[str, Equalizer] = {}
        self.price: dict[str, object] = dict(PRICE)
        # Local OCPP by charger: the newest details, and the version that was put into effect.
        self.ocpp: dict[str, dict[str, object]] = {}
        self.ocpp_in_force: dict[str, int] = {}
        self.commands: OrderedDict[tuple[str, int, int], CommandRecord] = OrderedDict()
        self._places: dict[str, int] = {}
        self._circuits: dict[int, list[Charger]] = {}
        self._traffic: dict[str, Traffic] = {}
        self._outbox: list[Update | Response] = []
        self._due: list[tuple[datetime, int, Callable[[], None]]] = []
        self._order = count()
        self._last_ticks = 0
        self.longest_slice_s = MAX_SLICE_S
        for charger_id in scenario.serials:
            self.add(charger_id)
        for number in range(1, scenario.equalizers + 1):
            serial = f"QP{number:06d}"
            rng = random.Random(f"{scenario.seed}:{serial}")  # noqa: S311 - a toy world
            self.equalizers[serial] = Equalizer(serial, self._outbox.append, self.now, rng)
        self._outbox.clear()

    # -- chargers and circuits -----------------------------------------------------------------

    def add(self, charger_id: str) -> Charger:
        """Add a charger to the account."""
        index = len(self.chargers)
        charger = Charger(
            charger_id,
            self._outbox.append,
            self.now,
            rng=random.Random(f"{self.scenario.seed}:{charger_id}"),  # noqa: S311 - a toy world
            primary=index % CHARGERS_PER_CIRCUIT == 0,
            pending_op_mode=self.scenario.pending_op_mode,
            tags_known=self.scenario.tags_known,
        )
        charger.telemetry.grid = GRIDS[self.scenario.grid]
        charger.price = self.price
        seed(charger, index, authorization=self._authorization(index))
        self.chargers[charger_id] = charger
        self._places[charger_id] = index
        self._circuits.setdefault(self.circuit_of(charger_id), []).append(charger)
        self._traffic[charger_id] = Traffic(
            random.Random(f"{self.scenario.seed}:{charger_id}:cars"),  # noqa: S311 - a toy world
            self.scenario.authorize_after_s,
        )
        if charger_id in self.scenario.direct_serials:
            self.ocpp[charger_id] = {
                "version": 1,
                "connectivityMode": "DualProtocol",
                "websocketConnectionArgs": {"url": "ws://192.0.2.1/ocpp"},
                "basicAuth": {"username": charger_id, "password": None},
            }
            self.ocpp_in_force[charger_id] = 1
        if charger_id in self.scenario.offline_serials:
            charger.go_offline(self.now - timedelta(hours=3))
            charger.cloud_put(109, 0, self.now - timedelta(hours=3))
        return charger

    def circuit_of(self, charger_id: str) -> int:
        """Return the id of the circuit a charger is on."""
        return FIRST_CIRCUIT + self._places[charger_id] // CHARGERS_PER_CIRCUIT

    def circuit(self, circuit_id: int) -> list[Charger]:
        """Return the chargers of a circuit, the primary one first; empty for an unknown id."""
        return list(self._circuits.get(circuit_id, ()))

    def site_ids(self) -> range:
        """Return the ids of all sites."""
        return range(SITE_ID, SITE_ID + self.scenario.sites)

    def site_of(self, circuit_id: int) -> int:
        """Return the id of the site of a circuit."""
        return SITE_ID + (circuit_id - FIRST_CIRCUIT) % self.scenario.sites

    def circuits_of(self, site_id: int) -> range:
        """Return the ids of the circuits of a site."""
        return self.circuit_ids()[site_id - SITE_ID :: self.scenario.sites]

    def circuit_ids(self) -> range:
        """Return the ids of all circuits."""
        return range(FIRST_CIRCUIT, FIRST_CIRCUIT - (-len(self.chargers) // CHARGERS_PER_CIRCUIT))

    def bring_back(self, charger_id: str, sessions: int) -> None:
        """Connect an offline charger again; it reports the sessions it ran meanwhile."""
        come_back(self.chargers[charger_id], sessions)

    def _authorization(self, index: int) -> tuple[bool, bool]:
        required = self.scenario.authorization_required
        if required is not None:
            return required, False
        return ((True, False), (False, False), (False, True))[index % 3]

    # -- time ------------------------------------------------------------------------------------

    def step(self, now: datetime) -> None:
        """Advance the world up to ``now``, or nearly."""
        world_s = (now - self.now).total_seconds() * self.scenario.speed
        if world_s < max(MIN_SLICE_S, MIN_SLICE_OF_ONE_S * len(self.chargers)):
            self._run_due(max(now, self.now))
            return
        slices = min(MAX_SLICES, max(1, round(world_s / self.longest_slice_s)))
        started_at, length = self.now, (now - self.now) / slices
        for number in range(1, slices + 1):
            self.now = started_at + length * number
            for charger_id, charger in self.chargers.items():
                charger.advance(world_s / slices, self.now)
                self._live(charger_id, charger)
            charging_kw = sum(charger.number(120) for charger in self.chargers.values())
            for equalizer in self.equalizers.values():
                equalizer.advance(self.now, charging_kw)
                if self.scenario.load_balancing:
                    self._balance(equalizer)
            self._run_due(self.now)
        self.now = now

    def _balance(self, equalizer: Equalizer) -> None:
        """Share what an Equalizer leaves among the chargers with a car, in the order of serials."""
        wanting = [charger for charger in self.chargers.values() if charger.car is not None]
        amps, served = equalizer.share(len(wanting))
        getting = wanting[:served]
        for charger in self.chargers.values():
            charger.balance(amps if charger in getting else 0.0)

    def allocate(self, equalizer: Equalizer, amps: int) -> Answer:
        """Set the current an Equalizer may give out."""
        return Answer(
            202,
            self.dispatch(
                equalizer, CONFIGURE_MAX_CURRENT, lambda: equalizer.allocate(amps, self.now)
            ),
        )

    def _live(self, charger_id: str, charger: Charger) -> None:
        away_s = self.scenario.offline_for_s
        if not charger.online:
            if away_s is not None and charger.world_s - charger.offline_since_s >= away_s:
                come_back(charger, self.scenario.offline_sessions)
        elif self.scenario.traffic:
            self._traffic[charger_id].advance(charger)

    def later(self, after_s: float, call: Callable[[], None]) -> None:
        """Schedule a call after some real seconds."""
        due_at = self.now + timedelta(seconds=after_s)
        heapq.heappush(self._due, (due_at, next(self._order), call))

    def _run_due(self, now: datetime) -> None:
        while self._due and self._due[0][0] <= now:
            heapq.heappop(self._due)[2]()

    def drain(self) -> list[Update | Response]:
        """Return and remove the pending events."""
        happened = self._outbox[:]
        self._outbox.clear()
        return happened

    # -- writes ----------------------------------------------------------------------------------

    def command(self, charger_id: str, name: str, body: Mapping[str, object]) -> Answer:
        """Handle one command."""
        charger, command = self.chargers.get(charger_id), COMMANDS.get(name)
        if charger is None or command is None:
            return NOT_FOUND
        problems = command.problems(body)
        if problems and command.silent_without and not command.fields.keys() & body.keys():
            return Answer(200)
        if problems:
            return validation_error(problems)
        if charger.car is None and command.needs_car(charger):
            return charger_disconnected()
        return Answer(
            202,
            self.dispatch(
                charger,
                command.command_id,
                lambda: command.effect(charger, body),
                effect_after_s=command.effect_after_s,
            ),
        )

    def from_exchange(self, order: Order) -> None:
        """Handle a command of the partner's exchange: the charger answers, unless it came late."""
        charger, command = self.chargers.get(order.charger_id), by_number(order)
        key = (order.charger_id, order.command_id, order.ticks)
        if charger is None or key in self.commands:
            return
        if command is None or (charger.car is None and command.needs_car(charger)):
            self.dispatch(charger, order.command_id, lambda: None, ticks=order.ticks, accepts=False)
            return
        self.dispatch(
            charger,
            order.command_id,
            lambda: command.effect(charger, order.body),
            effect_after_s=command.effect_after_s,
            ticks=order.ticks,
            until=order.until,
        )

    def set_settings(self, charger_id: str, body: Mapping[str, object]) -> Answer:
        """Apply settings; one dispatch per key that changes."""
        charger = self.chargers.get(charger_id)
        if charger is None:
            return NOT_FOUND
        problems = settings.problems(body)
        if problems:
            return validation_error(problems)
        changed = settings.changed(charger, body)
        if not changed:
            return NOTHING_CHANGED
        return Answer(
            202,
            [
                self.dispatch(
                    charger,
                    settings.SETTINGS[key].command_id,
                    partial(settings.apply, charger, key, value),
                )
                for key, value in changed.items()
            ],
        )

    def set_access(self, charger_id: str, level: int) -> Answer:
        """Set an access level: 1 open, 2 account, 3 whitelist."""
        charger = self.chargers.get(charger_id)
        if charger is None:
            return NOT_FOUND
        cloud, local = ACCESS_LEVELS[level]

        def effect() -> None:
            charger.settings["accessLevel"] = level
            settings.apply(charger, "authorizationRequired", cloud)
            settings.apply(charger, "localPreAuthorizeEnabled", local)

        return Answer(202, self.dispatch(charger, settings.DOWNLOAD_SETTINGS, effect))

    def is_direct(self, charger_id: str) -> bool:
        """Return whether a charger is controlled by an OCPP server of its own."""
        version = self.ocpp_in_force.get(charger_id)
        details = self.ocpp.get(charger_id)
        return version is not None and details is not None and details["version"] == version

    def set_plan(self, charger_id: str, kind: str, plan: plans.Plan | None) -> Answer:
        """Store a schedule, or (None) delete it."""
        charger = self.chargers.get(charger_id)
        if charger is None or (plan is None and kind not in charger.plans):
            return NOT_FOUND
        if plan is not None and self.is_direct(charger_id):
            return CONFLICT
        return Answer(
            202,
            self.dispatch(
                charger,
                CLEAR_SCHEDULE if plan is None else ADD_SCHEDULE,
                lambda: charger.set_plan(kind, plan),
            ),
        )

    def set_circuit_current(
        self, circuit_id: int, amps: tuple[float, float, float], minutes: float
    ) -> Answer:
        """Set a circuit's dynamic current. The primary responds, all its chargers follow."""
        members = self.circuit(circuit_id)
        if not members:
            return NOT_FOUND

        def effect() -> None:
            for charger in members:
                charger.set_circuit_current(amps, minutes)

        return Answer(202, self.dispatch(members[0], SET_DYNAMIC_CIRCUIT_CURRENT, effect))

    def set_circuit_settings(self, circuit_id: int, body: Mapping[str, object]) -> Answer:
        """Apply circuit settings: 200 at once, and still a CommandResponse later."""
        members = self.circuit(circuit_id)
        if not members:
            return NOT_FOUND

        def effect() -> None:
            for charger in members:
                for key, observation_id in CIRCUIT_SETTINGS.items():
                    value = body.get(key)
                    if isinstance(value, int | float):
                        charger.change(observation_id, float(int(value)))
                charger.show()

        flash = any(not key.startswith("dynamic") for key in body)
        command_id = SET_MAX_CIRCUIT_CURRENT if flash else SET_DYNAMIC_CIRCUIT_CURRENT
        self.dispatch(members[0], command_id, effect)
        return Answer(200)

    def dispatch(
        self,
        charger: Charger | Equalizer,
        command_id: int,
        effect: Callable[[], None],
        *,
        effect_after_s: float = 0.0,
        ticks: int | None = None,
        until: datetime | None = None,
        accepts: bool = True,
    ) -> dict[str, object]:
        """Send a command on its way and return the receipt of the cloud.

        Args:
            charger: Whom it is for.
            command_id: The vendor's number.
            effect: What it does.
            effect_after_s: Real seconds between the charger's answer and the effect.
            ticks: Its name, where somebody else gave it one.
            until: It is not delivered later.
            accepts: The charger carries it out.
        """
        record = CommandRecord(command_id, self._ticks() if ticks is None else ticks, self.now)
        self.commands[charger.id, command_id, record.ticks] = record
        while len(self.commands) > COMMANDS_KEPT:
            self.commands.popitem(last=False)

        def deliver() -> None:
            if not charger.reachable or (until is not None and self.now > until):
                return
            record.delivered_at = self.now
            record.accepted = accepts and not charger.reject_next
            charger.reject_next = False
            self._outbox.append(
                Response(
                    charger.id,
                    command_id,
                    record.ticks,
                    record.sent_at,
                    self.now,
                    record.accepted,
                )
            )
            if not record.accepted:
                return
            if effect_after_s:
                self.later(effect_after_s, effect)
            else:
                effect()

        self.later(self.scenario.command_latency_s, deliver)
        return {"device": charger.id, "commandId": command_id, "ticks": record.ticks}

    def result_code(self, record: CommandRecord) -> int:
        """Return the REST result code of a command."""
        if record.accepted is not None:
            return EXECUTED if record.accepted else REJECTED
        return EXPIRED if self.now - record.sent_at > EXPIRES_AFTER else SENT

    def _ticks(self) -> int:
        microseconds = (self.now - YEAR_ONE) // timedelta(microseconds=1)
        self._last_ticks = max(self._last_ticks + 1, microseconds * TICKS_PER_MICROSECOND)
        return self._last_ticks

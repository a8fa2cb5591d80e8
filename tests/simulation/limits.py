"""Short lives of the limits of one charger: switches of phases, held limits, other controllers.

The core is the real one, the charger and its cloud are those of :mod:`bridge.simulator`, and the
time is simulated. Processes die at any moment, requests and answers are lost, the cloud and the
charger say no, other controllers send commands, cars come and go.

``python -m tests.simulation.limits SEEDS [FIRST]`` plays so many lives; ``--seed N`` one again,
with everything that happened.
"""

import heapq
import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl

from bridge.core.changes import CommandAnswered, DerivedChanged
from bridge.core.composition import Core
from bridge.core.effects import Acknowledge, LogEntry, SaveCommand, SendRequest
from bridge.core.events import (
    ChargerResponse,
    CloudFailed,
    CloudResponse,
    CommandSaved,
    MqttConnected,
    MqttMessage,
    ObservationsReceived,
    Started,
    StoreOpened,
    StreamOpened,
    Tick,
)
from bridge.core.messages import AckToken
from bridge.core.records.moment import Timestamp
from bridge.core.records.observation import RawObservation
from bridge.core.value_format import iso_utc
from bridge.errors import CloudRejected, CloudUnavailable, OutcomeUnknown
from bridge.settings import CommandSettings, EaseeSettings, Secret, Settings
from bridge.simulator import rest
from bridge.simulator.readings import Update
from bridge.simulator.scenario import Scenario
from bridge.simulator.sessions import Car
from bridge.simulator.simulator import Simulator
from tests.conftest import NOON
from tests.simulation import lives
from tests.simulation.cloud import ROUTES, QuietTelemetry
from tests.simulation.lives import Tell, Violation, untold

ID = "EH000001"
ALLOW = ("control", "access", "current", "device", "maintenance")
SETTINGS = Settings(
    EaseeSettings("x@example.com", Secret("p"), (ID,)), commands=CommandSettings(allow=ALLOW)
)
LIFE_S = 240.0
QUIET_S = 450.0
# What the hub and a request on its way may hide from the gateway.
UNHEARD_S = 5.0
# So long the charger takes for what the cloud has taken.
TAKEN_S = 5.0
FALLS_A_PER_S = 2.0
LIMIT = "set_dynamic_charger_current"
CIRCUIT = "dynamicCurrent"
# Commands by the request that carries them out.
SETS = {LIMIT: "dynamic_charger_current", CIRCUIT: "dynamic_circuit_current"}
PHASES = ("phase1", "phase2", "phase3")
FOREIGN_AMPS = (8, 12, 20)


class SlowTelemetry(QuietTelemetry):
    """A car that goes on drawing for some seconds when it is told to stop."""

    def draw(self, target_a: float, phases: int, seconds: float, rng: random.Random) -> float:
        """Let a current that has to end fall slowly."""
        if target_a > 0 or self.current_a <= 0:
            return super().draw(target_a, phases, seconds, rng)
        self.current_a = max(0.0, self.current_a - FALLS_A_PER_S * seconds)
        self.power_kw = self.current_a * phases * 0.23
        return self.power_kw * seconds / 3600

    def ended(self) -> Iterator[tuple[int, Any]]:
        """Say that nothing flows when nothing flows."""
        return super().ended() if self.current_a <= 0 else iter(())


@dataclass(slots=True)
class Asked:
    """One command somebody asked for.

    Attributes:
        name: Command.
        fields: Of its payload.
        message: As the broker delivers it, again and again until it is acknowledged.
        at_s: When it was asked for.
        sent_s: When the gateway sent it last because it was asked for.
        is_acked: The gateway acknowledged it.
        finals: Its different final results.
    """

    name: str
    fields: dict[str, Any]
    message: MqttMessage
    at_s: float = 0.0
    sent_s: float = -1e9
    is_acked: bool = False
    finals: list[tuple[str, str | None, str | None]] = field(default_factory=list)


@dataclass(slots=True)
class Owner:
    """Whose limit is in force at the charger, who asked for the newest one, and when.

    Attributes:
        ticks: The cloud's name of another controller's command; None where a process had its
            response, or the value that it changed tells of it.
    """

    who: str = "vendor"
    amps: float = 0.0
    since_s: float = -1e9
    newest: str = ""
    newest_s: float = -1e9
    asked_s: float = -1e9
    ticks: object = None


class Life:
    """One life, from one seed."""

    def __init__(self, seed: int, tell: Tell = untold) -> None:
        self.rng = random.Random(f"limits:{seed}")
        self.now_s = 0.0
        self.show = tell
        self.counts: Counter[str] = Counter()
        self._later: list[tuple[float, int, int, Callable[[], None]]] = []
        self._number = self._epoch = 0
        self.rows: dict[str, Any] = {}
        self.core: Core | None = None
        self.asked: list[Asked] = []
        self._told_s = 0.0
        self.held: object = None
        self.owners = {LIMIT: Owner(), CIRCUIT: Owner()}
        self.paused_s = self.disturbed_s = self.heard_s = self.taken_s = -1e9
        scenario = Scenario(
            chargers=1,
            equalizers=0,
            seed=seed,
            traffic=False,
            authorization_required=False,
            command_latency_s=self.rng.choice((0.1, 0.6, 2.0)),
            step_interval_s=0,
        )
        self.simulator = Simulator(scenario, lambda: NOON + timedelta(seconds=self.now_s))
        self.world = self.simulator.world
        self.charger = self.world.chargers[ID]
        self.charger.telemetry = SlowTelemetry()
        self.trouble = self.rng.choice((0.0, 0.05, 0.2))
        self.is_quiet = False

    # -- time ----------------------------------------------------------------------------------

    @property
    def now(self) -> Timestamp:
        return Timestamp(NOON + timedelta(seconds=self.now_s), 1000.0 + self.now_s, True)

    def later(self, in_s: float, act: Callable[[], None], *, of_process: bool = False) -> None:
        """Let something happen; what is of a process not when that is dead."""
        self._number += 1
        epoch = self._epoch if of_process else -1
        heapq.heappush(self._later, (self.now_s + in_s, self._number, epoch, act))

    def note(self, *what: object) -> None:
        """Say what happens, in a replay."""
        if self.show is not untold:
            self.show(f"{self.now_s:9.2f}  {' '.join(map(str, what))[:240]}")

    def fail(self, promise: str) -> None:
        """End the life: a promise was broken."""
        raise Violation(promise)

    def play(self) -> None:
        """Play it."""
        rng = self.rng
        self.begin()
        self.charger.plug_in(Car(phases=3, max_current_a=32.0, wants_kwh=500.0))
        self._step()
        at_s = 10.0
        while at_s < LIFE_S:
            at_s += rng.expovariate(1 / 16.0)
            act = rng.choices(
                (self.ask, self.foreign, self.car, self.die, self.refuse),
                weights=(12, 3, 3, 1 + 2 * (self.trouble > 0), 1),
            )[0]
            self.later(at_s, act)
        self.later(LIFE_S + 30.0, self._be_quiet)
        end_s = LIFE_S + QUIET_S
        while self._later and self._later[0][0] < end_s:
            self.now_s, _, epoch, act = heapq.heappop(self._later)
            if epoch in (-1, self._epoch):
                act()
        self.now_s = end_s
        self.judge_end()

    def _be_quiet(self) -> None:
        self.is_quiet = True
        if self.core is None:
            self.begin()

    def _step(self) -> None:
        self._live()
        self.later(1.0 if not self.is_quiet else 10.0, self._step)

    def tell(self) -> None:
        """Deliver what the charger says, in a moment."""
        for one in self.world.drain():
            # In order: stamps have whole seconds mostly, and the later arrival counts.
            at_s = max(self._told_s, self.now_s + self.rng.uniform(0.05, 2.5))
            self._told_s = at_s + 0.001
            delay_s = at_s - self.now_s
            if isinstance(one, Update):
                raw = RawObservation(
                    one.charger_id,
                    one.observation_id,
                    one.reading.data_type,
                    _text(one.reading.value),
                    iso_utc(one.reading.measured_at),
                )
                event: Any = ObservationsReceived((raw,), "stream")
            else:
                event = ChargerResponse(one.charger_id, one.command_id, one.ticks, one.accepted, 0)
            self.later(delay_s, lambda event=event: self.give(event), of_process=True)

    # -- the process -----------------------------------------------------------------------------

    def begin(self) -> None:
        """Start a process."""
        self._epoch += 1
        self.core = Core(SETTINGS, version="1", salt=b"salt")
        self.note("started", self._epoch)
        self.counts["lives"] += 1
        self.give(StoreOpened((), commands=tuple(self.rows.values())))
        self.give(Started())
        self.give(MqttConnected(self._epoch > 1, "5", 20))
        self.give(StreamOpened())
        self.later(self.rng.uniform(0.2, 3.0), self._replay, of_process=True)
        for asked in self.asked:
            if not asked.is_acked:
                self.later(
                    self.rng.uniform(0.1, 2.0),
                    lambda asked=asked: self.deliver(asked, again=True),
                    of_process=True,
                )

    def _replay(self) -> None:
        """Send the newest observation of each id, as the hub does behind a subscription."""
        held = (
            RawObservation(ID, number, each.data_type, _text(each.value), iso_utc(each.measured_at))
            for number, each in self.charger.readings.items()
        )
        self.give(ObservationsReceived(tuple(held), "stream"))

    def die(self) -> None:
        """Kill the process."""
        if self.core is None or self.is_quiet:
            return
        self.note("killed")
        self.counts["crashes"] += 1
        self._epoch += 1
        self.core = None
        self.later(self.rng.choice((0.5, 5.0, 40.0)), lambda: self.core or self.begin())

    def give(self, event: Any) -> None:
        """Give the core an event, and carry out what follows."""
        if self.core is None:
            return
        if isinstance(event, ObservationsReceived | ChargerResponse):
            self.heard_s = self.now_s
        if isinstance(event, ChargerResponse):
            for owner in self.owners.values():
                if owner.ticks == event.ticks:
                    owner.ticks = None
        for effect in self.core.handle(event, self.now):
            self.carry_out(effect)
        if self.core is None:
            return
        due_s = self.core.deadline_s()
        if due_s is not None:
            epoch = self._epoch
            in_s = max(0.01, due_s - 1000.0 - self.now_s)
            self._due = getattr(self, "_due", None)
            if self._due is None or self._due[0] != epoch or self._due[1] > self.now_s + in_s:
                self._due = (epoch, self.now_s + in_s)
                self.later(in_s, self._tick, of_process=True)

    def _tick(self) -> None:
        self._due = None
        self.give(Tick())

    def carry_out(self, effect: Any) -> None:
        """Carry out an effect."""
        match effect:
            case SaveCommand(row):
                self.later(
                    self.rng.uniform(0.005, 0.05), lambda: self._commit(row), of_process=True
                )
            case SendRequest():
                self._request(effect)
            case Acknowledge(token):
                for asked in self.asked:
                    if asked.message.ack_token.message_id == token.message_id:
                        asked.is_acked = True
            case CommandAnswered(result=result):
                self._answered(result)
            case DerivedChanged(name="held_limit", value=value):
                self.held = value
                self.note("held_limit", value)
            case LogEntry(event="component.failed", fields=facts):
                raise facts["exc_info"]  # type: ignore[misc]

    def _commit(self, row: Any) -> None:
        self.rows[row.key] = row
        self.give(CommandSaved(row.key, row.state))

    # -- the cloud ---------------------------------------------------------------------------------

    def _request(self, effect: SendRequest) -> None:
        request, rng = effect.request, self.rng
        kind = rng.random() if rng.random() < self.trouble and not self.is_quiet else 1.0
        name = request.path.rsplit("/", 1)[1]
        origin, asked = self._origin(effect)
        if asked is not None and request.method == "POST":
            asked.sent_s = self.now_s
        if kind < 0.25:  # never arrives, and nobody says so
            self.later(
                effect.within_s,
                lambda: self.give(CloudFailed(effect.tag, OutcomeUnknown("timeout"))),
                of_process=True,
            )
            return
        if kind < 0.4:
            self.give_later(CloudFailed(effect.tag, CloudUnavailable("503", status=503)))
            return
        if kind < 0.5:
            no = CloudRejected("no", status=400, reason="bad_request")
            self.give_later(CloudFailed(effect.tag, no))
            return

        def arrive() -> None:
            answer = self._executed(request, name, origin, asked)
            if kind < 0.75:  # carried out, and the answer is lost
                self.later(
                    effect.within_s,
                    lambda: self.give(CloudFailed(effect.tag, OutcomeUnknown("timeout"))),
                    of_process=True,
                )
            else:
                self.give_later(answer(effect.tag))

        self.later(rng.uniform(0.02, 0.3), arrive)

    def give_later(self, event: Any) -> None:
        """Give the core an answer in a moment."""
        self.later(self.rng.uniform(0.02, 0.5), lambda: self.give(event), of_process=True)

    def _origin(self, effect: SendRequest) -> tuple[str, Asked | None]:
        """Return why the gateway sends a command, and what asked for it if anything did."""
        assert self.core is not None
        if effect.tag.owner != "commands":
            return "", None
        commands = self.core.components["commands"].inner  # type: ignore[attr-defined]
        command = commands._dispatcher._pending[effect.tag.ref].command
        if command.parent is not None:
            return "step", None
        name = command.request.id
        return str(command.origin), None if name is None else self.asked[int(name[1:])]

    def _executed(
        self, request: Any, name: str, origin: str, asked: Asked | None
    ) -> Callable[[Any], Any]:
        path, _, query = request.path.partition("?")
        self._live()
        if "/commands/" in path or (name == CIRCUIT and request.method == "POST"):
            self.note("cloud", name, request.body, origin)
            self.judge_execution(name, request.body, origin, asked)
        for method, pattern, route in ROUTES:
            match = pattern.fullmatch(path) if method == request.method else None
            if match is not None:
                call = rest.Call(match.groupdict(), dict(parse_qsl(query)), request.body or b"")
                answer = rest.answer(route, self.world, call)
                self.later(self.world.scenario.command_latency_s + 0.01, self._live)
                self.later(self.world.scenario.command_latency_s + 1.1, self._live)
                document = answer.document
                body = json.dumps(document).encode() if isinstance(document, dict | list) else b""
                if answer.status in range(200, 300):
                    return lambda tag: CloudResponse(tag, answer.status, body)
                no = CloudRejected("no", status=answer.status, reason="charger_disconnected")
                return lambda tag: CloudFailed(tag, no)
        no = CloudRejected("not found", status=404, reason="not_found")
        return lambda tag: CloudFailed(tag, no)

    def _live(self) -> None:
        self.world.step(self.simulator.now())
        self.tell()

    # -- people and other controllers ------------------------------------------------------------

    def ask(self) -> None:
        """Publish a command."""
        rng = self.rng
        amps = rng.choice((10, 14, 16))
        name, fields = rng.choices(
            (
                ("phases", {"phases": rng.choice((1, 3)), "amps": amps}),
                ("phases", {"phases": rng.choice((1, 3))}),
                ("dynamic_charger_current", {"amps": amps, "hold": True}),
                ("dynamic_charger_current", {"amps": amps, "hold": True, "minutes": 3}),
                ("dynamic_charger_current", {"amps": amps}),
                ("dynamic_charger_current", {"release": True}),
                ("dynamic_circuit_current", {**dict.fromkeys(PHASES, amps), "hold": True}),
                ("dynamic_circuit_current", dict.fromkeys(PHASES, amps)),
                ("dynamic_circuit_current", {"release": True}),
                ("pause", {"value": "PRESS"}),
                ("resume", {"value": "PRESS"}),
                ("reboot", {"value": "PRESS"}),
            ),
            weights=(6, 2, 5, 2, 2, 1, 4, 1, 0.5, 3, 3, 1.5),
        )[0]
        number = len(self.asked)
        given = {**fields, "id": f"c{number}", "ttl_s": rng.choice((20, 60, 120))}
        message = MqttMessage(
            f"charger/{ID}/set/{name}", json.dumps(given).encode(), AckToken(1, number + 1, 1)
        )
        asked = Asked(name, fields, message, self.now_s)
        self.asked.append(asked)
        self.counts[name] += 1
        self.deliver(asked)

    def deliver(self, asked: Asked, *, again: bool = False) -> None:
        """Let the broker deliver a command."""
        if self.core is not None:
            self.note("ask", asked.message.topic.rsplit("/", 1)[1], asked.message.payload)
            message = asked.message
            if again:
                message = MqttMessage(
                    message.topic, message.payload, message.ack_token, duplicate=True
                )
            self.give(message)

    def foreign(self) -> None:
        """Let another controller send a command."""
        if self.is_quiet:
            return
        amps = float(self.rng.choice(FOREIGN_AMPS))
        name = self.rng.choice(("pause_charging", "resume_charging", LIMIT, LIMIT, CIRCUIT))
        self._live()
        self.note("foreign", name, amps)
        self.counts["foreign"] += 1
        if name == CIRCUIT:
            circuit = self.world.circuit_of(ID)
            answer = self.world.set_circuit_current(circuit, (amps, amps, amps), 0.0)
        else:
            answer = self.world.command(ID, name, {"amps": amps} if name == LIMIT else {})
        self.disturbed_s = self.now_s
        if name in self.owners and self.charger.reachable:
            receipt: Any = answer.document
            ticks = receipt["ticks"] if self._shown(name) == amps else None
            self.owners[name] = Owner(
                "foreign", amps, self.now_s, "foreign", self.now_s, ticks=ticks
            )
        elif name == "resume_charging" and self.charger.reachable:
            self._forgets(LIMIT)
        elif name == "pause_charging":
            self.paused_s = self.now_s
        self.later(self.world.scenario.command_latency_s + 0.01, self._live)
        self.later(self.world.scenario.command_latency_s + 1.1, self._live)

    def car(self) -> None:
        """Let the car leave, or another one come."""
        if self.is_quiet or not self.charger.reachable:
            return
        self._live()
        self.note("car", "leaves" if self.charger.car else "comes")
        self.counts["cars"] += 1
        self.disturbed_s = self.now_s
        if self.charger.car is not None:
            self.charger.unplug()
        else:
            self.charger.plug_in(Car(phases=3, max_current_a=32.0, wants_kwh=500.0))
            self._forgets(LIMIT)
        self.tell()

    def refuse(self) -> None:
        """Let the charger say no to the next command."""
        # What the cloud has taken is judged as done: the charger is not to change its mind then.
        if not self.is_quiet and self.now_s - self.taken_s > TAKEN_S:
            self.charger.reject_next = True

    # -- what is judged ----------------------------------------------------------------------------

    def _forgets(self, name: str) -> None:
        """Note that the charger goes back to its maximum."""
        self.owners[name].who, self.owners[name].since_s = "vendor", self.now_s

    def judge_execution(
        self, name: str, body: bytes | None, origin: str, asked: Asked | None
    ) -> None:
        """Judge a command of the gateway that the cloud carries out now."""
        if name == "set_phase_mode":
            self.counts["phase modes"] += 1
            is_disturbed = self.now_s - self.disturbed_s < UNHEARD_S
            if self.charger.telemetry.current_a > 0 and not is_disturbed:
                self.fail("phases were switched under load")
        elif name in self.owners:
            fields = json.loads(body or b"{}")
            amps = fields["phase1" if name == CIRCUIT else "amps"]
            if origin == "held":
                self._judge_held(name, amps)
            elif self.charger.reachable and amps and not self.charger.reject_next:
                self.taken_s = self.now_s
                self._takes_over(name, amps, origin, asked)
        elif name == "pause_charging":
            self.paused_s = self.now_s
        elif name == "resume_charging":
            self._forgets(LIMIT)
        elif name == "reboot":
            self._forgets(LIMIT)
            self._forgets(CIRCUIT)

    def _takes_over(self, name: str, amps: int, origin: str, asked: Asked | None) -> None:
        """Note whose limit is in force from now on."""
        who = "step" if origin == "step" else "plain"
        if origin == "" and self._holding(name, amps):
            who = "held"
        owner = self.owners[name]
        owner.who, owner.since_s, owner.amps = who, self.now_s, float(amps)
        if asked is not None:
            owner.newest, owner.newest_s, owner.asked_s = who, self.now_s, asked.at_s

    def _judge_held(self, name: str, amps: int) -> None:
        """Judge a limit that the gateway sends again."""
        self.counts["sent again" if name == LIMIT else "circuit sent again"] += 1
        owner = self.owners[name]
        is_unheard = self.now_s - owner.since_s < UNHEARD_S
        # The vendor's own maximum may have overwritten it, as behind a resume.
        is_in_force = self._shown(name) == owner.amps
        holding = self._holding(name, amps)
        asked_s = max(each.at_s for each in holding)
        # A command that waited for its turn counts from its sending, which may have got lost.
        is_older = owner.since_s < max(asked_s, *(each.sent_s for each in holding))
        was_unheard = self.now_s - owner.newest_s < UNHEARD_S
        if owner.newest == "plain" and owner.asked_s > asked_s and not was_unheard:
            self.fail("a held limit was sent again behind a newer one")
        is_newer = owner.who in ("foreign", "plain") and not is_older
        # It set the value that was shown before, while no process was there for the response.
        is_unheard = is_unheard or owner.ticks is not None
        if is_newer and is_in_force and not is_unheard:
            self.fail(f"a held limit was sent against a newer one: {owner.who}")
        was_paused = self.charger.number(48) == 0 and self.charger.reachable
        is_disturbed = self.now_s - self.disturbed_s < UNHEARD_S
        was_heard = self.now_s - self.paused_s > UNHEARD_S and not is_disturbed
        if name == LIMIT and was_paused and was_heard:
            self.fail("a held limit was sent to a charger that is paused")

    def _shown(self, name: str) -> float:
        return self.charger.number(48 if name == LIMIT else 111)

    def _holding(self, name: str, amps: int) -> list[Asked]:
        """Return the commands that asked for a limit that is to be held."""
        key = "phase1" if name == CIRCUIT else "amps"
        return [
            each
            for each in self.asked
            if each.name == SETS[name] and each.fields.get("hold") and each.fields[key] == amps
        ]

    def _answered(self, result: Any) -> None:
        if not result.final or result.id is None:
            return
        self.note("result", result.command, result.state, result.reason, result.detail)
        asked = self.asked[int(result.id[1:])]
        final = (result.state, result.reason, result.detail)
        if final in asked.finals:
            return
        asked.finals.append(final)
        if len(asked.finals) > 1:
            self.fail(f"two results of one command: {asked.finals}")
        self.counts[f"{result.command} {result.state} {result.reason or ''}".strip()] += 1
        if result.command != "phases":
            return
        is_disturbed = self.now_s - self.disturbed_s < 3 * UNHEARD_S
        if (result.detail or "").endswith("; the charger is paused"):
            is_off = self.charger.number(48) == 0 or self.charger.car is None
            if not is_off and not is_disturbed and self.charger.reachable:
                self.fail(f"called paused and has {self.charger.number(48)} A: {result.detail}")
        elif result.state in ("confirmed", "noop") and not is_disturbed:
            if self.charger.number(38) != asked.fields["phases"]:
                self.fail("confirmed, and the phase mode is another one")
            is_kept = "stays so" in result.detail
            if is_kept and self.charger.charging:
                self.fail("it was paused before, and charges now")

    def judge_end(self) -> None:
        """Judge what stands when all has been quiet for long."""
        for asked in self.asked:
            if asked.is_acked and len(asked.finals) != 1:
                self.fail(f"{len(asked.finals)} results of {asked.name} {asked.fields}")
        if self.charger.switched_under_load:
            self.counts["switched under load, unheard"] += 1
        self._judge_held_at_the_end()
        shown = self.charger.number(48)
        if self.owners[LIMIT].who == "held" and self.held is None and shown not in (0, 32):
            last = [each for each in self.asked if each.name == "dynamic_charger_current"][-1]
            was_released = any("release" in each.fields for each in self.asked)
            was_timed = any("minutes" in each.fields for each in self.asked)
            if "hold" in last.fields and not was_released and not was_timed:
                self.counts["hold ended by something that was not seen"] += 1

    def _judge_held_at_the_end(self) -> None:
        """Of the two limits that may be held, the lower one is told: one of them shows it."""
        if self.held is None:
            return
        of_circuit = self._shown(CIRCUIT)
        if self.held == of_circuit:
            return
        shown = self._shown(LIMIT)
        if shown not in (0, self.held) and self.charger.car is not None:
            self.fail(f"{self.held} A are held, and the charger has {shown} A")
        if shown != self.held and self._only_of_circuit():
            self.fail(f"{self.held} A are held, and the circuit has {of_circuit} A")

    def _only_of_circuit(self) -> bool:
        """Return whether nobody asked for a held limit of the charger."""
        return not any(each.fields.get("hold") for each in self.asked if each.name == SETS[LIMIT])


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def play(seed: int, tell: Tell = untold) -> Counter[str]:
    """Play a life; return what happened.

    Raises:
        Violation: A promise was broken.
    """
    life = Life(seed, tell)
    life.play()
    return life.counts


def main() -> int:
    """Play lives and say how they went."""
    return lives.main(__doc__, play)


if __name__ == "__main__":
    sys.exit(main())

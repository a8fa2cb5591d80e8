"""Two hundred lives of the bridge in a bad world, and the proof that the world can find a fault.

``make simulate-faults SEEDS=10000`` plays more of them; docs/simulation.md tells what they are.
"""

import functools
import itertools
from collections import Counter
from dataclasses import dataclass, replace

import msgspec
import pytest
from msgspec import structs

from bridge.core.addressees import kind_of
from bridge.core.alerts import Alerts
from bridge.core.chargers import charger_events, state
from bridge.core.chargers.firmware_releases import FirmwareReleases
from bridge.core.commands import active_commands, dispatcher, send_policy, service, validation
from bridge.core.commands.retry_policy import RetryIn
from bridge.core.delivery.broker_heartbeat import BrokerHeartbeat
from bridge.core.delivery.outbox import Outbox
from bridge.core.easee.hub_session import Keepalive
from bridge.core.easee.rate_limits import RateLimiter
from bridge.core.effects import Acknowledge, Reconnect
from bridge.core.sessions import report_merge
from bridge.core.sessions.delivery import ReportDelivery
from bridge.core.sessions.report_merge import find_row
from bridge.core.site_service import SiteService
from bridge.core.sources.recovery_probe import RecoveryProbe
from bridge.core.sources.schedule_reader import ScheduleReader
from bridge.core.sources.site_reader import SiteReader
from bridge.errors import OutcomeUnknown
from tests.simulation.link import SimulatedLink
from tests.simulation.lives import Violation
from tests.simulation.options import CHATTER, FAULTS, draw
from tests.simulation.play import explained
from tests.simulation.simulation import Simulation

SEEDS = 200
CHUNK = 20
MAX_SEEDS = 15
HOURS = 0.15


@functools.cache
def played(first):
    """Play some seeds; return which faults came, and what is to be said of the first failure."""
    fired = Counter()
    for seed in range(first, first + CHUNK):
        simulation = Simulation(draw(seed, longest_hours=HOURS, exactly=True))
        try:
            simulation.run()
        except Exception as why:  # noqa: BLE001 - whatever it is, the seed is told
            return fired, explained(simulation, why, f"--hours {HOURS} --exactly")
        fired += simulation.fired
    return fired, None


@pytest.mark.parametrize("first", range(1, SEEDS + 1, CHUNK))
def test_every_promise_holds_in_a_bad_world(first):
    """Whatever goes wrong, nothing untrue is said, nothing is lost, and all comes right again."""
    _, failure = played(first)

    assert failure is None, failure


def test_every_fault_comes():
    """A fault that never fires proves nothing."""
    fired = Counter()
    for first in range(1, SEEDS + 1, CHUNK):
        fired += played(first)[0]

    assert not {*FAULTS, "frames_cut"} - fired.keys()


# -- what earlier runs found -----------------------------------------------------------------------


def troubled(seed, **faults):
    """Make options with these faults only, each so often in an hour."""
    return replace(
        draw(seed, longest_hours=0.5, exactly=True),
        poll=False,
        protocol="5",
        faults=faults,
        chatter=frozenset(CHATTER),
    )


@pytest.mark.parametrize(
    ("faults", "seeds"),
    [
        pytest.param(
            {"clock_jump": 20, "old_burst": 40, "hub_reorders": 20}, (1, 2), id="slow_clock"
        ),
        # A clock that is slow from the start on: only the cloud's Date tells (20909, 21637).
        pytest.param(
            {"clock_jump": 30, "old_burst": 60, "killed": 30}, (2, 5), id="slow_from_the_start"
        ),
        pytest.param({"broker_refuses": 30}, (1, 2), id="refused_values_given_up"),
        pytest.param(
            {"broker_refuses": 30, "broker_killed": 30}, (1,), id="refused_and_taken_elsewhere"
        ),
        pytest.param({"disk_full": 6}, (1, 2, 3), id="warning_outlasts_the_full_disk"),
        # Three lost calls, and then nobody who makes another one (seed 303715).
        pytest.param({"rest_lost_request": 240}, (2, 3), id="rest_is_back_and_nobody_asks"),
        pytest.param({"broker_refuses": 30, "mqtt_drop": 60}, (2, 4), id="no_connection_holds"),
        # A command without an id comes again under the packet identifier of the same words before
        # it, after its first sending was lost on a dead line (10056).
        pytest.param({"mqtt_half_open": 120}, (2, 3, 10), id="words_of_an_earlier_command"),
    ],
)
def test_what_was_found_stays_mended(faults, seeds):
    """Each fault that once broke a promise, alone and often."""
    for seed in seeds:
        Simulation(troubled(seed, **faults)).run()


def test_a_slow_disk_under_a_flood_of_commands_is_no_broken_promise():
    """A thousand commands an hour, on a disk that takes seconds: the store commits in groups."""
    options = troubled(14, disk_slow=120)
    Simulation(
        replace(options, commands_per_hour=1000.0, sessions_per_hour=6.0, protocol="3.1.1")
    ).run()


# -- the simulation can fail -----------------------------------------------------------------------


def _acknowledges_at_once(patch):
    """The broker may forget a command before it is on disk."""
    receive = service.CommandService.receive

    def hasty(self, message, *rest, **more):
        yield Acknowledge(message.ack_token)
        yield from receive(self, message, *rest, **more)

    patch.setattr(service.CommandService, "receive", hasty)


def _last_arrival_wins(patch):
    """Values are ordered by their arrival."""
    patch.setattr(state, "_is_stale", lambda *_: False)


def _stamps_itself(patch):
    """The time of arrival is published as the time of measurement."""
    apply = state.ChargerState.apply

    def made_up(self, observation, source, now, *rest):
        changed = msgspec.structs.replace(observation, measured_at=now.wall, stamp="")
        return apply(self, changed, source, now, *rest)

    patch.setattr(state.ChargerState, "apply", made_up)


def _repeats_what_may_have_run(patch):
    """A command without an answer is sent again, whatever it is."""
    decide = dispatcher.decide

    def careless(error, **facts):
        is_unknown = isinstance(error, OutcomeUnknown)
        return RetryIn(1.0) if is_unknown and facts["left_s"] > 1 else decide(error, **facts)

    patch.setattr(dispatcher, "decide", careless)


def _lives_for_ever(patch):
    """Nobody looks at the time of a command."""
    patch.setattr(validation, "_ttl_s", lambda *_: 600.0)


def _obeys_retained(patch):
    """A retained command is as good as any."""
    patch.setattr(
        validation, "_check_addressee", lambda _message, name, known: kind_of(known, name)
    )


def _forgets_what_was_under_way(patch):
    """A lost connection takes what was in flight with it."""
    lost = Outbox.connection_lost

    def forgetful(self, *facts):
        self._in_flight.clear()
        lost(self, *facts)

    patch.setattr(Outbox, "connection_lost", forgetful)


def _believes_the_broker(patch):
    """What a broker acknowledged is never sent again."""
    connected = ReportDelivery.connected

    def trusting(self, mono_s, **facts):
        self._published.clear()
        yield from connected(self, mono_s, **facts)

    patch.setattr(ReportDelivery, "connected", trusting)


def _wears_the_memory_out(patch):
    """Nobody counts the writes of a charger's memory."""
    patch.setattr(send_policy.SendPolicy, "_flash", lambda *_: None)


def _has_no_budget(patch):
    """Requests go out as they come."""
    patch.setattr(RateLimiter, "wait_s", lambda *_: 0.0)


def _acknowledges_by_number_alone(patch):
    """A packet identifier of the last connection acknowledges what has that number on this one."""

    def careless(self, receipt):
        wire = self._wire
        if wire is not None:
            number = receipt.message_id
            self._broker.up(wire, lambda: self._broker.acknowledged(wire, number))

    patch.setattr(SimulatedLink, "acknowledge", careless)


def _knows_a_command_by_its_words(patch):
    """Where an answer is wanted does not tell two commands apart."""
    digest_of = validation.message_digest

    def wordy(message):
        return digest_of(structs.replace(message, response_topic=None, correlation=None))

    for module in (validation, active_commands, service):
        patch.setattr(module, "message_digest", wordy)


def _says_more_than_is_described(patch):
    """Put a field into events that is in no schema."""
    event = charger_events.ChargerEvents._event
    patch.setattr(
        charger_events.ChargerEvents,
        "_event",
        lambda self, *known, **facts: event(self, *known, **facts, more=1),
    )


def _never_asks_again(patch):
    """What is thought of REST is left to the next who uses it, and nothing is read in between."""
    patch.setattr(RecoveryProbe, "link", lambda *_: None)
    for reader in (FirmwareReleases, ScheduleReader, SiteReader, SiteService):
        patch.setattr(reader, "deadline_s", lambda _self: None)


def _keeps_on_calling_silent_chargers_online(patch):
    """A charger that says nothing more is there until its cloud says otherwise."""
    patch.setattr(state, "OFFLINE_AFTER_S", 864_000.0)


def _asks_while_blocked(patch):
    """A block is a refusal like any other."""
    patch.setattr(RateLimiter, "block", lambda *_: None)


def _draws_a_key_each_time(patch):
    """A report that comes twice is two."""
    numbers = itertools.count()

    def forgetful(report, alike):
        return f"{find_row(report, alike)[0]}-{next(numbers)}", None

    patch.setattr(report_merge, "find_row", forgetful)


def _believes_in_a_deaf_broker(patch):
    """A heartbeat that does not come back is no reason to connect anew."""
    tick = BrokerHeartbeat.tick

    def patient(self, now):
        yield from (effect for effect in tick(self, now) if not isinstance(effect, Reconnect))

    patch.setattr(BrokerHeartbeat, "tick", patient)


def _believes_in_a_silent_hub(patch):
    """A hub that says nothing, not even pings, has nothing to say."""
    begin = Keepalive.__init__
    patch.setattr(
        Keepalive, "__init__", lambda self, mono_s, **_: begin(self, mono_s, silence_s=1e9)
    )


def _serves_the_last_first(patch):
    """Of a charger's commands the newest goes first."""
    patch.setattr(active_commands, "ARRIVAL", lambda command: -command.seq)


def _never_takes_an_alert_back(patch):
    """What was wrong once is wrong for ever."""
    patch.setattr(Alerts, "clear", lambda *_: iter(()))


@dataclass(frozen=True)
class Hunt:
    """Where a mistake shows, and as what: another fault must not be taken for it."""

    faults: dict[str, float]
    found_as: str
    protocol: str = "5"
    commands_per_hour: float = 200.0


UNSAVED = "acknowledged before it was on the disk"
MUTANTS = {
    _acknowledges_at_once: Hunt({"killed": 60, "power_cut": 20}, UNSAVED),
    _last_arrival_wins: Hunt({"old_burst": 20}, "went back from"),
    _stamps_itself: Hunt({}, "nothing was measured then"),
    _repeats_what_may_have_run: Hunt(
        {"rest_lost_answer": 120, "hub_drop": 240}, "was carried out twice"
    ),
    _lives_for_ever: Hunt({"rest_429": 60, "rest_5xx": 60}, "left after its time"),
    _obeys_retained: Hunt({}, "a retained command was carried out"),
    _forgets_what_was_under_way: Hunt({"mqtt_drop": 60, "mqtt_late": 20}, "0 answers to"),
    _believes_the_broker: Hunt(
        {"broker_killed": 20, "consumer_away": 10}, "never reached the consumer"
    ),
    _wears_the_memory_out: Hunt({}, "writes of flash memory", commands_per_hour=1000.0),
    _has_no_budget: Hunt({"rest_429": 60}, "before the time that was named"),
    _acknowledges_by_number_alone: Hunt(
        {"mqtt_drop": 240, "disk_slow": 120}, UNSAVED, "3.1.1", 1000.0
    ),
    _knows_a_command_by_its_words: Hunt(
        {"mqtt_half_open": 60, "mqtt_drop": 60}, "0 answers to", commands_per_hour=400.0
    ),
    _says_more_than_is_described: Hunt({}, "not as its schema says"),
    _keeps_on_calling_silent_chargers_online: Hunt({"charger_silent": 10}, "was last heard"),
    _asks_while_blocked: Hunt({"ban": 20}, "while the vendor blocks us"),
    _draws_a_key_each_time: Hunt({"killed": 20}, "has two keys"),
    _believes_in_a_deaf_broker: Hunt({"broker_deaf": 20}, "does not come back"),
    _believes_in_a_silent_hub: Hunt({"hub_silent": 20}, "does not come back"),
    _serves_the_last_first: Hunt({"rest_late": 60, "rest_429": 60}, "left out of order"),
    _never_takes_an_alert_back: Hunt({"disk_full": 6}, "an alert that is not true"),
    _never_asks_again: Hunt({"rest_lost_request": 240}, "bridge/cloud is b'degraded'"),
}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__.strip("_"))
def test_a_mistake_is_found(mutant, monkeypatch):
    """Each of these mistakes is found within a few seeds, and for what it is."""
    hunt = MUTANTS[mutant]
    mutant(monkeypatch)
    for seed in range(1, MAX_SEEDS + 1):
        options = replace(
            troubled(seed, **hunt.faults),
            commands_per_hour=hunt.commands_per_hour,
            sessions_per_hour=6.0,
            protocol=hunt.protocol,
        )
        try:
            Simulation(options).run()
        except Violation as violation:
            if hunt.found_as in str(violation):
                return

    pytest.fail("nobody noticed")

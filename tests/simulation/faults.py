"""What goes wrong: one row for each fault, and when it comes."""

import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from bridge.simulator.readings import Reading, Update
from bridge.simulator.sessions import Car
from tests.simulation.broker import KEEPALIVE_S
from tests.simulation.cloud import Socket

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

DAY_S = 86_400.0
FOREIGN = ("pause_charging", "resume_charging", "start_charging", "stop_charging")
GARBAGE = (
    "not json\x1e",
    '{"type":1,"target":"ProductUpdate","arguments":[{"mid":5}]}\x1e',
    '{"type":1,"target":"Unheard","arguments":[]}\x1e',
    '{"type":99}\x1e',
    "[]\x1e",
    '{"type":1,"target":"ProductUpdate","arguments":[]}\x1e',
)

# Says whether it could be done: only then it counts as fired.
Fault = Callable[["Simulation", random.Random], bool]


# -- the broker ------------------------------------------------------------------------------------


def _mqtt_drop(sim: "Simulation", _rng: random.Random) -> bool:
    had = sim.broker.wire is not None
    sim.broker.drop("reset by peer")
    return had


def _mqtt_half_open(sim: "Simulation", _rng: random.Random) -> bool:
    had = sim.broker.wire is not None
    sim.broker.half_open()
    return had


def _broker_deaf(sim: "Simulation", _rng: random.Random) -> bool:
    wire = sim.broker.wire
    if wire is not None:
        wire.deaf = True
    return wire is not None


def _mqtt_late(sim: "Simulation", rng: random.Random) -> bool:
    wire = sim.broker.wire
    if wire is None:
        return False
    wire.lag_s = rng.uniform(0.5, 15.0)

    def again() -> None:
        wire.lag_s = 0.0

    sim.timeline.later(rng.uniform(5, 60), again)
    return True


def _values_drop(sim: "Simulation", rng: random.Random) -> bool:
    """End the connection for values, with something still on its way."""
    connection = sim.broker.value_connection
    if connection is None or not connection.open:
        return False
    connection.lag_s = rng.uniform(0.1, 10.0)
    sim.touch(rng)
    sim.timeline.later(rng.uniform(0.0, 1.0), lambda: sim.broker.end_values("reset by peer"))
    return True


def _broker_stops(remembers: str) -> Fault:
    def fault(sim: "Simulation", rng: random.Random) -> bool:
        if not sim.broker.is_up:
            return False
        if remembers != "all":
            sim.people.broker_died()
        if remembers == "nothing":
            settled = {key for key, one in sim.disk.rows.reports.items() if one.settled}
            sim.oracle.excused |= settled
        sim.oracle.documents.clear()
        sim.broker.stop(remembers=remembers, back_in_s=rng.choice((0.5, 5.0, 120.0)))
        return True

    return fault


def _broker_refuses(sim: "Simulation", rng: random.Random) -> bool:
    if sim.broker.protocol != "5":
        return False  # it would drop them without a word
    charger_id = rng.choice(sim.chargers)
    sim.broker.refuses = f"charger/{charger_id}/{rng.choice(('observation', 'session', 'result'))}"
    sim.timeline.later(rng.uniform(5, 120), sim.broker_accepts)
    return True


def _consumer_away(sim: "Simulation", rng: random.Random) -> bool:
    broker = sim.broker
    # With MQTT 3.1.1 a broker does not say that nobody is there. And a consumer that ends its
    # session throws away what waits in it, which is its own affair.
    keeps = broker.protocol != "5" or bool(broker.memory.reports) or rng.random() < 0.5
    broker.set_consumer(there=False, subscribed=keeps)
    sim.timeline.later(
        rng.uniform(10, 1800), lambda: broker.set_consumer(there=True, subscribed=True)
    )
    return True


# -- the cloud -------------------------------------------------------------------------------------


def _next_request(name: str) -> Fault:
    def fault(sim: "Simulation", _rng: random.Random) -> bool:
        # It counts when the request comes, not when it is planned.
        sim.vendor.next_fault = name
        return False

    return fault


def _rest_unreachable(sim: "Simulation", rng: random.Random) -> bool:
    if rng.random() < 0.5:
        return _next_request("rest_unreachable")(sim, rng)
    sim.vendor.down_until_s = sim.timeline.now_s + rng.uniform(5, 300)
    for socket in tuple(sim.vendor.sockets):
        socket.end()
    return True


def _token_revoked(sim: "Simulation", _rng: random.Random) -> bool:
    sim.vendor.simulator.revoke_tokens(refresh_too=False)
    return True


def _login_revoked(sim: "Simulation", _rng: random.Random) -> bool:
    sim.vendor.simulator.revoke_tokens(refresh_too=True)
    return True


def _ban(sim: "Simulation", rng: random.Random) -> bool:
    sim.vendor.banned_until_s = sim.timeline.now_s + rng.uniform(60, 900)
    # Who is not told how long it lasts waits for a day: a short life would end with that.
    sim.vendor.says_how_long = sim.options.rarer == 1 or rng.random() < 0.5
    for socket in tuple(sim.vendor.sockets):
        socket.end()
    return True


# -- the hub ---------------------------------------------------------------------------------------


def _on_hub(act: Callable[["Simulation", random.Random], None]) -> Fault:
    def fault(sim: "Simulation", rng: random.Random) -> bool:
        if not sim.vendor.simulator.hub.connections:
            return False
        act(sim, rng)
        return True

    return fault


def _hub_drop(sim: "Simulation", _rng: random.Random) -> None:
    for socket in tuple(sim.vendor.sockets):
        socket.end()


def _hub_silent(sim: "Simulation", _rng: random.Random) -> None:
    for socket in sim.vendor.sockets:
        socket.silent = True


def _hub_close(sim: "Simulation", _rng: random.Random) -> None:
    for socket in tuple(sim.vendor.sockets):
        socket.say('{"type":7,"error":"Server shutting down"}\x1e')
        sim.timeline.later(1.0, socket.end)


def _hub_refuses(sim: "Simulation", rng: random.Random) -> bool:
    sim.vendor.upgrade_refused = rng.randrange(1, 4)
    _hub_drop(sim, rng)
    return True


def _hub_garbage(sim: "Simulation", rng: random.Random) -> None:
    for socket in sim.vendor.sockets:
        socket.say(rng.choice(GARBAGE))


def _hub_mangles(name: str) -> Fault:
    def act(sim: "Simulation", rng: random.Random) -> None:
        for socket in sim.vendor.sockets:
            socket.mangle = name
        sim.touch(rng)

    return _on_hub(act)


def _hub_late(sim: "Simulation", rng: random.Random) -> None:
    for socket in sim.vendor.sockets:
        socket.lag_s = rng.uniform(0.5, 20.0)

        def again(socket: Socket = socket) -> None:
            socket.lag_s = 0.0

        sim.timeline.later(rng.uniform(10, 60), again)


def _old_burst(sim: "Simulation", rng: random.Random) -> None:
    """Let the hub say again what chargers said long ago."""
    sim.vendor.live()
    charger = sim.vendor.world.chargers[rng.choice(sim.chargers)]
    old = [
        Update(charger.id, number, reading)
        for number, past in charger.history.items()
        for reading in list(past)[-5:]
        if number not in (129, 223)
    ]
    rng.shuffle(old)
    sim.vendor.simulator.hub.tell(old[:50])
    sim.vendor.flush()


# -- chargers and people ---------------------------------------------------------------------------


def _charger_offline(sim: "Simulation", rng: random.Random) -> bool:
    charger_id = rng.choice(sim.chargers)
    if not sim.vendor.world.chargers[charger_id].online:
        return False
    sim.vendor.live()
    sim.vendor.simulator.set_offline(charger_id)
    away_s = rng.uniform(30, 3000) if not sim.options.days_away else rng.uniform(0.2, 2) * DAY_S
    sessions = rng.choice((0, 1, 3, 6))
    sim.timeline.later(away_s, lambda: sim.bring_back(charger_id, sessions))
    return True


def _charger_silent(sim: "Simulation", rng: random.Random) -> bool:
    """Let a charger say nothing more, and its cloud not notice."""
    charger = sim.vendor.world.chargers[rng.choice(sim.chargers)]
    if not charger.online:
        return False
    sim.vendor.live()
    charger.online, charger.offline_since = False, charger.at
    charger.offline_since_s = float("inf")  # it is never called offline
    sim.timeline.later(rng.uniform(60, 3600), lambda: sim.bring_back(charger.id, 0))
    return True


def _charger_rejects(sim: "Simulation", rng: random.Random) -> bool:
    sim.vendor.simulator.reject_next(rng.choice(sim.chargers))
    return True


def _foreign_command(sim: "Simulation", rng: random.Random) -> bool:
    charger_id = rng.choice(sim.chargers)
    sim.vendor.simulator.live_to_now()
    sim.vendor.world.command(charger_id, rng.choice(FOREIGN), {})
    sim.timeline.later(0.5, sim.vendor.live)
    return True


def _undecodable(sim: "Simulation", rng: random.Random) -> bool:
    """Let a charger send a value nobody can read, and soon a good one."""
    charger = sim.vendor.world.chargers[rng.choice(sim.chargers)]
    if not charger.online or not sim.vendor.sockets:
        return False
    bad = Update(charger.id, 48, Reading("thirty-two", 3, sim.timeline.wall))
    sim.vendor.simulator.hub.tell([bad])
    sim.vendor.flush()
    sim.timeline.later(rng.uniform(1, 60), lambda: charger.put(48, charger.number(48)))
    return True


# -- the disk, the process and its machine ---------------------------------------------------------


def _disk_is(state: str, longest_s: float) -> Fault:
    def fault(sim: "Simulation", rng: random.Random) -> bool:
        if sim.disk.state != "ok":
            return False
        sim.disk.state = state
        sim.timeline.later(rng.uniform(1, longest_s), sim.mend_disk)
        return True

    return fault


def _disk_slow(sim: "Simulation", rng: random.Random) -> bool:
    sim.disk.slow_s = rng.choice((0.2, 1.0, 4.0, 8.0))

    def again() -> None:
        sim.disk.slow_s = 0.0

    sim.timeline.later(rng.uniform(5, 60), again)
    return True


def _disk_hangs(sim: "Simulation", rng: random.Random) -> bool:
    """Let a commit take so long that the program goes on without it."""
    hangs_until_s = sim.timeline.now_s + rng.uniform(6, 240)
    sim.disk.hangs_until_s = min(hangs_until_s, sim.trouble_ends_s)
    return True


def _killed(sim: "Simulation", rng: random.Random) -> bool:
    return sim.kill(back_in_s=rng.choice((0.2, 2.0, 30.0, 600.0)))


def _power_cut(sim: "Simulation", rng: random.Random) -> bool:
    """Take the power from the machine the gateway and the broker share."""
    if not sim.is_alive:
        return False
    _broker_stops("written")(sim, rng)
    return sim.kill(back_in_s=rng.uniform(5, 120))


def _clean_stop(sim: "Simulation", rng: random.Random) -> bool:
    return sim.stop(back_in_s=rng.choice((0.5, 10.0, 300.0)))


def _frozen(sim: "Simulation", rng: random.Random) -> bool:
    """Let the process stand still, as by SIGSTOP or a machine asleep, while the world goes on."""
    if not sim.is_alive or sim.timeline.is_nested:
        return False
    for_s = rng.choice((5.0, 60.0, 600.0))
    wire = sim.broker.wire

    def gives_up() -> None:
        if wire is not None and sim.broker.wire is wire:
            sim.broker.drop("no ping came")

    if for_s > 1.5 * KEEPALIVE_S:
        sim.timeline.later(1.5 * KEEPALIVE_S, gives_up)
    sim.freeze(for_s)
    return True


def _clock_jump(sim: "Simulation", rng: random.Random) -> bool:
    sim.clock.jumps += 1
    sim.clock.offset_s = rng.choice((-3600.0, -30.0, -3.0, 3.0, 30.0, 3600.0))
    sim.timeline.later(rng.uniform(5, 600), sim.set_clock)
    return True


def _clock_unset(sim: "Simulation", rng: random.Random) -> bool:
    """Start again as a machine does that has no clock of its own."""
    if not sim.kill(back_in_s=1.0):
        return False
    sim.clock.jumps += 1
    sim.clock.synchronized = False
    sim.clock.was_unset = True
    sim.clock.offset_s = rng.choice((-5e7, -600.0, 0.0, 5e7))
    sim.timeline.later(rng.uniform(20, 300), sim.set_clock)
    return True


TABLE: Mapping[str, Fault] = {
    "mqtt_drop": _mqtt_drop,
    "mqtt_half_open": _mqtt_half_open,
    "mqtt_late": _mqtt_late,
    "broker_deaf": _broker_deaf,
    "values_drop": _values_drop,
    "broker_restart": _broker_stops("all"),
    "broker_killed": _broker_stops("written"),
    "broker_forgets": _broker_stops("nothing"),
    "broker_refuses": _broker_refuses,
    "consumer_away": _consumer_away,
    "rest_429": _next_request("rest_429"),
    "rest_5xx": _next_request("rest_5xx"),
    "rest_unreachable": _rest_unreachable,
    "rest_lost_request": _next_request("rest_lost_request"),
    "rest_lost_answer": _next_request("rest_lost_answer"),
    "rest_late": _next_request("rest_late"),
    "rest_broken_body": _next_request("rest_broken_body"),
    "token_revoked": _token_revoked,
    "login_revoked": _login_revoked,
    "ban": _ban,
    "hub_drop": _on_hub(_hub_drop),
    "hub_silent": _on_hub(_hub_silent),
    "hub_close": _on_hub(_hub_close),
    "hub_refuses": _hub_refuses,
    "hub_garbage": _on_hub(_hub_garbage),
    "hub_repeats": _hub_mangles("hub_repeats"),
    "hub_reorders": _hub_mangles("hub_reorders"),
    "hub_late": _on_hub(_hub_late),
    "old_burst": _on_hub(_old_burst),
    "charger_offline": _charger_offline,
    "charger_silent": _charger_silent,
    "charger_rejects": _charger_rejects,
    "foreign_command": _foreign_command,
    "undecodable": _undecodable,
    "disk_fails": _disk_is("fails", 120.0),
    "disk_full": _disk_is("full", 300.0),
    "disk_slow": _disk_slow,
    "disk_hangs": _disk_hangs,
    "killed": _killed,
    "power_cut": _power_cut,
    "clean_stop": _clean_stop,
    "frozen": _frozen,
    "clock_jump": _clock_jump,
    "clock_unset": _clock_unset,
}


def car(rng: random.Random) -> Car:
    """Draw a car."""
    return Car(
        wants_kwh=round(rng.uniform(2, 20), 1),
        max_current_a=rng.choice((10.0, 16.0, 32.0)),
        phases=rng.choice((1, 3)),
    )

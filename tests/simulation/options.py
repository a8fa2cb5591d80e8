"""What one run of the simulation is like: everything drawn from its seed, before anything happens.

Each run has some of the faults, not all of them: what hides behind a fault that always fires is
only found by runs without it.
"""

import random
from dataclasses import dataclass, field

# How often each fault comes in an hour, where it comes at all; drawn between the two.
FAULTS = {
    # the broker and the way to it
    "mqtt_drop": (1.0, 12.0),
    "mqtt_half_open": (0.5, 3.0),
    "mqtt_late": (1.0, 6.0),
    "broker_deaf": (0.5, 3.0),
    "values_drop": (1.0, 12.0),
    "broker_restart": (0.5, 3.0),
    "broker_killed": (0.2, 2.0),
    "broker_forgets": (0.2, 2.0),
    "broker_refuses": (0.5, 4.0),
    "consumer_away": (0.5, 3.0),
    # the REST interface
    "rest_429": (1.0, 8.0),
    "rest_5xx": (1.0, 8.0),
    "rest_unreachable": (0.5, 4.0),
    "rest_lost_request": (1.0, 8.0),
    "rest_lost_answer": (1.0, 8.0),
    "rest_late": (1.0, 8.0),
    "rest_broken_body": (0.5, 4.0),
    "token_revoked": (0.5, 4.0),
    "login_revoked": (0.5, 3.0),
    "ban": (0.2, 1.5),
    # the hub
    "hub_drop": (1.0, 8.0),
    "hub_silent": (0.5, 3.0),
    "hub_close": (0.5, 4.0),
    "hub_refuses": (0.5, 4.0),
    "hub_garbage": (1.0, 8.0),
    "hub_repeats": (2.0, 12.0),
    "hub_reorders": (2.0, 12.0),
    "hub_late": (1.0, 8.0),
    "old_burst": (1.0, 8.0),
    # chargers and people
    "charger_offline": (0.3, 2.0),
    "charger_silent": (0.3, 2.0),
    "charger_rejects": (1.0, 8.0),
    "foreign_command": (2.0, 12.0),
    "undecodable": (0.5, 4.0),
    # the disk
    "disk_fails": (0.5, 4.0),
    "disk_full": (0.5, 3.0),
    "disk_slow": (0.5, 4.0),
    "disk_hangs": (0.5, 3.0),
    # the process and its machine
    "killed": (0.3, 3.0),
    "power_cut": (0.5, 3.0),
    "clean_stop": (0.2, 2.0),
    "frozen": (0.3, 3.0),
    "clock_jump": (0.5, 4.0),
    "clock_unset": (0.5, 3.0),
}

# What comes every few seconds while nothing happens, and the fault that is found by it. A life has
# it for that, or now and then; hours in which nothing else happens cost a fraction without.
CHATTER = {"heartbeat": "broker_deaf", "beats": "frozen", "pings": "hub_silent"}
CHATTER_FOR_NOTHING = 0.2
# A fault that nobody could find without its chatter; a silent hub is found, a little later.
NEEDS_CHATTER = frozenset({"broker_deaf", "frozen"})
# Shares of the longest life.
LENGTHS = (0.05, 0.1, 0.1, 1 / 6, 1 / 6, 1 / 3, 1.0)


@dataclass(frozen=True, slots=True)
class Options:
    """One run.

    Attributes:
        seed: Of everything that follows.
        hours: Length of the phase with faults.
        chargers: How many.
        thin: Chargers that say only what matters here; the others say everything.
        protocol: MQTT version.
        poll: No stream: values are read over REST.
        commands_per_hour: Over all callers and chargers.
        sessions_per_hour: Cars that come and go, for each charger.
        acknowledges: The consumer acknowledges the reports it got.
        listed: Chargers come from the account's list and not from the configuration.
        days_away: A charger that goes offline may stay so for days.
        faults: How often each comes in an hour.
        frames_cut: The share of hub messages that are cut in two.
        rarer: How many times fewer of everything come in an hour than in a short life.
        chatter: What there is of :data:`CHATTER`.
    """

    seed: int
    hours: float
    chargers: int
    thin: bool
    protocol: str
    poll: bool
    commands_per_hour: float
    sessions_per_hour: float
    acknowledges: bool
    listed: bool
    days_away: bool
    frames_cut: float
    faults: dict[str, float] = field(default_factory=dict)
    rarer: float = 1.0
    chatter: frozenset[str] = frozenset(CHATTER)

    @property
    def poll_interval_s(self) -> int:
        """How often values are read where there is no stream."""
        return 60 if self.rarer == 1 else 120


def draw(
    seed: int, *, longest_hours: float = 6.0, exactly: bool = False, rarer: float = 1.0
) -> Options:
    """Draw the options of a run.

    Args:
        seed: Any number.
        longest_hours: Of simulated time with faults.
        exactly: It lasts so long; else a share of :data:`LENGTHS` of it.
        rarer: Let everything come so many times more rarely, for long lives. Above 1 nothing of
            :data:`CHATTER` is there.
    """
    rng = random.Random(f"options:{seed}")
    share = rng.choice((0.15, 0.3, 0.6))
    faults = {
        name: rng.uniform(least, most) / rarer
        for name, (least, most) in FAULTS.items()
        if rng.random() < share
    }
    length = 1.0 if exactly else rng.choice(LENGTHS)
    for_nothing = {name for name in CHATTER if rng.random() < CHATTER_FOR_NOTHING}
    chatter = frozenset(for_nothing | {name for name, fault in CHATTER.items() if fault in faults})
    if rarer > 1:
        chatter = frozenset()
        faults = {name: rate for name, rate in faults.items() if name not in NEEDS_CHATTER}
    return Options(
        seed=seed,
        hours=length * longest_hours,
        chargers=rng.choice((1, 1, 2, 3)),
        thin=rng.random() < 0.9,
        protocol=rng.choice(("5", "5", "3.1.1")),
        poll=rng.random() < 0.1,
        commands_per_hour=rng.choice((6.0, 30.0, 90.0)) / rarer,
        sessions_per_hour=rng.choice((0.5, 2.0, 6.0)) / rarer,
        acknowledges=rng.random() < 0.5,
        listed=rng.random() < 0.3,
        days_away=rng.random() < 0.1,
        frames_cut=rng.choice((0.0, 0.1, 0.5)),
        faults=faults,
        rarer=rarer,
        chatter=chatter,
    )

"""What we want of every figure, what it was, and where it is read."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Figures = dict[str, Any]
Read = Callable[[Figures], float]


@dataclass(frozen=True, slots=True)
class Goal:
    """One line of what we want to reach.

    Attributes:
        figure: What is measured.
        was: The figure when the goal was set.
        goal: The bound.
        source: The benchmark it comes from.
        read: Finds the figure in what that left.
        beside: Finds that of the revision before, where it ran in the same turns.
        at_least: The bound is a lower one.
        unit: Behind the numbers.
    """

    figure: str
    was: float
    goal: float
    source: str
    read: Read
    beside: Read | None = None
    at_least: bool = False
    unit: str = ""

    def row(self, results: dict[str, Figures]) -> list[str]:
        """Say whether it is met; nothing when it could not be measured."""
        value = self._read(self.read, results)
        before = None if self.beside is None else self._read(self.beside, results)
        bound = f"{'≥' if self.at_least else '≤'} {self.goal:g}{self.unit}"
        met = value is not None and (value >= self.goal if self.at_least else value <= self.goal)
        return [
            self.figure,
            f"{self.was:g}{self.unit}",
            "" if before is None else f"{before:.2f}{self.unit}",
            "not measured" if value is None else f"{value:.2f}{self.unit}",
            bound,
            "" if value is None else "yes" if met else "no",
        ]

    def _read(self, read: Read, results: dict[str, Figures]) -> float | None:
        try:
            return read(results[self.source])
        except KeyError:
            return None


FLOOR, OURS, BOTH = "Python floor", "gateway", "gateway, JSON and scalar"
BEFORE = "gateway, the revision before"
SCRIPT, FLOW = "bare script", "Node-RED flow, TCP_NODELAY"


def _lowest(name: str, each: str) -> Read:
    """Return observations to the floor's, in the worst of the turns."""
    return lambda figures: figures["frames"][each][name]["observations_to_floor"]["low"]


def _cpu(name: str, each: str) -> Read:
    """Return processor time of an observation to the floor's."""

    def read(figures: Figures) -> float:
        rows = figures["frames"][each]
        return rows[name]["cpu_us"]["median"] / rows[FLOOR]["cpu_us"]["median"]

    return read


def _observations(name: str, each: str) -> Read:
    return lambda figures: figures["frames"][each][name]["observations_to_floor"]["median"]


def _latency(name: str, key: str) -> Read:
    return lambda figures: figures["contenders"][name][key]


def _command(peer: str, key: str, run: str = "contenders") -> Read:
    return lambda figures: figures[run][peer][key]


def _step(figures: Figures) -> float:
    return max(row["longest_step_ms"] for row in figures["scenes"].values())


def _resident(key: str) -> Read:
    return lambda figures: figures["resident_mib"][key]


GOALS = (
    *(
        Goal(
            f"command to the {name}, {kind}",
            was,
            bound,
            "commands",
            _command(peer, key),
            _command(peer, key, "before"),
        )
        for name, peer, kind, key, was, bound in (
            ("bare script", SCRIPT, "median", "gateway_to_median", 2.2, 1.5),
            ("bare script", SCRIPT, "p99", "gateway_to_p99", 2.1, 2),
            ("Node-RED flow with TCP_NODELAY", FLOW, "median", "gateway_to_median", 1.4, 0.95),
        )
    ),
    *(
        Goal(
            f"observations to the Python floor, {each} a frame, lowest run",
            was,
            1,
            "throughput",
            _lowest(OURS, each),
            _lowest(BEFORE, each),
            at_least=True,
        )
        for each, was in (("50", 1.03), ("1", 1.01))
    ),
    *(
        Goal(
            f"processor time of an observation to the floor's, {each} a frame",
            was,
            bound,
            "throughput",
            _cpu(OURS, each),
            _cpu(BEFORE, each),
        )
        for each, was, bound in (("50", 1.0, 0.9), ("1", 1.3, 1.1))
    ),
    *(
        Goal(
            f"JSON and scalar, observations to the floor, {each} a frame",
            0.71,
            0.8,
            "throughput",
            _observations(BOTH, each),
            at_least=True,
        )
        for each in ("50", "1")
    ),
    Goal(
        "Python calls in the core, one power observation",
        99,
        30,
        "counts",
        lambda figures: figures["observation_calls"],
    ),
    Goal(
        "Python calls in the core, one successful command",
        332,
        120,
        "counts",
        lambda figures: figures["command_calls"],
    ),
    Goal(
        "session reports drained, to a bare durable publisher",
        0.36,
        0.8,
        "drain",
        lambda figures: figures["to_bare"]["median"],
        at_least=True,
    ),
    Goal("step of the loop in processor time, saturated", 8.3, 3, "saturated", _step, unit=" ms"),
    Goal(
        "resident, 2 chargers, everything on",
        43,
        38,
        "memory",
        _resident("gateway, everything on, 2 chargers"),
        _resident("gateway, everything on, the revision before, 2 chargers"),
        unit=" MiB",
    ),
    Goal(
        "resident, 50 chargers, everything on",
        52,
        44,
        "memory",
        _resident("gateway, everything on"),
        _resident("gateway, everything on, the revision before, 50 chargers"),
        unit=" MiB",
    ),
    Goal(
        "processor time of the core with the recorder, 50 a frame, to without",
        1.034,
        1.02,
        "recording",
        lambda figures: figures["in_process"]["50"]["total"],
    ),
    Goal(
        "resident with the recorder at 500 observations/s, above without",
        7,
        4,
        "recording",
        lambda figures: figures["memory_mib"]["median"],
        unit=" MiB",
    ),
    Goal(
        "process start to online, to the bare import",
        1.4,
        1.25,
        "start",
        lambda figures: figures["starts"]["2"]["to_import"]["median"],
        lambda figures: figures["starts"]["2"]["before_to_import"]["median"],
    ),
    *(
        Goal(
            f"one observation, idle, above the C floor, {kind}",
            was,
            bound,
            "latency",
            _latency(OURS, key),
            _latency(BEFORE, key),
            unit=" ms",
        )
        for kind, key, was, bound in (
            ("median", "median_above_floor_ms", 0.33, 0.3),
            ("p99", "p99_above_floor_ms", 1.8, 1),
        )
    ),
    Goal(
        "processor time of an hour, 2 idle chargers",
        1.8,
        1,
        "idle",
        lambda figures: figures["cpu_s_an_hour"],
        unit=" s",
    ),
    Goal(
        "wake-ups a second, 2 idle chargers",
        1.9,
        1,
        "idle",
        lambda figures: figures["wake_ups_s"],
    ),
    Goal(
        "cost of an observation, 100,000 chargers to 10",
        1.11,
        1.1,
        "fleet",
        lambda figures: figures["fleets"]["100000"]["to_smallest"]["median"],
    ),
    Goal(
        "written a day, 10 chargers of 4 sessions",
        2.57,
        1.5,
        "counts",
        lambda figures: figures["written_mb_a_day"],
        unit=" MB",
    ),
    Goal(
        "log of an hour in the worst outage",
        142,
        30,
        "counts",
        lambda figures: figures["log_kb_an_hour"],
        unit=" KB",
    ),
)

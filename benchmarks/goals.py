"""What we want of every figure, and where it is read."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Goal:
    """One line of what we want to reach.

    Attributes:
        figure: What is measured.
        goal: The bound.
        source: The benchmark it comes from.
        read: Finds the figure in what that left.
        at_least: The bound is a lower one.
        unit: Behind the numbers.
    """

    figure: str
    goal: float
    source: str
    read: Callable[[Figures], float]
    at_least: bool = False
    unit: str = ""

    def row(self, results: dict[str, Figures]) -> list[str]:
        """Say whether it is met; nothing when it could not be measured."""
        try:
            value = self.read(results[self.source])
        except KeyError:
            return [self.figure, self._bound(), "not measured", ""]
        met = value >= self.goal if self.at_least else value <= self.goal
        return [self.figure, self._bound(), f"{value:.2f}{self.unit}", "yes" if met else "no"]

    def _bound(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.goal:g}{self.unit}"


def _messages(name: str, other: str, each: str) -> Callable[[Figures], float]:
    """Compare messages acknowledged, median to median."""

    def read(figures: Figures) -> float:
        rows = figures["frames"][each]
        return rows[name]["messages_s"]["median"] / rows[other]["messages_s"]["median"]

    return read


def _observations(name: str, other: str, each: str) -> Callable[[Figures], float]:
    """Compare observations whose messages were all sent: two messages are one of them."""

    def read(figures: Figures) -> float:
        rows = figures["frames"][each]
        return rows[name]["messages_s"]["median"] / 2 / rows[other]["messages_s"]["median"]

    return read


def _of(name: str, key: str) -> Callable[[Figures], float]:
    return lambda figures: figures["contenders"][name][key]


FLOOR, OURS, BOTH = "Python floor", "gateway", "gateway, JSON and scalar"
FLOW, SCRIPT = "Node-RED flow", "mqtt.js and ws script"
GOALS = (
    *(
        goal
        for each in ("50", "1")
        for goal in (
            Goal(
                f"messages to the Python floor, {each} a frame",
                0.8,
                "throughput",
                _messages(OURS, FLOOR, each),
                at_least=True,
            ),
            Goal(
                f"messages to the Node-RED flow, {each} a frame",
                2,
                "throughput",
                _messages(OURS, FLOW, each),
                at_least=True,
            ),
            Goal(
                f"messages to the mqtt.js script, {each} a frame",
                1,
                "throughput",
                _messages(OURS, SCRIPT, each),
                at_least=True,
            ),
            Goal(
                f"JSON and scalar, observations to the Python floor, {each} a frame",
                0.45,
                "throughput",
                _observations(BOTH, FLOOR, each),
                at_least=True,
            ),
        )
    ),
    Goal(
        "latency above the C floor, median",
        1,
        "latency",
        _of(OURS, "median_above_floor_ms"),
        unit=" ms",
    ),
    Goal(
        "latency above the C floor, p99", 5, "latency", _of(OURS, "p99_above_floor_ms"), unit=" ms"
    ),
    Goal(
        "command to the bare script, median",
        1.5,
        "commands",
        _of("bare script", "gateway_to_median"),
    ),
    Goal("command to the bare script, p99", 3, "commands", _of("bare script", "gateway_to_p99")),
    Goal(
        "command to the Node-RED flow with TCP_NODELAY, median",
        1,
        "commands",
        _of("Node-RED flow, TCP_NODELAY", "gateway_to_median"),
    ),
    Goal(
        "command to the Node-RED flow as shipped, median",
        0.125,
        "commands",
        _of("Node-RED flow", "gateway_to_median"),
    ),
    Goal(
        "longest step of the loop while values saturate it",
        5,
        "saturated",
        lambda figures: max(row["longest_step_ms"] for row in figures["scenes"].values()),
        unit=" ms",
    ),
    Goal(
        "cost of an observation with 10,000 chargers, to that with 10",
        1.15,
        "fleet",
        lambda figures: figures["fleets"]["10000"]["to_smallest"]["median"],
    ),
    Goal(
        "memory of a charger among 10,000",
        60,
        "fleet",
        lambda figures: figures["fleets"]["10000"]["kib_per_charger"]["median"],
        unit=" KiB",
    ),
    Goal(
        "resident with 50 chargers, everything on",
        50,
        "memory",
        lambda figures: figures["resident_mib"]["gateway, everything on"],
        unit=" MiB",
    ),
    Goal("growth over the load", 1, "memory", lambda figures: figures["growth_mib"], unit=" MiB"),
    Goal(
        "start of 2 chargers to the bare import",
        2.5,
        "start",
        lambda figures: figures["starts"]["2"]["to_import"]["median"],
    ),
    Goal(
        "replay to the Python floor, from the gateway's return",
        2,
        "replay",
        lambda figures: figures["contenders"]["gateway, from its return"]["to_floor"]["median"],
    ),
)

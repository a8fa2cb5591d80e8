"""Who does the job: hub frame in, one retained QoS 1 message per observation out.

A contender is a row: how its process is started, and what its topics are called. All of them are
programs of their own, all talk to the same hub and the same broker, one after the other.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from benchmarks.records import Fleet, value_of
from benchmarks.stage import FOLDER, Generator, Process, compiled
from tests.acceptance.conftest import configuration
from tests.mosquitto import Mosquitto


@dataclass(frozen=True, slots=True)
class Place:
    """Where a contender works.

    Attributes:
        hub: The load generator.
        broker: The mosquitto.
        folder: For its files.
        window: How many messages the broker lets it leave unacknowledged.
    """

    hub: Generator
    broker: Mosquitto
    folder: Path
    window: int

    @property
    def ports(self) -> list[str]:
        """Hub, broker and number of chargers, as arguments."""
        return [str(self.hub.port), str(self.broker.port), str(self.hub.fleet.chargers)]


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to do it.

    Attributes:
        name: For tables.
        start: Makes its process; None where this machine lacks something it needs.
        by_name: Its topics end in the observation's name; otherwise in the number.
        share: How much of the load it gets, so that nobody waits for the slow ones.
        npm: It needs what ``npm ci`` installs in ``benchmarks/peers``.
    """

    name: str
    start: Callable[[Place], Process | None]
    by_name: bool = False
    share: float = 1.0
    npm: bool = False

    def wanted(self, fleet: Fleet, turn: int) -> dict[str, bytes]:
        """Say what every topic must hold after a round."""
        return {
            f"charger/{serial}/state/{spec.name if self.by_name else spec.id}": value_of(
                spec, turn
            ).encode()
            for spec in fleet.specs()
            for serial in fleet.serials
        }


def _gateway(*, json: bool) -> Callable[[Place], Process]:
    def start(place: Place) -> Process:
        config = configuration(
            place.hub.url, f"{place.hub.url}/hubs/chargers", place.broker.port, place.folder
        )
        config["publish"] = {"json": json, "scalar": True}
        config["log"]["level"] = "info"
        path = place.folder / "bridge.yaml"
        path.write_text(yaml.safe_dump(config))
        command = [sys.executable, "-m", "bridge", "run", "--config", str(path)]
        return Process(command, {"CHARGER_BRIDGE_EASEE__PASSWORD": "p"})

    return start


def _python_floor(*options: str) -> Callable[[Place], Process]:
    def start(place: Place) -> Process:
        return Process([sys.executable, "-m", "benchmarks.floor", *place.ports, *options])

    return start


def _c_floor(place: Place) -> Process | None:
    program = compiled("floor.c", place.folder)
    if program is None:
        return None
    return Process([program, "forward", *place.ports, str(place.window)])


def _node(script: str) -> Callable[[Place], Process]:
    def start(place: Place) -> Process:
        return Process(["node", str(FOLDER / "peers" / script), *place.ports])

    return start


GATEWAY = Contender("gateway", _gateway(json=False), by_name=True)
GATEWAY_JSON = Contender("gateway, JSON and scalar", _gateway(json=True), by_name=True, share=0.5)
PYTHON_FLOOR = Contender("Python floor", _python_floor(), by_name=True)
PYTHON_FLOOR_PROPERTIES = Contender(
    "Python floor, the gateway's packets", _python_floor("--properties"), by_name=True
)
C_FLOOR = Contender("C floor", _c_floor)

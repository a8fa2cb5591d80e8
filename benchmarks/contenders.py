"""Who does the job: hub frame in, one retained QoS 1 message per observation out.

A contender is a row: how its process is started, and what its topics are called. All of them are
programs of their own, all talk to the same hub and the same broker, one after the other.
"""

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from benchmarks import stage
from benchmarks.records import Fleet, value_of
from benchmarks.stage import FOLDER, Generator, Process, compiled
from tests.acceptance.conftest import configuration
from tests.mosquitto import Mosquitto
from tests.ports import unused_port

PEERS = FOLDER / "peers"


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
    """

    name: str
    start: Callable[[Place], Process | None]
    by_name: bool = False
    share: float = 1.0

    def wanted(self, fleet: Fleet, turn: int) -> dict[str, bytes]:
        """Say what every topic must hold after a round."""
        return {
            f"charger/{serial}/state/{spec.name if self.by_name else spec.id}": value_of(
                spec, turn
            ).encode()
            for spec in fleet.specs()
            for serial in fleet.serials
        }


def _gateway(
    *,
    json: bool,
    everything: bool = False,
    program: str = "bridge",
    recorder: bool = True,
    is_before: bool = False,
) -> Callable[[Place], Process | None]:
    def start(place: Place) -> Process | None:
        tree = stage.before() if is_before else {}
        if tree is None:
            return None
        config = configuration(
            place.hub.url, f"{place.hub.url}/hubs/chargers", place.broker.port, place.folder
        )
        config["publish"] = {"json": json, "scalar": True}
        config["log"]["level"] = "info"
        if not recorder:
            config["recorder"] = {"max_mib": 0}
        if everything:
            config["http"] = {"enabled": True, "port": unused_port()}
            config["homeassistant"] = {"enabled": True}
        if is_before:
            config = stage.readable_before(config)
        path = place.folder / "bridge.yaml"
        path.write_text(yaml.safe_dump(config))
        command = [sys.executable, "-m", program, "run", "--config", str(path)]
        return Process(command, {"CHARGER_BRIDGE_EASEE__PASSWORD": "p", **tree})

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


def peers_installed() -> bool:
    """Say whether Node.js and what ``make peers`` installs are there."""
    return shutil.which("node") is not None and (PEERS / "node_modules/node-red").exists()


def node_red(flow: str, folder: Path, environ: dict[str, str]) -> Process | None:
    """Run a flow of ``benchmarks/peers``, with what it reads from the environment."""
    if not peers_installed():
        return None
    settings = ["--settings", str(PEERS / "settings.js"), "--userDir", str(folder)]
    program = str(PEERS / "node_modules/node-red/red.js")
    shutil.copy(PEERS / flow, folder / flow)
    command = ["node", program, *settings, str(folder / flow)]
    return Process(command, {"UI_PORT": str(unused_port()), **environ})


def _node_red(place: Place) -> Process | None:
    environ = {
        "HUB_URL": f"ws://127.0.0.1:{place.hub.port}/hubs/chargers?id=c",
        "MQTT_PORT": str(place.broker.port),
        "CHARGERS": str(place.hub.fleet.chargers),
    }
    return node_red("forward.flow.json", place.folder, environ)


def _mqtt_js(place: Place) -> Process | None:
    if not peers_installed():
        return None
    return Process(["node", str(PEERS / "forward.mjs"), *place.ports])


def _pyeasee(place: Place) -> Process:
    return Process([sys.executable, str(PEERS / "pyeasee_aiomqtt.py"), *place.ports])


GATEWAY = Contender("gateway", _gateway(json=False), by_name=True)
GATEWAY_BEFORE = Contender(
    "gateway, the revision before", _gateway(json=False, is_before=True), by_name=True
)
GATEWAY_JSON = Contender("gateway, JSON and scalar", _gateway(json=True), by_name=True, share=0.5)
GATEWAY_EVERYTHING = Contender(
    "gateway, everything on", _gateway(json=True, everything=True), by_name=True
)
GATEWAY_EVERYTHING_BEFORE = Contender(
    "gateway, everything on, the revision before",
    _gateway(json=True, everything=True, is_before=True),
    by_name=True,
)
GATEWAY_WATCHED = Contender(
    "gateway, its steps measured",
    _gateway(json=False, program="benchmarks.watched"),
    by_name=True,
)
GATEWAY_UNRECORDED = Contender(
    "gateway, no recorder", _gateway(json=False, recorder=False), by_name=True
)
PYTHON_FLOOR = Contender("Python floor", _python_floor(), by_name=True)
PYTHON_FLOOR_PROPERTIES = Contender(
    "Python floor, the gateway's packets", _python_floor("--properties"), by_name=True
)
C_FLOOR = Contender("C floor", _c_floor)
MQTT_JS = Contender("mqtt.js and ws script", _mqtt_js, share=0.5)
NODE_RED = Contender("Node-RED flow", _node_red, share=0.25)
PYEASEE = Contender("pyeasee and aiomqtt", _pyeasee, share=0.1)

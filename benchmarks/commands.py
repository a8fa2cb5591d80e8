"""What the journal costs a command: ``python -m benchmarks.commands``.

One command at a time, published to answered, in turn, against the same mosquitto and the same
simulated cloud: through the gateway (journal on disk, full sync, ``accepted`` received), through a
bare paho and httpx script without a journal, and through a Node-RED flow and an mqtt.js script,
both as shipped and with TCP_NODELAY; the broker has it on. Prints median and 99th percentile in
milliseconds and the ratios. About two minutes.
"""

import asyncio
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import yaml

from benchmarks import bare_script, stage
from benchmarks.contenders import PEERS, node_red, peers_installed
from benchmarks.stage import Process
from bridge.simulator.scenario import Scenario
from bridge.simulator.server import serve
from tests.acceptance.conftest import Gateway, Witness, configuration
from tests.mosquitto import Mosquitto

PORT = 28875
# The gateway keeps to a budget per charger; enough of them and it has nothing to say.
CHARGERS = 40
COMMAND = "dynamic_charger_current"
ROUNDS = 5
NAMES = {
    "charger": "gateway",
    "bare": "bare script",
    "flow": "Node-RED flow",
    "flow-nodelay": "Node-RED flow, TCP_NODELAY",
    "script": "mqtt.js script",
    "script-nodelay": "mqtt.js script, TCP_NODELAY",
}
WATCHED = ("charger/bridge/+", "+/+/result/+", "+/ready")


def peers(api_url: str, folder: Path) -> Iterator[tuple[str, Process]]:
    """Make what others would use, by the first level of their topics."""
    yield "bare", Process([sys.executable, bare_script.__file__, str(PORT), api_url])
    if not peers_installed():
        return
    account = {"userName": "x", "password": "y"}
    answer = httpx.post(f"{api_url}/api/accounts/login", json=account, trust_env=False)
    token = answer.json()["accessToken"]
    for name, nodelay in (("flow", {}), ("flow-nodelay", {"NODELAY": "1"})):
        environ = {"COMMANDS": f"{name}/+/set/+", "READY": f"{name}/ready", **nodelay}
        environ |= {"MQTT_PORT": str(PORT), "API_URL": api_url, "TOKEN": token}
        (folder / name).mkdir()
        process = node_red("answer.flow.json", folder / name, environ)
        if process is not None:
            yield name, process
    for name, nodelay in (("script", []), ("script-nodelay", ["nodelay"])):
        arguments = [str(PORT), api_url, token, name, *nodelay]
        yield name, Process(["node", str(PEERS / "answer.mjs"), *arguments])


async def ask(witness: Witness, base: str, charger_id: str, amps: int) -> float:
    """Send one command; return the seconds until its first answer."""
    topic = f"{base}/{charger_id}/result/{COMMAND}"
    before = len(witness.messages)
    began = time.perf_counter()
    witness.publish(f"{base}/{charger_id}/set/{COMMAND}", str(amps))
    await witness.until(
        lambda: any(name == topic for name, _, _ in witness.messages[before:]), topic
    )
    return time.perf_counter() - began


async def settled(witness: Witness, count: int) -> None:
    """Wait until the gateway gave so many final answers: one command at a time."""

    def finals() -> bool:
        answers = (p for name, p, _ in witness.messages if name.startswith("charger/EH"))
        return sum(b'"final":true' in p for p in answers) >= count

    await witness.until(finals, "final answers", 60.0)


async def measure(
    folder: Path, commands: int, before: dict[str, str] | None = None
) -> dict[str, list[float]]:
    """Run all of them in turn and return the seconds of every command.

    Args:
        folder: For their files.
        commands: In each round.
        before: The environment of a gateway of an earlier revision.
    """
    took: dict[str, list[float]] = {"charger": []}
    scenario = Scenario(chargers=CHARGERS, traffic=False, rate_limits=False, command_latency_s=0.0)
    async with contextlib.AsyncExitStack() as stack:
        cloud = await stack.enter_async_context(serve(scenario))
        config = configuration(cloud.api_url, cloud.stream_url, PORT, folder)
        config["log"]["level"] = "info"
        if before is not None:
            config = stage.readable_before(config)
        path = folder / "bridge.yaml"
        path.write_text(yaml.safe_dump(config))
        witness = Witness(PORT, judges=False)  # it watches the peers too
        await witness.start(WATCHED)
        stack.push_async_callback(witness.stop)
        environ = {"PATH": os.environ["PATH"], "CHARGER_BRIDGE_EASEE__PASSWORD": "p"}
        environ |= before or {}
        gateway = Gateway(path, environ)
        await gateway.start()
        stack.push_async_callback(gateway.end)
        for name, process in await asyncio.to_thread(list, peers(cloud.api_url, folder)):
            stack.enter_context(process)
            took[name] = []
        await witness.value("charger/bridge/cloud", "connected")
        for name in list(took)[1:]:
            await witness.value(f"{name}/ready", "1")
        await asyncio.to_thread(stage.published, PORT)  # the replay of the hub has passed
        done = 0
        for turn in range(ROUNDS):
            for base, seconds in took.items():
                for number in range(commands):
                    serial = scenario.serials[(turn * commands + number) % CHARGERS]
                    seconds.append(await ask(witness, base, serial, 6 + (done + turn) % 26))
                    if base == "charger":
                        done += 1
                        await settled(witness, done)
    return took


def figures(took: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Return median and 99th percentile in milliseconds, and the gateway's ratio to them."""
    condensed = {
        NAMES[base]: {
            "median_ms": 1e3 * statistics.median(seconds),
            "p99_ms": 1e3 * stage.percentile(seconds, 0.99),
            "commands": len(seconds),
        }
        for base, seconds in took.items()
    }
    ours = condensed[NAMES["charger"]]
    for row in condensed.values():
        row["gateway_to_median"] = ours["median_ms"] / row["median_ms"]
        row["gateway_to_p99"] = ours["p99_ms"] / row["p99_ms"]
    return condensed


def run(commands: int, before: dict[str, str] | None = None) -> dict[str, list[float]]:
    """Measure beside a broker of its own; see :func:`measure`."""
    with tempfile.TemporaryDirectory() as name:
        broker = Mosquitto(Path(name), PORT, listener=("sys_interval 1",))
        broker.start()
        try:
            return asyncio.run(measure(Path(name), commands, before))
        finally:
            broker.stop()


def main() -> None:
    """Run everything and print a table."""
    parser = stage.arguments(__doc__, "commands")
    parser.add_argument("--commands", type=int, default=40, help="in each of 5 rounds")
    arguments = parser.parse_args()
    condensed = figures(run(arguments.commands))
    results = {"contenders": condensed}
    if (before := stage.before()) is not None:
        results["before"] = figures(run(arguments.commands, before))
    heads = ("ms", "median", "p99", "gateway to it", "p99")
    keys = ("median_ms", "p99_ms", "gateway_to_median", "gateway_to_p99")
    rows = [(name, *(f"{row[key]:.2f}" for key in keys)) for name, row in condensed.items()]
    print(stage.table(heads, rows))
    stage.write(arguments.json, results)


if __name__ == "__main__":
    main()

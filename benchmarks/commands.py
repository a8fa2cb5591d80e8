"""What the journal costs a command: ``python -m benchmarks.commands``.

One command at a time, published to answered, through the gateway (journal on disk, full sync,
``accepted`` received) and through a bare paho and httpx script without a journal, in turn, against
the same mosquitto and the same simulated cloud. Prints median and 99th percentile in milliseconds
and the ratios, and writes them as JSON with ``--json FILE``.
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import yaml

from benchmarks import bare_script
from bridge.simulator.scenario import Scenario
from bridge.simulator.server import serve
from tests.acceptance.conftest import Gateway, Witness, configuration
from tests.mosquitto import Mosquitto

PORT = 28875
# The gateway keeps to a budget per charger; enough of them and it has nothing to say.
CHARGERS = 40
COMMAND = "dynamic_charger_current"
ROUNDS = 5
WATCHED = ("charger/bridge/+", "charger/+/result/+", "bare/#")


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


async def measure(folder: Path, commands: int) -> dict[str, list[float]]:
    """Run both in turn and return the seconds of every command."""
    took: dict[str, list[float]] = {"charger": [], "bare": []}
    scenario = Scenario(chargers=CHARGERS, traffic=False, rate_limits=False, command_latency_s=0.0)
    async with contextlib.AsyncExitStack() as stack:
        cloud = await stack.enter_async_context(serve(scenario))
        config = configuration(cloud.api_url, cloud.stream_url, PORT, folder)
        config["log"]["level"] = "info"
        path = folder / "bridge.yaml"
        path.write_text(yaml.safe_dump(config))
        witness = Witness(PORT)
        await witness.start(WATCHED)
        stack.push_async_callback(witness.stop)
        environ = {"PATH": os.environ["PATH"], "CHARGER_BRIDGE_EASEE__PASSWORD": "p"}
        gateway = Gateway(path, environ)
        await gateway.start()
        stack.push_async_callback(gateway.end)
        script = await asyncio.create_subprocess_exec(
            sys.executable, bare_script.__file__, str(PORT), cloud.api_url
        )
        stack.push_async_callback(script.wait)
        stack.callback(script.terminate)
        await witness.value("charger/bridge/cloud", "connected")
        await witness.value("bare/ready", "1")
        await asyncio.sleep(5.0)  # let the first replay of the hub pass
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


def figures(seconds: list[float]) -> tuple[float, float]:
    """Return median and 99th percentile in milliseconds."""
    ordered = sorted(seconds)
    return 1e3 * statistics.median(ordered), 1e3 * ordered[int(len(ordered) * 0.99)]


def main() -> None:
    """Run everything and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commands", type=int, default=40, help="in each of 5 rounds")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        broker = Mosquitto(Path(name), PORT)
        broker.start()
        try:
            took = asyncio.run(measure(Path(name), arguments.commands))
        finally:
            broker.stop()
    ours, bare = figures(took["charger"]), figures(took["bare"])
    print(f"gateway      median {ours[0]:6.2f} ms   p99 {ours[1]:6.2f} ms")
    print(f"bare script  median {bare[0]:6.2f} ms   p99 {bare[1]:6.2f} ms")
    print(f"ratio        median {ours[0] / bare[0]:6.2f}      p99 {ours[1] / bare[1]:6.2f}")
    if arguments.json:
        table = {"gateway_ms": ours, "bare_ms": bare, "commands": len(took["charger"])}
        arguments.json.write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    main()

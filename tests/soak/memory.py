"""``make soak-memory N=10``: what the gateway holds after N real minutes of trouble.

The real gateway runs as a process between a real mosquitto and the simulated cloud, each behind a
fault proxy. The cloud lives 60 times as fast as the clock. Commands come all the time; every few
seconds a connection to the broker or the hub is cut, and now and then the broker loses its memory.
Every second the process is measured from outside (memory, descriptors, threads) and counts its own
tasks. The slope of each is fitted over the second half of the run.
"""

import asyncio
import contextlib
import os
import random
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from bridge.cli.main import main as charger_bridge
from bridge.simulator.scenario import Scenario
from bridge.simulator.server import serve
from tests.acceptance.conftest import PASSWORD, Witness, configuration
from tests.mosquitto import Mosquitto
from tests.proxy import Proxy, proxied
from tests.soak.script import arguments, say, verdict

SPEED = 60.0
CHARGERS = 10
SAMPLE_S = 1.0
COMMAND_EVERY_S = 0.5
CUT_EVERY_S = 7.0
KILL_BROKER_EVERY = 8
MINUTE_S = 60.0
MIB = 1 << 20
# Fitted over minutes a slope is mostly noise: what is bounded is what it adds up to in the run.
MAX_GROWTH_MIB = 3.0
TOPICS = (
    ("set/dynamic_charger_current", lambda rng: str(rng.randrange(6, 32))),
    ("set/start", lambda _: "PRESS"),
    ("set/stop", lambda _: "PRESS"),
    ("get/observations", lambda _: "{}"),
    ("set/explode", lambda _: "1"),
    ("set/start", lambda _: "x" * 5000),
)


@dataclass
class Samples:
    """What was measured, oldest first."""

    rss_mib: list[float] = field(default_factory=list)
    descriptors: list[float] = field(default_factory=list)
    threads: list[float] = field(default_factory=list)
    tasks: list[float] = field(default_factory=list)

    def take(self, pid: int, tasks: Path) -> None:
        """Measure a process once."""
        status = Path(f"/proc/{pid}/status").read_text()
        values = dict(line.split(":", 1) for line in status.splitlines())
        self.rss_mib.append(int(values["VmRSS"].split()[0]) * 1024 / MIB)
        self.threads.append(float(values["Threads"]))
        self.descriptors.append(len(_fds(pid)))
        with contextlib.suppress(OSError, ValueError):
            self.tasks.append(float(tasks.read_text()))


def _fds(pid: int) -> list[str]:
    return os.listdir(f"/proc/{pid}/fd")  # noqa: PTH208 - names, not paths


def slope(values: list[float]) -> float:
    """Return how much a series grows from one value to the next, by least squares."""
    count = len(values)
    middle, mean = (count - 1) / 2, sum(values) / count
    spread = sum((index - middle) ** 2 for index in range(count))
    return sum((i - middle) * (value - mean) for i, value in enumerate(values)) / (spread or 1)


def grown(values: list[float]) -> float:
    """Return how much a series grew over its second half, as fitted."""
    half = values[len(values) // 2 :]
    return slope(half) * len(half)


def floors(values: list[float]) -> list[float]:
    """Return the least of each quarter: what comes and goes is no leak, what only comes is."""
    quarter = max(1, len(values) // 4)
    return [min(values[start : start + quarter]) for start in range(0, 4 * quarter, quarter)]


# -- the gateway's side ----------------------------------------------------------------------------


def count_tasks(target: Path) -> None:
    """Have every event loop of this process write down how many tasks it has."""
    run = asyncio.run

    def counted(main):
        async def with_count():
            loop = asyncio.get_running_loop()

            def write() -> None:
                target.write_text(str(len(asyncio.all_tasks())))
                loop.call_later(SAMPLE_S / 2, write)

            write()
            return await main

        return run(with_count())

    asyncio.run = counted


# -- the world around it ---------------------------------------------------------------------------


async def trouble(proxies: tuple[Proxy, ...], broker: Mosquitto, rng: random.Random) -> None:
    """Cut connections for ever, and let the broker lose its memory."""
    for count in range(1, 1 << 30):
        await asyncio.sleep(CUT_EVERY_S * rng.uniform(0.5, 1.5))
        if count % KILL_BROKER_EVERY == 0:
            await asyncio.to_thread(broker.kill)
            await asyncio.to_thread(broker.start)
        else:
            rng.choice(proxies).reset()


async def work(witness: Witness, serials: tuple[str, ...], rng: random.Random) -> None:
    """Send commands, good and bad, for ever, and remember nothing."""
    while True:
        await asyncio.sleep(COMMAND_EVERY_S * rng.uniform(0.5, 1.5))
        path, payload = rng.choice(TOPICS)
        witness.publish(f"charger/{rng.choice(serials)}/{path}", payload(rng))
        witness.messages.clear()


async def soak(minutes: float, seed: int, folder: Path) -> tuple[Samples, dict[str, int]]:
    """Run it and measure."""
    rng = random.Random(seed)
    samples = Samples()
    scenario = Scenario(chargers=CHARGERS, seed=seed, speed=SPEED, rate_limits=False)
    broker = Mosquitto(folder, rng.randrange(20_000, 30_000))
    async with contextlib.AsyncExitStack() as stack:
        broker.start()
        stack.callback(broker.kill)
        cloud = await stack.enter_async_context(serve(scenario))
        rest = await stack.enter_async_context(proxied(int(cloud.api_url.rsplit(":", 1)[1])))
        hub = await stack.enter_async_context(proxied(rest.target))
        mqtt = await stack.enter_async_context(proxied(broker.port))
        config = configuration(
            f"http://127.0.0.1:{rest.port}",
            f"http://127.0.0.1:{hub.port}/hubs/chargers",
            mqtt.port,
            folder,
        )
        config["log"] = {"level": "info"}
        path = folder / "bridge.yaml"
        path.write_text(yaml.safe_dump(config))
        witness = Witness(broker.port)
        await witness.start()
        stack.push_async_callback(witness.stop)
        with (folder / "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.soak.memory", "gateway", str(path)),
                env={**os.environ, "CHARGER_BRIDGE_EASEE__PASSWORD": PASSWORD},
                stderr=log,
            )
        await witness.value("charger/bridge/cloud", "connected")
        loop = asyncio.get_running_loop()
        tasks = [
            loop.create_task(trouble((rest, hub, mqtt), broker, rng)),
            loop.create_task(work(witness, scenario.serials, rng)),
        ]
        for number in range(int(minutes * MINUTE_S / SAMPLE_S)):
            await asyncio.sleep(SAMPLE_S)
            samples.take(process.pid, folder / "tasks")
            if number % 60 == 0:
                say(f"{number // 60} min: {samples.rss_mib[-1]:.1f} MiB")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        open_files = (os.readlink(f"/proc/{process.pid}/fd/{fd}") for fd in _fds(process.pid))  # noqa: PTH115 - not a path
        say(str(Counter(name.split(":")[0] for name in open_files)))
        process.terminate()
        status = await process.wait()
        fired = {"rest": rest.accepted, "hub": hub.accepted, "mqtt": mqtt.accepted}
        fired |= {"requests": len(cloud.requests), "status": status}
    return samples, fired


def judged(samples: Samples) -> list[str]:
    """Name what grew."""
    problems = []
    rss = samples.rss_mib
    half_s = len(rss) / 2 * SAMPLE_S
    say(f"rss_mib: {rss[0]:.1f} to {rss[-1]:.1f}, {grown(rss):+.2f} in the last {half_s:.0f} s")
    if grown(rss) > MAX_GROWTH_MIB:
        problems.append(f"memory grew by {grown(rss):.2f} MiB, {MAX_GROWTH_MIB} are allowed")
    for name in ("descriptors", "threads", "tasks"):
        values = getattr(samples, name)
        _, second, third, fourth = least = floors(values)
        say(f"{name}: most {max(values):.0f}, least in each quarter {least}")
        if second < third < fourth:
            problems.append(f"{name} only ever grow: {least}")
    return problems


def main() -> int:
    """Run from the command line: ``python -m tests.soak.memory MINUTES [SEED]``."""
    if sys.argv[1:2] == ["gateway"]:
        config = Path(sys.argv[2])
        count_tasks(config.with_name("tasks"))
        return charger_bridge(["run", "--config", str(config)])
    minutes, seed = arguments(10)
    with tempfile.TemporaryDirectory() as folder:
        samples, fired = asyncio.run(soak(minutes, seed, Path(folder)))
        problems = judged(samples)
    if fired["status"]:
        problems.append(f"the gateway ended with status {fired['status']}")
    return verdict(problems, f"{minutes} min, {minutes * SPEED:.0f} simulated: {fired}")


if __name__ == "__main__":
    sys.exit(main())

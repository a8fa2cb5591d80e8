"""What the gateway costs while nothing happens: ``python -m benchmarks.idle``.

The gateway as a process between a mosquitto and the simulated cloud, with two chargers that say
nothing. Counted are the times its threads went to sleep by themselves, by the kernel's counters of
voluntary context switches, and its processor time; an hour of it is extrapolated. What a start has
left to do is waited for first. A minute and a half.
"""

import asyncio
import os
import re
import tempfile
import time
from pathlib import Path

import yaml

from benchmarks import stage
from bridge.simulator.scenario import Scenario
from bridge.simulator.server import serve
from tests.acceptance.conftest import Gateway, Witness, configuration
from tests.mosquitto import Mosquitto
from tests.ports import unused_port

SETTLED_S = 25.0
HOUR_S = 3600.0
SWITCHES = re.compile(r"^voluntary_ctxt_switches:\s+(\d+)", re.MULTILINE)


def wake_ups(pid: int) -> int:
    """Return how often the threads of a process have gone to sleep so far."""
    statuses = Path(f"/proc/{pid}/task").glob("*/status")
    return sum(int(SWITCHES.search(status.read_text())[1]) for status in statuses)


async def measure(folder: Path, port: int, seconds: float) -> dict[str, float]:
    """Run the gateway; return wake-ups a second and processor time of an hour."""
    scenario = Scenario(chargers=2, equalizers=0, traffic=False, rate_limits=False)
    async with serve(scenario) as cloud:
        config = configuration(cloud.api_url, cloud.stream_url, port, folder)
        config["log"]["level"] = "info"
        path = folder / "bridge.yaml"
        path.write_text(yaml.safe_dump(config))
        witness = Witness(port)
        await witness.start(("charger/bridge/+",))
        environ = {"PATH": os.environ["PATH"], "CHARGER_BRIDGE_EASEE__PASSWORD": "p"}
        gateway = Gateway(path, environ)
        await gateway.start()
        await witness.value("charger/bridge/cloud", "connected")
        await asyncio.sleep(SETTLED_S)
        pid = gateway.process.pid
        began, woken, used_s = time.perf_counter(), wake_ups(pid), stage.cpu_s(pid)
        await asyncio.sleep(seconds)
        took_s = time.perf_counter() - began
        found = {
            "wake_ups_s": (wake_ups(pid) - woken) / took_s,
            "cpu_s_an_hour": (stage.cpu_s(pid) - used_s) / took_s * HOUR_S,
        }
        await gateway.end()
        await witness.stop()
    return found


def main() -> None:
    """Measure and print."""
    parser = stage.arguments(__doc__, "idle")
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        broker = Mosquitto(Path(name), unused_port())
        broker.start()
        try:
            found = asyncio.run(measure(Path(name), broker.port, options.seconds))
        finally:
            broker.stop()
    print(
        f"{found['wake_ups_s']:.2f} wake-ups a second,"
        f" {found['cpu_s_an_hour']:.2f} s of processor time an hour"
    )
    stage.write(options.json, found)


if __name__ == "__main__":
    main()

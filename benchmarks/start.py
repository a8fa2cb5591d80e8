"""How long a start takes and how much memory the gateway needs: ``python -m benchmarks.start``.

Runs the gateway as a process between a mosquitto and the simulated cloud, with 2 and with 50
chargers, several times. Prints medians: process start to ``bridge/state online``, to ``bridge/cloud
connected``, resident memory after every charger's replay was published, and beside them the bare
import of the packages the gateway uses, in the same run, because machines differ and drift. The
first start is not counted: it compiles what an installation has compiled.
"""

import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from benchmarks import stage
from bridge.simulator.scenario import Scenario
from bridge.simulator.server import serve
from tests.acceptance.conftest import Gateway, Witness, configuration
from tests.mosquitto import Mosquitto

PORT = 28873
# Not everything: mosquitto drops what a slow subscriber has not taken beyond 1,000 messages.
WATCHED = ("charger/bridge/+", "charger/+/availability", "charger/+/state/op_mode")
PACKAGES = "paho.mqtt.client, httpx, yaml, structlog, sqlite3, msgspec, websockets.client"


def import_s() -> float:
    """Time an interpreter that only imports the packages."""
    began = time.perf_counter()
    command = [sys.executable, "-c", f"import {PACKAGES}"]
    subprocess.run(command, env=stage.environment(), check=True)
    return time.perf_counter() - began


def resident_mib(pid: int) -> float:
    """Read a process's resident memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


async def once(
    chargers: int, folder: Path, before: dict[str, str] | None = None
) -> tuple[float, float, float]:
    """Start and stop one gateway, or that of the revision before.

    Returns:
        Seconds to online, to connected, and resident MiB.
    """
    scenario = Scenario(chargers=chargers, traffic=False, rate_limits=False)
    async with serve(scenario) as cloud:
        config = configuration(cloud.api_url, cloud.stream_url, PORT, folder)
        config["log"]["level"] = "info"
        if before is not None:
            config = stage.readable_before(config)
        path = folder / "bridge.yaml"
        path.write_text(yaml.safe_dump(config))
        # What the revision before left retained is not for the judge of this one.
        witness = Witness(PORT, judges=stage.before() is None)
        await witness.start(WATCHED)
        environ = {"PATH": os.environ["PATH"], "CHARGER_BRIDGE_EASEE__PASSWORD": "p"}
        environ |= before or {}
        gateway = Gateway(path, environ)
        began = time.perf_counter()
        await gateway.start()
        await witness.value("charger/bridge/state", "online")
        online_s = time.perf_counter() - began
        await witness.value("charger/bridge/cloud", "connected")
        connected_s = time.perf_counter() - began
        for serial in scenario.serials:
            await witness.value(f"charger/{serial}/availability", "online", 60.0)
            topic = f"charger/{serial}/state/op_mode"
            await witness.until(lambda topic=topic: topic in witness.retained, topic, 60.0)
        await asyncio.sleep(1.0)
        mib = resident_mib(gateway.process.pid)
        await gateway.end()
        await witness.stop()
    return online_s, connected_s, mib


def main() -> None:
    """Run everything and print a table."""
    parser = stage.arguments(__doc__, "start")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    runs, table, before = options.runs, {}, stage.before()
    with tempfile.TemporaryDirectory() as name:
        folder, older = Path(name), Path(name, "before")
        older.mkdir()
        broker = Mosquitto(folder, PORT)
        broker.start()
        try:
            import_s()
            asyncio.run(once(2, folder))
            for chargers in (2, 50):
                imports, figures, earlier = [], [], []
                for _ in range(runs):
                    imports.append(import_s())
                    figures.append(asyncio.run(once(chargers, folder)))
                    if before is not None:
                        earlier.append(asyncio.run(once(chargers, older, before)))
                online, connected, mib = (list(column) for column in zip(*figures, strict=True))
                table[str(chargers)] = row = {
                    "import_s": stage.summary(imports),
                    "online_s": stage.summary(online),
                    "to_import": stage.ratios(online, imports),
                    "connected_s": stage.summary(connected),
                    "resident_mib": stage.summary(mib),
                }
                import_, online_, ratio, connected_, mib_ = (one["median"] for one in row.values())
                print(
                    f"{chargers:3d} chargers: online {online_:.2f} s ({ratio:.2f} x the bare import"
                    f" of {import_:.2f} s), connected {connected_:.2f} s, {mib_:.1f} MiB resident"
                )
                if earlier:
                    row["before_to_import"] = stage.ratios([one[0] for one in earlier], imports)
                    row["before_resident_mib"] = stage.summary([one[2] for one in earlier])
        finally:
            broker.stop()
    stage.write(options.json, {"starts": table})


if __name__ == "__main__":
    main()

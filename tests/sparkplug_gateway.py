"""The whole gateway as a Sparkplug edge node, against a simulated cloud with two chargers."""

import asyncio
import contextlib
from pathlib import Path

from bridge import app
from bridge.settings import (
    CommandSettings,
    EaseeSettings,
    MqttSettings,
    Secret,
    Settings,
    SparkplugSettings,
    StoreSettings,
)
from bridge.simulator.scenario import Scenario
from bridge.simulator.server import serve as serve_cloud

GROUP, NODE, HOST = "charging", "charger-bridge", "scada"
ONE, TWO = "EH000001", "EH000002"
STATE = f"spBv1.0/STATE/{HOST}"


@contextlib.asynccontextmanager
async def gateway(
    folder: Path,
    port: int,
    *,
    version: str = "auto",
    host_id: str | None = None,
    traffic: bool = True,
    aliases: bool = False,
):
    """Run it."""
    async with serve_cloud(Scenario(chargers=2, traffic=traffic)) as cloud:
        settings = Settings(
            EaseeSettings("x@example.com", Secret("p"), (), cloud.api_url, cloud.stream_url),
            MqttSettings(host="127.0.0.1", port=port, client_id="bridge", version=version),
            commands=CommandSettings(allow=("device", "control")),
            store=StoreSettings(path=str(folder / "bridge.db")),
            sparkplug=SparkplugSettings(True, GROUP, NODE, host_id, aliases),
        )
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(app.serve(settings, stop))
            yield cloud
            stop.set()

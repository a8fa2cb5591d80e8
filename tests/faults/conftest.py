"""The gateway as a process behind fault proxies: broker, REST and hub each have one."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from bridge.simulator.scenario import Scenario
from bridge.simulator.server import serve
from tests.acceptance.conftest import Setting, Witness, configuration, running
from tests.mosquitto import Mosquitto
from tests.proxy import Fault, Proxy, proxied

ONE = "EH000001"


@dataclass
class Street(Setting):
    """A setting with a proxy at each door; the witness uses the broker's own."""

    mqtt: Proxy
    rest: Proxy
    hub: Proxy

    async def shows(self, value: str) -> None:
        """Have the charger report a value, and wait until the broker has it."""
        self.cloud.push(ONE, 120, value)
        await self.witness.value(f"charger/{ONE}/state/total_power", value)

    def sent(self, command: str) -> list[Any]:
        """Return the requests for a command, as the cloud saw them."""
        path = f"/api/chargers/{ONE}/commands/{command}"
        return [request for request in self.cloud.requests if request.path == path]


@pytest.fixture
def street(tmp_path, free_port):
    """Broker, cloud, gateway, witness and proxies, made by an async context manager."""

    @contextlib.asynccontextmanager
    async def build(
        *, change=None, fault: Fault | None = None, program: str = "bridge", online: bool = True
    ) -> AsyncIterator[Street]:
        broker = Mosquitto(tmp_path, free_port)
        scenario = Scenario(chargers=1, traffic=False, authorization_required=True)
        async with contextlib.AsyncExitStack() as stack:
            broker.start()
            stack.callback(broker.kill)
            cloud = await stack.enter_async_context(serve(scenario))
            port = int(cloud.api_url.rsplit(":", 1)[1])
            mqtt = await stack.enter_async_context(proxied(broker.port))
            rest = await stack.enter_async_context(proxied(port))
            hub = await stack.enter_async_context(proxied(port))
            mqtt.fault = rest.fault = hub.fault = fault
            api, stream = f"http://127.0.0.1:{rest.port}", f"http://127.0.0.1:{hub.port}"
            config = configuration(api, f"{stream}/hubs/chargers", mqtt.port, tmp_path)
            if change is not None:
                change(config)
            witness = Witness(broker.port)
            await witness.start()
            stack.push_async_callback(witness.stop)
            gateway = await stack.enter_async_context(running(config, tmp_path, program=program))
            if online:
                await witness.value("charger/bridge/cloud", "connected")
                await witness.value(f"charger/{ONE}/availability", "online")
            yield Street(cloud, broker, gateway, witness, config, tmp_path, mqtt, rest, hub)

    return build

"""The web server of a running gateway."""

import asyncio
import functools

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.conftest import TIMEOUT_S
from tests.ports import unused_port

pytestmark = [pytest.mark.anyio, pytest.mark.acceptance]

ONE = "EH000001"


@pytest.fixture
def served(stage):
    """Make a stage whose gateway has its web server on, and the server's URL."""
    port = unused_port()

    def change(config):
        config["http"] = {"enabled": True, "port": port}

    return functools.partial(stage, change=change), f"http://127.0.0.1:{port}"


async def status(client, path, wanted):
    """Ask until the status is the wanted one."""
    async with asyncio.timeout(TIMEOUT_S):
        while (await client.get(path)).status_code != wanted:
            pass


async def test_health_and_metrics_tell_what_happened(served):
    """Every part is well, a command that was answered is counted, and a killed broker shows."""
    build, url = served
    async with build(chargers=1) as s, httpx.AsyncClient(base_url=url) as client:
        s.witness.publish(f"charger/{ONE}/set/pause", "PRESS")
        answer = await s.witness.final(ONE, "pause")
        found = {
            path: (await client.get(path)).status_code
            for path in ("/healthz", "/healthz/bridge", "/healthz/broker", "/healthz/store")
        }
        text = (await client.get("/metrics")).text
        counts = {
            (sample.name, *sorted(sample.labels.values())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        assert found == dict.fromkeys(found, 200)
        labels = sorted(("pause", answer["state"], answer["reason"] or ""))
        assert counts["charger_bridge_answers_total", *labels] == 1
        assert counts["charger_bridge_observations_total", "stream"] > 0
        assert counts["charger_bridge_cloud_state", "connected"] == 1
        assert counts["process_resident_memory_bytes",] > 0

        s.broker.kill()
        await status(client, "/healthz/broker", 503)
        assert (await client.get("/healthz/cloud")).status_code == 200
        assert (await client.get("/healthz")).status_code == 503
        s.broker.start()
        await status(client, "/healthz", 200)


async def test_nothing_listens_unless_asked(stage):
    """Without ``http.enabled`` there is no server."""
    async with stage(chargers=1) as s:
        assert "http.listening" not in {line["event"] for line in s.gateway.lines}

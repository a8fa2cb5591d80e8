"""What docs/brokers.md says of the brokers that run here."""

import asyncio
import contextlib
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.broker.test_mqtt_old_brokers import amqtt
from tests.mosquitto import outsider, until

pytestmark = [pytest.mark.broker, pytest.mark.anyio]

PAGE = Path(__file__).parents[2] / "docs" / "brokers.md"
YES, NO = "yes", "no"
# The device form of Home Assistant's discovery.
LARGEST = 60_000
# amqtt never answers a client that speaks MQTT 5.
SILENT_S = 6


def table() -> dict[str, dict[str, str]]:
    """Read the rows of the page by the name of the broker, without its version."""
    text = PAGE.read_text().split("## What works where")[1].split("## Notes")[0]
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    heads, rows = lines[0], lines[2:]
    return {row[0].split(" ")[0]: dict(zip(heads, row, strict=True)) for row in rows}


class Client:
    """The command line clients of mosquitto, at one broker and one version of MQTT."""

    def __init__(self, port: int, version: str) -> None:
        self._where = ["-h", "127.0.0.1", "-p", str(port), "-V", version]

    async def publish(self, topic: str, payload: str, *options: str) -> int:
        """Publish with QoS 1 and return the exit status."""
        return (await self._run("mosquitto_pub", "-q", "1", "-t", topic, *options, text=payload))[0]

    async def receive(self, topic: str, *options: str) -> str:
        """Return the first message: its retain flag, its QoS and its size."""
        form = ("-F", "%r %q %l", "-C", "1", "-W", "5")
        return (await self._run("mosquitto_sub", "-q", "2", "-t", topic, *form, *options))[1]

    async def connects(self) -> bool:
        """Say whether the broker takes this version."""
        return await self.publish("any/thing", "1") == 0

    async def _run(self, program: str, *words: str, text: str = "") -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            program,
            *self._where,
            *words,
            *(("-s",) if text else ()),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(SILENT_S):
                out, _ = await process.communicate(text.encode())
        except TimeoutError:
            process.kill()
            await process.wait()
            return 1, ""
        return process.returncode or 0, out.decode().strip()


@contextlib.asynccontextmanager
async def running(name: str, make_broker, folder: Path):
    """Run a broker of the table."""
    if name == "mosquitto":
        yield make_broker().port
    else:
        async with amqtt(folder) as port:
            yield port


@pytest.mark.skipif(shutil.which("mosquitto_pub") is None, reason="needs mosquitto-clients")
@pytest.mark.parametrize("name", ["mosquitto", "amqtt"])
async def test_the_table_is_what_the_broker_does(name, make_broker, tmp_path):
    """Version, and large retained messages at QoS 1 by wildcard, are tried against the row."""
    row = table()[name]
    async with running(name, make_broker, tmp_path) as port:
        five, older = Client(port, "mqttv5"), Client(port, "mqttv311")
        versions = [v for v, c in (("5", five), ("3.1.1", older)) if await c.connects()]
        assert await older.publish("charger/A/state/x", "7" * LARGEST, "-r") == 0
        first = await older.receive("charger/+/state/#")

    assert row["known from"] == "tests"
    assert row["MQTT"] == ", ".join(versions)
    assert row["retained to wildcards"] == (YES if first == f"1 1 {LARGEST}" else NO)
    assert row["size limit"].startswith("none")


async def test_retain_as_published_is_what_the_table_says(make_broker):
    """Mosquitto keeps the flag of a live message for a subscriber that asks for it."""
    broker = make_broker()
    with outsider(broker.port, "charger/+/set/+") as flow:
        flow.publish("charger/A/set/start", b"1", retain=True)
        await until(lambda: flow.messages)

    _, _, is_retained = flow.messages[0]
    assert table()["mosquitto"]["Retain As Published"] == (YES if is_retained else NO)


def test_every_broker_says_where_it_is_known_from():
    """A row is from the tests, tried by hand, or from documentation."""
    rows = table()

    assert len(rows) > 5
    assert [
        row
        for row in rows.values()
        if not row["known from"].startswith(("tests", "by hand", "documentation"))
    ] == []

"""Sparkplug hosts that other people wrote, at the gateway's edge node, over a real broker."""

import asyncio
import contextlib
import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PATIENCE_S
from tests.mosquitto import Mosquitto, Outsider, until
from tests.ports import unused_port
from tests.sparkplug_gateway import GROUP, HOST, NODE, ONE, TWO, gateway

FOLDER = Path(__file__).parent / "sparkplug"
MADE = Path(__file__).parents[2] / ".acceptance"
PROGRAMS = {
    "tahu": ("node", FOLDER / "tahu_host.mjs", FOLDER / "node_modules"),
    "pysparkplug": (
        MADE / "pysparkplug/bin/python",
        FOLDER / "pysparkplug_host.py",
        MADE / "pysparkplug/bin/python",
    ),
    "wrapper": (
        MADE / "mqtt-spb-wrapper/bin/python",
        FOLDER / "wrapper_host.py",
        MADE / "mqtt-spb-wrapper/bin/python",
    ),
}
WITHIN_S = 4 * PATIENCE_S
LOCK = "lock_cable_permanently"
pytestmark = [pytest.mark.broker, pytest.mark.anyio]


class ForeignHost:
    """A host as a process, and what it understood."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said: list[dict[str, Any]] = []

    async def listen(self) -> None:
        """Read what it prints."""
        while line := await self.process.stdout.readline():
            self.said.append(json.loads(line))

    async def ask(self, **wanted: object) -> None:
        """Have it do something."""
        self.process.stdin.write(json.dumps(wanted).encode() + b"\n")
        await self.process.stdin.drain()

    def kinds(self, kind: str, device: str = "") -> list[dict[str, Any]]:
        """Return its messages of a kind."""
        return [one for one in self.said if (one["kind"], one.get("device", "")) == (kind, device)]

    def values(self, device: str) -> dict[str, object]:
        """Return the values of a device by name, without history."""
        found: dict[str, object] = {}
        for one in self.said:
            if one["kind"] in ("DBIRTH", "DDATA") and one["device"] == device:
                found |= {m["name"]: m["value"] for m in one["metrics"] if not m.get("historical")}
        return found

    def reports(self, device: str) -> list[dict[str, Any]]:
        """Return the session reports of a device, by their fields, history or not."""
        return [
            {m["name"]: m["value"] for m in one["metrics"]}
            | {"historical": {m["historical"] for m in one["metrics"]}}
            for one in self.kinds("DDATA", device)
            if any(m["name"] == "Session/key" for m in one["metrics"])
        ]


@contextlib.asynccontextmanager
async def host(name: str, port: int):
    """Start a host and wait until it listens."""
    program, script, needed = PROGRAMS[name]
    if not needed.exists():
        pytest.skip("make acceptance-sparkplug installs the hosts")
    process = await asyncio.create_subprocess_exec(
        program,
        script,
        str(port),
        GROUP,
        NODE,
        HOST,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=sys.stderr,
    )
    made = ForeignHost(process)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(made.listen())
        try:
            await shown(lambda: made.kinds("READY"))
            yield made
            await made.ask(do="leave")
        finally:
            process.stdin.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    await process.wait()
            if process.returncode is None:
                process.kill()
    assert [one for one in made.said if one["kind"] == "FAILED"] == []


@pytest.fixture
def broker(tmp_path):
    """A real mosquitto."""
    made = Mosquitto(tmp_path, unused_port())
    made.start()
    yield made
    made.stop()


@pytest.fixture
def room(broker):
    """What the native topics say."""
    made = Outsider(broker.port, "charger/#")
    yield made
    made.close()


async def shown(condition: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    await until(condition, WITHIN_S)


def newest(room: Outsider, topic: str) -> str:
    """Return what a topic carried last."""
    return (room.payloads(topic)[-1:] or [b""])[0].decode()


def native(room: Outsider, device: str) -> dict[str, str]:
    """Return the bare values of a charger by name."""
    start = f"charger/{device}/state/"
    return {
        topic.removeprefix(start): payload.decode()
        for topic, payload, _ in room.messages
        if topic.startswith(start)
    }


def same(found: object, text: str) -> bool:
    """Return whether a metric has the value of a native topic."""
    if isinstance(found, bool) or found is None:
        return text == json.dumps(found)
    if isinstance(found, int | float):
        return text != "null" and float(text) == found
    return text == found


def differences(room: Outsider, found: ForeignHost, device: str) -> dict[str, tuple[object, str]]:
    """Return what a host has other than the native topics, of what is no person's."""
    values = found.values(device)
    return {
        name: (values.get(name), text)
        for name, text in native(room, device).items()
        if name in values and not same(values[name], text)
    }


@pytest.mark.parametrize("aliases", [False, True])
@pytest.mark.parametrize("name", ["tahu", "pysparkplug"])
async def test_a_host_reads_every_value_and_commands(tmp_path, broker, room, name, aliases):
    """It decodes every value and what ended before it came, and a write is carried out."""
    async with gateway(tmp_path, broker.port, host_id=HOST, traffic=False, aliases=aliases):
        await shown(lambda: newest(room, f"charger/{ONE}/session/last"))
        async with host(name, broker.port) as found:
            for device in (ONE, TWO):
                await shown(lambda device=device: found.kinds("DBIRTH", device))
            assert found.kinds("NBIRTH")[0]["seq"] == 0
            await shown(lambda: not differences(room, found, ONE))
            await shown(lambda: not differences(room, found, TWO))
            named = set(native(room, ONE)) & set(found.values(ONE))
            assert len(named) > 60

            # What ended before it came is history.
            await shown(lambda: found.reports(ONE))
            key = json.loads(newest(room, f"charger/{ONE}/session/last"))["key"]
            assert found.reports(ONE)[-1]["Session/key"] == key
            assert found.reports(ONE)[-1]["historical"] == {True}

            await found.ask(
                do="write", device=ONE, name=f"Command/{LOCK}", type="Boolean", value=True
            )
            await shown(lambda: found.values(ONE).get(f"Result/{LOCK}") in ("confirmed", "noop"))
            assert newest(room, f"charger/{ONE}/state/{LOCK}") == "true"

            births = len(found.kinds("NBIRTH"))
            await found.ask(do="rebirth")
            await shown(lambda: len(found.kinds("NBIRTH")) > births)
            await shown(lambda: found.kinds("DBIRTH", ONE)[-1] is not None)
            sequence = [one["seq"] for one in found.said if one["kind"] in SEQUENCED]
            assert all(
                after in (0, (before + 1) % 256) for before, after in itertools.pairwise(sequence)
            )


async def test_the_node_dies_with_its_primary_host(tmp_path, broker, room):
    """Tahu's codec reads the death, and the births behind it have the next number."""
    async with gateway(tmp_path, broker.port, host_id=HOST, traffic=False):
        async with host("tahu", broker.port) as first:
            await shown(lambda: first.kinds("DBIRTH", ONE))
        await shown(lambda: newest(room, f"charger/{ONE}/availability") == "online")
        async with host("tahu", broker.port) as second:
            await shown(lambda: second.kinds("DBIRTH", ONE))

    assert bdseq(second.kinds("NBIRTH")[0]) == bdseq(first.kinds("NBIRTH")[0]) + 1


async def test_the_wrapper_sees_births_data_and_deaths_and_writes(tmp_path, broker, room):
    """It knows no aliases and no STATE of version 3: so without either."""
    async with host("wrapper", broker.port) as found:
        async with gateway(tmp_path, broker.port, traffic=False):
            await shown(lambda: found.kinds("DBIRTH", ONE))
            await shown(lambda: newest(room, f"charger/{ONE}/state/{LOCK}"))
            await found.ask(do="write", device=ONE, name=f"Command/{LOCK}", value=True)
            await shown(lambda: found.values(ONE).get(LOCK) is True)
            await shown(lambda: found.values(ONE).get(f"Result/{LOCK}") in ("confirmed", "noop"))
            assert newest(room, f"charger/{ONE}/state/{LOCK}") == "true"
            await found.ask(do="rebirth")
            await shown(lambda: len(found.kinds("DBIRTH", ONE)) > 1)
            await shown(lambda: not differences(room, found, ONE))
        await shown(lambda: found.kinds("NDEATH"))


def bdseq(message: dict[str, Any]) -> int:
    """Return the number of a session."""
    return next(one["value"] for one in message["metrics"] if one["name"] == "bdSeq")


SEQUENCED = ("NBIRTH", "DBIRTH", "NDATA", "DDATA", "DDEATH")

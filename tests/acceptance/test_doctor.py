"""``charger-bridge doctor`` beside a running gateway, and with nobody there."""

import asyncio
import json
import stat
import sys
import zipfile

import pytest

from tests import canaries
from tests.acceptance.conftest import PASSWORD
from tests.canaries import BROKER_PASSWORD

pytestmark = [pytest.mark.anyio, pytest.mark.acceptance]

TAG = "04AABBCCDD7180"


async def doctor(s, output):
    """Run it; return its status, what it said, and the bundle's files."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bridge", "doctor", "--config", str(s.gateway.config),
        "--output", str(output),
        env=s.gateway.environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    with zipfile.ZipFile(output) as bundle:
        held = {name: bundle.read(name) for name in bundle.namelist()}
    records = {name: held.pop(name) for name in tuple(held) if name.endswith(".rec")}
    files = {name: content.decode() for name, content in held.items()}
    files |= {name: canaries.unpacked(content).decode() for name, content in records.items()}
    everything = "".join((said.decode(), *files, *files.values()))
    assert canaries.found_in(everything.encode()) == []
    return process.returncode, said.decode(), files


async def test_a_bridge_that_is_well_is_told_and_packed(stage, tmp_path):
    """Beside a running gateway it finds nothing broken, disturbs nothing and tells no secret."""
    environ = {"CHARGER_BRIDGE_MQTT__PASSWORD": BROKER_PASSWORD}

    def with_login(config):
        config["mqtt"]["username"] = "somebody"

    async with stage(chargers=1, change=with_login, environ=environ) as s:
        s.cloud.plug_in("EH000001")
        s.cloud.show_tag("EH000001", TAG)
        s.witness.publish("charger/EH000001/set/start", "PRESS")
        await s.witness.final("EH000001", "start")
        s.cloud.unplug("EH000001")
        topic = "charger/EH000001/session/report"
        await s.witness.until(lambda: topic in s.witness.retained, "the report")
        before = s.gateway.process.pid
        status, said, files = await doctor(s, tmp_path / "bundle.zip")
        tokens = _tokens(s)
        everything = said + "".join(files.values())

        assert tokens
        assert "✗" not in said, said
        assert status == 0
        assert "start" in files["commands.txt"]
        assert "start" in next(text for name, text in files.items() if name.endswith(".rec"))
        assert "No change was found." in files["vendor.md"]
        assert json.loads(files["facts.json"])["retained"]["state"] == "online"
        assert json.loads(files["configuration.json"])["easee.password"] == "(set)"
        assert json.loads(files["configuration.json"])["easee.username"].startswith("***@")
        for secret in (PASSWORD, TAG, "someone@", *tokens):
            assert secret not in everything
        assert stat.S_IMODE((tmp_path / "bundle.zip").stat().st_mode) == 0o600
        assert s.gateway.process.pid == before
        assert s.gateway.process.returncode is None
        assert s.witness.retained["charger/bridge/state"] == b"online"


def _tokens(s):
    held = json.loads((s.folder / "store" / "tokens.json").read_text())
    return [value for key, value in held.items() if "token" in key.lower()]


async def test_with_nobody_there_it_still_says_what_is_wrong(stage, tmp_path):
    """A dead broker and a stopped gateway are findings; the bundle is written all the same."""
    async with stage(chargers=1) as s:
        await s.gateway.end()
        s.broker.kill()
        status, said, files = await doctor(s, tmp_path / "bundle.zip")
        assert status == 1
        assert said.startswith("✗ broker: ")
        assert files["report.txt"].startswith("✗ broker: ")
        s.broker.start()

"""The add-on as the Supervisor builds and starts it: from its folder, as root, with its data."""

import json
import os
import re
import shutil
import tarfile

import pytest
import yaml

from bridge import __version__
from bridge.simulator.scenario import Scenario
from bridge.simulator.server import serve
from tests.acceptance.test_addon import TOKEN, options, supervisor
from tests.mosquitto import Mosquitto, outsider, until
from tests.packages.containers import UID, Runner, unpacked
from tests.ports import unused_port
from tools.image import Buildah, base
from tools.release import unpack

pytestmark = pytest.mark.anyio

ONE = "EH000001"
EPOCH = 1_700_000_000
PYTHON = "localhost/python"
WITHIN_S = 60.0


@pytest.fixture(scope="module")
def addon(release, tmp_path_factory):
    """Unpack the repository of the release, and build its add-on on a small Debian."""
    if shutil.which("buildah") is None or shutil.which("crun") is None:
        pytest.fail("install buildah and crun")
    work = tmp_path_factory.mktemp("addon")
    (archive,) = release.glob("*-home-assistant.tar.gz")
    with tarfile.open(archive) as packed:
        unpack(packed, work)
    (folder,) = work.glob("*-home-assistant/charger_bridge")
    builder = Buildah(work, EPOCH)
    builder.load(base("python3-venv", "amd64", EPOCH), PYTHON, "amd64")
    builder.build(folder, "amd64", {"PYTHON": PYTHON})
    builder.write(work / "saved.tar")
    with unpacked(work / "saved.tar", tmp_path_factory.mktemp("unpacked")) as image:
        yield image, yaml.safe_load((folder / "config.yaml").read_text())


async def test_it_runs_as_a_user_of_its_own(addon, tmp_path, free_port):
    """Started as root with the user's options, it gives itself up to a user and goes online."""
    image, config = addon
    assert config["version"] == __version__
    data = tmp_path / "data"
    data.mkdir()
    (data / "options.json").write_text(json.dumps(options(chargers=[ONE])))
    (data / "options.json").chmod(0o600)
    broker = Mosquitto(tmp_path, free_port)
    broker.start()
    service = {"host": "127.0.0.1", "port": free_port, "ssl": False}
    try:
        async with serve(Scenario(chargers=1, traffic=False)) as cloud:
            with supervisor(service) as url, outsider(free_port, "charger/#") as client:
                environ = {
                    "SUPERVISOR": url,
                    "SUPERVISOR_TOKEN": TOKEN,
                    "CHARGER_BRIDGE_EASEE__API_URL": cloud.api_url,
                    "CHARGER_BRIDGE_EASEE__STREAM_URL": cloud.stream_url,
                    "CHARGER_BRIDGE_HTTP__PORT": str(unused_port()),
                }
                with Runner(image, tmp_path).run({"/data": data}, environ) as container:
                    topic = f"charger/{ONE}/availability"
                    await until(lambda: b"online" in client.payloads(topic), WITHIN_S)
                    uids = re.findall(
                        r"^Uid:\t(\d+)\t(\d+)\t(\d+)\t(\d+)$",
                        container.run("cat", "/proc/1/status").stdout,
                        re.MULTILINE,
                    )
                    status = container.stop("SIGTERM")
    finally:
        broker.kill()
    assert uids == [(str(UID),) * 4]
    assert status == 0
    assert (data / "store" / "bridge.db").stat().st_uid == UID
    assert (data / "options.json").stat().st_uid == os.geteuid()

"""The container image: run as its own user on a read-only root, health-checked and stopped."""

import asyncio
import contextlib
import json
import os
import shutil

import httpx
import pytest

from bridge import __version__
from bridge.simulator.scenario import Scenario
from bridge.simulator.server import serve
from tests.canaries import PASSWORD
from tests.mosquitto import Mosquitto, outsider, until
from tests.packages.containers import UID, Runner, unpacked
from tests.ports import unused_port

pytestmark = pytest.mark.anyio

ONE = "EH000001"
CONFIG = "/etc/charger-bridge/config.yaml"
STORE = "/var/lib/charger-bridge"
SECRET = "/run/secrets/easee_password"
WITHIN_S = 60.0


@pytest.fixture(scope="session")
def image(release, tmp_path_factory):
    """Unpack the image of the release."""
    (archive,) = release.glob("*-amd64.image.tar.gz")
    missing = [name for name in ("buildah", "crun") if shutil.which(name) is None]
    assert not missing, f"install {', '.join(missing)}"
    with unpacked(archive, tmp_path_factory.mktemp("image")) as found:
        yield found


@pytest.fixture
def runner(image, tmp_path):
    """Start containers in a folder of the test's own."""
    return Runner(image, tmp_path)


@pytest.fixture
def mounts(tmp_path):
    """Provide a configuration, a password and a volume, as compose.yaml does."""
    config, secret, store = tmp_path / "config.yaml", tmp_path / "secret", tmp_path / "store"
    config.write_text("easee:\n  username: someone@example.com\nmqtt:\n  host: file.invalid\n")
    secret.write_text(PASSWORD)
    store.mkdir(mode=0o700)
    os.chown(secret, UID, UID)
    os.chown(store, UID, UID)
    return {CONFIG: config, SECRET: secret, STORE: store}


@pytest.fixture
async def surroundings(tmp_path, free_port):
    """Run a broker and a cloud; provide the variables that name them, and a client."""
    broker = Mosquitto(tmp_path, free_port)
    broker.start()
    async with serve(Scenario(chargers=1, traffic=False)) as cloud:
        with outsider(free_port, "charger/#") as client:
            yield (
                client,
                {
                    "CHARGER_BRIDGE_EASEE__PASSWORD_FILE": SECRET,
                    "CHARGER_BRIDGE_EASEE__API_URL": cloud.api_url,
                    "CHARGER_BRIDGE_EASEE__STREAM_URL": cloud.stream_url,
                    "CHARGER_BRIDGE_MQTT__HOST": "127.0.0.1",
                    "CHARGER_BRIDGE_MQTT__PORT": str(free_port),
                },
            )
    broker.kill()


def newest(client, topic):
    """Return what a topic holds."""
    return (client.payloads(topic) or [b""])[-1]


async def test_a_life_of_the_container(runner, mounts, surroundings):
    """It confirms a command, is healthy, writes only where it may, and stops at the signal."""
    client, environ = surroundings
    with runner.run(mounts, environ) as container:
        await until(lambda: newest(client, f"charger/{ONE}/availability") == b"online", WITHIN_S)
        command = {"value": 10, "expires_at": "2100-01-01T00:00:00Z"}
        client.publish(f"charger/{ONE}/set/dynamic_charger_current", json.dumps(command).encode())
        result = f"charger/{ONE}/result/dynamic_charger_current"
        await until(lambda: b'"confirmed"' in newest(client, result), WITHIN_S)

        check = runner.image.config["Healthcheck"]["Test"]
        healthy = await asyncio.to_thread(container.run, *check[1:])
        assert (check[0], healthy.returncode, healthy.stdout) == ("CMD", 0, "alive\n")
        words = ("charger-bridge", "check", "--config", CONFIG, "--connect")
        checked = await asyncio.to_thread(container.run, *words)
        assert (checked.returncode, checked.stdout.splitlines()[-1]) == (0, "ok"), checked
        who = await asyncio.to_thread(container.run, "id", "-u")
        assert who.stdout.strip() == str(UID)
        written = await asyncio.to_thread(container.run, "touch", "/opt/charger-bridge/x", "/x")
        assert written.stderr.count("Read-only file system") == 2

        status = await asyncio.to_thread(container.stop, runner.image.config["StopSignal"])
    assert status == 0
    assert json.loads(newest(client, "charger/bridge/info"))["version"] == __version__
    assert newest(client, "charger/bridge/state") == b"offline"
    assert (mounts[STORE] / "bridge.db").stat().st_uid == UID


async def test_the_page_is_there_when_asked_for(runner, mounts, surroundings):
    """Where http.enabled and http.page are set, health and page answer; else nothing listens."""
    client, environ = surroundings
    port = unused_port()
    asked = {
        "CHARGER_BRIDGE_HTTP__ENABLED": "true",
        "CHARGER_BRIDGE_HTTP__PAGE": "true",
        "CHARGER_BRIDGE_HTTP__HOST": "0.0.0.0",
        "CHARGER_BRIDGE_HTTP__PORT": str(port),
    }
    with runner.run(mounts, environ | asked):
        await until(lambda: newest(client, "charger/bridge/cloud") == b"connected", WITHIN_S)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            page, health = await http.get("/"), await http.get("/healthz/bridge")
        assert (page.status_code, health.status_code) == (200, 200)
        assert "<title>" in page.text
    with runner.run(mounts, environ) as container:
        await until(lambda: b"cloud.state" in container.log.read_bytes(), WITHIN_S)
        assert b"http.listening" not in container.log.read_bytes()


async def test_it_says_that_the_environment_beats_the_file(runner, mounts, surroundings):
    """A key that is in the file too, with another value, is named with its variable."""
    client, environ = surroundings
    with runner.run(mounts, environ) as container:
        await until(lambda: newest(client, "charger/bridge/cloud") == b"connected", WITHIN_S)
        lines = [json.loads(line) for line in container.log.read_text().splitlines()]
    (said,) = (line for line in lines if line["event"] == "config.environment_wins")
    assert said["keys"] == ["mqtt.host"]


@pytest.mark.parametrize("place", [STORE, SECRET])
async def test_what_its_user_may_not_use_is_said_with_the_uid(runner, mounts, surroundings, place):
    """A volume or a secret of another user is one line that names the path and the uid."""
    _, environ = surroundings
    os.chown(mounts[place], 0, 0)
    mounts[place].chmod(0o700)
    with runner.run(mounts, environ) as container:
        status = await asyncio.to_thread(container.ended)
        said = container.log.read_text()
    assert status != 0
    assert f"uid {UID}" in said
    assert place in said
    assert "Traceback" not in said


def test_every_extra_is_inside(runner):
    """The demonstration runs from the image, and the libraries of store and feed are there."""
    with runner.run({}, {}, "demo", "--duration", "3") as container:
        assert container.ended() == 0
    assert "set/pause" in container.log.read_text()
    packages = next((runner.image.root / "opt/charger-bridge/lib").glob("*/site-packages"))
    assert {"asyncpg", "pika"} <= {path.name for path in packages.iterdir()}


def test_nothing_of_the_machine_is_inside(image):
    """The image holds no name, address or package source of the machine that built it."""
    texts = (image.root / "etc" / name for name in ("hostname", "hosts", "resolv.conf"))
    with contextlib.suppress(FileNotFoundError):
        assert [path.read_text() for path in texts if path.exists()] in ([], [""] * 3)
    assert not (image.root / "etc" / "apt").exists()
    assert not list((image.root / "opt").rglob("pip"))

"""The Debian package in fresh Debians: installed, upgraded, removed and purged."""

import asyncio
import json
import re
import subprocess
import zipfile

import pytest

from bridge import __version__
from bridge.simulator.scenario import Scenario
from bridge.simulator.server import serve
from tests.canaries import PASSWORD
from tests.mosquitto import Mosquitto, outsider, until
from tests.packages.conftest import NEWER
from tests.packages.roots import archive
from tools.check_lock import PYTHONS, read
from tools.release import BUILD_TOOLS, LOCK
from tools.wheels import MACHINES, missing, read_wheels

INSTALL = "apt-get install -y -qq"
HOME = "/usr/lib/charger-bridge"
CONFIG = "/etc/charger-bridge/config.yaml"
SECRET = "/etc/charger-bridge/easee_password"
ENVIRONMENT = f"readlink {HOME}/environment"
POSTINST = "/var/lib/dpkg/info/charger-bridge.postinst"
# What an installation of anything leaves: logs, caches and lists of packages.
LEFT_BY_DPKG = r"^\./(var/log|var/cache|var/lib/(dpkg|apt|systemd)|etc/.*-$|tmp|run|proc|dev|files)"
EVERYTHING = "cd / && find . -xdev | sort"
# The libraries of every extra.
OF_EXTRAS = ("asyncpg", "pika", "aiohttp", "amqtt.broker", "rich")
MAIN_PID = "systemctl show -p MainPID --value charger-bridge@home"
ONE = "EH000001"
WITHIN_S = 60.0
# e_machine of an ELF file.
ELF = {"amd64": 62, "arm64": 183}


def left(listing: str) -> set[str]:
    """Return the files of a listing that dpkg itself does not keep."""
    return {line for line in listing.splitlines() if not re.match(LEFT_BY_DPKG, line)}


def test_it_installs_without_a_connection(layer):
    """Offline it installs what is inside, into its own environment, for its own user."""
    assert layer.shell("charger-bridge --version").split()[1] == __version__
    assert "charger-bridge" in layer.shell("id charger-bridge")
    layer.run(f"{HOME}/environment/bin/python", "-c", f"import {', '.join(OF_EXTRAS)}")
    modes = layer.shell(f"stat -c '%U %a' /var/lib/charger-bridge {CONFIG}").splitlines()
    assert modes == ["charger-bridge 700", "root 644"]
    assert (
        "No module named pip"
        in layer.run(f"{HOME}/environment/bin/python", "-m", "pip", check=False).stdout
    )
    told = layer.run("charger-bridge", "check", "--config", CONFIG, check=False)
    assert (told.returncode, SECRET in told.stdout) == (78, True)
    layer.shell(f"umask 077; echo {PASSWORD} >{SECRET}; charger-bridge check --config {CONFIG}")


def test_maintainer_scripts_may_run_again(layer):
    """Each maintainer script run a second time succeeds and changes nothing."""
    before = layer.shell(f"{ENVIRONMENT}; {EVERYTHING}")

    layer.shell(f"{POSTINST} configure {__version__}; {POSTINST} triggered /usr/bin/python3")
    assert left(layer.shell(f"{ENVIRONMENT}; {EVERYTHING}")) == left(before)

    layer.shell(
        "cp /var/lib/dpkg/info/charger-bridge.postrm /root/postrm;"
        "apt-get purge -y -qq charger-bridge; /root/postrm purge; /root/postrm purge"
    )


def test_another_python_gets_an_environment_of_its_own(layer):
    """When the system's Python is another one, dpkg's trigger makes the environment again."""
    before = layer.shell(ENVIRONMENT)

    layer.shell(
        f"echo 3.10 other >{HOME}/environment/.made-from;"
        "dpkg-trigger --by-package=python3-minimal /usr/bin/python3; dpkg --triggers-only --pending"
    )

    assert layer.shell(ENVIRONMENT) != before
    assert layer.shell("charger-bridge --version").split()[1] == __version__
    assert len(layer.shell(f"ls -d {HOME}/environment-*").split()) == 1


def test_an_upgrade_of_debian_keeps_it_running(layer):
    """From Debian 12 to 13, with another Python, dpkg's trigger makes the environment again."""
    if "bookworm" not in layer.lower:
        pytest.skip("there is no newer Debian here to go to")
    before = layer.shell("python3 --version; " + ENVIRONMENT).splitlines()

    layer.shell(
        f"echo 'deb {archive()} trixie main' >/etc/apt/sources.list; apt-get update -qq;"
        "apt-get full-upgrade -y -qq -o Dpkg::Options::=--force-confold",
        offline=False,
    )

    after = layer.shell("python3 --version; " + ENVIRONMENT).splitlines()
    assert before[0].startswith("Python 3.11.")
    assert after[0].startswith("Python 3.13.")
    assert before[1] != after[1]
    assert layer.shell("charger-bridge --version").split()[1] == __version__
    assert layer.shell("dpkg --audit") == ""


def test_a_wheel_that_was_changed_is_refused(layer):
    """A wheel that is not the one of the hash is not installed, and the old environment stays."""
    before = layer.shell(ENVIRONMENT)

    told = layer.shell(
        f"cd {HOME}; rm environment/.made-from; echo x | tee -a wheels/h11-*.whl;"
        "./make-environment && echo installed",
        check=False,
    )

    assert "HASHES" in told
    assert "installed" not in told.splitlines()
    assert layer.shell(ENVIRONMENT) == before
    assert len(layer.shell(f"ls -d {HOME}/environment-*").split()) == 1
    assert layer.shell("charger-bridge --version").split()[1] == __version__


def test_nothing_stays_behind(debian, layer):
    """After a purge the system has the files and users it had before."""
    before = left(debian.shell(EVERYTHING)), debian.shell("cut -d: -f1 /etc/passwd /etc/group")

    layer.shell(
        f"echo {PASSWORD} >{SECRET}; touch /var/lib/charger-bridge/store;"
        "apt-get purge -y -qq charger-bridge"
    )

    after = left(layer.shell(EVERYTHING)), layer.shell("cut -d: -f1 /etc/passwd /etc/group")
    assert after == before


@pytest.mark.anyio
async def test_a_life_of_the_service(debian, tmp_path, free_port):
    """Under systemd: set up, commanded, upgraded with its settings kept, removed, back, purged."""
    broker = Mosquitto(tmp_path, free_port)
    broker.start()
    try:
        async with serve(Scenario(chargers=1, traffic=False)) as cloud:
            setup = (
                f"--mqtt-port {free_port} --api-url {cloud.api_url} --stream-url {cloud.stream_url}"
            )
            with debian.booted() as running, outsider(free_port, "charger/#") as client:
                await asyncio.to_thread(_life, running, client, setup)
    finally:
        broker.kill()


def _life(debian, client, setup):
    """Go through the life of an installation, in a thread beside the cloud's loop."""
    installed = debian.shell(f"{INSTALL} /files/old.deb")
    assert "charger-bridge setup" in installed
    assert _state(debian) == "inactive"

    debian.shell(
        f"echo {PASSWORD} | charger-bridge setup --non-interactive --force --service --for shell"
        f" --username someone@example.com --password-stdin --mqtt-host 127.0.0.1 {setup}"
    )
    config = debian.shell(f"cat {CONFIG}")
    assert _state(debian) == "active"
    _confirm(client, 10, __version__)
    owner = "ps -o user:32= -p $(systemctl show -p MainPID --value charger-bridge)"
    assert debian.shell(owner).strip() == "charger-bridge"
    debian.shell("systemctl reload charger-bridge")
    assert "set/pause" in debian.shell("charger-bridge demo --duration 3")
    modes = debian.shell(f"stat -c '%U %a' {CONFIG} {SECRET}").splitlines()
    assert modes == ["root 640", "charger-bridge 600"]

    debian.shell(
        f"cp -p {CONFIG} /etc/charger-bridge/home.yaml;"
        f" cp -p {SECRET} /etc/charger-bridge/home_easee_password;"
        " systemctl enable --now charger-bridge@home"
    )
    instance = debian.shell(MAIN_PID)
    assert instance.strip() != "0"

    # Both the file here and the file in the package changed: dpkg keeps ours where it cannot ask.
    debian.shell(f"{INSTALL} -o Dpkg::Options::=--force-confold /files/new.deb")
    assert debian.shell(f"cat {CONFIG}") == config
    assert "older versions" in debian.shell(f"cat {CONFIG}.dpkg-dist")
    assert _state(debian) == "active"
    _confirm(client, 12, NEWER)
    assert len(debian.shell(f"ls -d {HOME}/environment-*").split()) == 1
    # An instance for another account runs from the environment that was replaced.
    assert debian.shell(MAIN_PID).strip() not in {"0", instance.strip()}
    debian.shell("systemctl disable --now charger-bridge@home")

    debian.shell("apt-get remove -y -qq charger-bridge")
    assert _state(debian) == "inactive"
    kept = debian.shell(f"cat {CONFIG}; ls /var/lib/charger-bridge {HOME} 2>&1", check=False)
    assert kept.startswith(config)
    assert "bridge.db" in kept
    assert f"cannot access '{HOME}'" in kept

    debian.shell(f"{INSTALL} /files/new.deb")
    assert _state(debian) == "active"
    _confirm(client, 14, NEWER)

    debian.shell("apt-get purge -y -qq charger-bridge")
    assert "could not be found" in debian.shell("systemctl status charger-bridge 2>&1", check=False)
    gone = debian.shell(
        "ls -d /etc/charger-bridge /var/lib/charger-bridge 2>/dev/null", check=False
    )
    assert gone == ""


def _state(debian) -> str:
    return debian.shell("systemctl is-active charger-bridge", check=False).strip()


def _confirm(client, amperes: int, version: str) -> None:
    """Wait for a gateway of this version, set a limit, and wait until the charger confirmed."""
    result = f"charger/{ONE}/result/dynamic_charger_current"
    # With an end, so that it is not taken for one that waited at the broker.
    command = {"value": amperes, "expires_at": "2100-01-01T00:00:00Z"}

    async def wait():
        seen = len(client.messages)
        await until(lambda: version in _newest(client, "charger/bridge/info").decode(), WITHIN_S)
        await until(lambda: _newest(client, "charger/bridge/state") == b"online", WITHIN_S)
        await until(lambda: _newest(client, "charger/bridge/cloud") == b"connected", WITHIN_S)
        await until(lambda: _newest(client, f"charger/{ONE}/availability") == b"online", WITHIN_S)
        client.publish(f"charger/{ONE}/set/dynamic_charger_current", json.dumps(command).encode())

        def answers():
            new = client.messages[seen:]
            return [json.loads(payload) for topic, payload, _ in new if topic == result]

        await until(lambda: any(answer["final"] for answer in answers()), WITHIN_S)
        (final,) = (answer for answer in answers() if answer["final"])
        assert final["state"] == "confirmed", json.dumps(final)

    asyncio.run(wait())


def _newest(client, topic: str) -> bytes:
    return (client.payloads(topic) or [b""])[-1]


@pytest.mark.parametrize("architecture", MACHINES)
def test_the_wheels_inside_fit_the_machine(release, tmp_path, architecture):
    """Every package is inside for each Python, and what is compiled is for this machine alone."""
    (package,) = release.glob(f"*_{architecture}.deb")
    subprocess.run(("dpkg-deb", "-x", str(package), str(tmp_path)), check=True)
    wheels = read_wheels(tmp_path / HOME.lstrip("/") / "wheels")
    names = {wheel.name for wheel in wheels}
    locked = read(LOCK.read_text())

    bundled = {each.name for each in locked if not each.marker or each.marker.evaluate()}
    assert names == bundled - set(BUILD_TOOLS) | {"charger-bridge"}
    assert list(missing(wheels, MACHINES[architecture])) == []
    for wheel in wheels:
        with zipfile.ZipFile(wheel.path) as file:
            heads = (file.read(n)[:20] for n in file.namelist() if n.endswith(".so"))
            machines = {int.from_bytes(head[18:20], "little") for head in heads}
        assert machines <= {ELF[architecture]}
    assert len(PYTHONS) == len([w for w in wheels if w.name == "msgspec"])

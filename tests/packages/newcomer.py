"""Install in every way as a stranger would, to the first confirmed command: ``make newcomer``.

Each way begins in an empty folder with an empty environment (``env -i``, a home and the plain
PATH), beside a broker and a simulated cloud, and follows the instructions: install, set up, start,
one command with ``mosquitto_pub``. What is downloaded once for all is not counted: the source, the
release, the root of a Debian. Root alone can do them all.
"""

import argparse
import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.report import grid
from bridge.simulator.scenario import Scenario
from bridge.simulator.server import serve
from tests.mosquitto import Mosquitto
from tests.packages import roots
from tests.packages.containers import UID, Runner, unpacked
from tests.ports import unused_port
from tools.check_lock import ROOT
from tools.image import Buildah, base
from tools.release import copy_source, source_date, unpack

PLAIN_PATH: Final = "/usr/local/bin:/usr/bin:/bin"
PAGE: Final = ROOT / "docs" / "install.md"
TABLE: Final = re.compile(r"(<!-- newcomer -->\n).*?(<!-- end -->)", re.DOTALL)
PASSWORD: Final = "any"
ONE: Final = "EH000001"
OF_THE_DEMO: Final = "EH000002"
WITHIN_S: Final = 600.0
ENDS_WITHIN_S: Final = 30.0
LOOK_S: Final = 0.05


class StumbledError(Exception):
    """What a newcomer would have seen instead of a confirmed command."""


@dataclass
class Place:
    """Where a way begins, and what is around it.

    Attributes:
        folder: Empty.
        release: What `make release` left.
        port: Of the broker.
        api_url: Of the simulated cloud.
        stream_url: Of its hub.
        begun: When the first line was entered.
        installed: When the program was there.
    """

    folder: Path
    release: Path
    port: int
    api_url: str
    stream_url: str
    begun: float = field(default_factory=time.perf_counter)
    installed: float = 0.0

    @property
    def log(self) -> Path:
        """What the program that runs has printed."""
        return self.folder / "log"

    @property
    def environ(self) -> dict[str, str]:
        """An environment with nothing in it."""
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        return {"HOME": str(home), "PATH": PLAIN_PATH}

    @property
    def setup(self) -> str:
        """What the newcomer answers to `charger-bridge setup`."""
        return (
            "--non-interactive --force --for shell --username someone@example.com --password-stdin"
            f" --mqtt-host 127.0.0.1 --mqtt-port {self.port}"
            f" --api-url {self.api_url} --stream-url {self.stream_url}"
        )

    def shell(self, script: str) -> None:
        """Enter lines into a shell in the folder."""
        done = subprocess.run(
            ("/bin/sh", "-ec", script),
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=WITHIN_S,
        )
        if done.returncode:
            raise StumbledError(f"{script}\nstatus {done.returncode}\n{done.stdout}")

    @contextlib.contextmanager
    def running(self, *command: str | Path) -> Iterator[None]:
        """Run a program in the folder, and end it as Ctrl-C does."""
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(timeout=ENDS_WITHIN_S)

    def printed(self, pattern: str) -> re.Match[str]:
        """Wait until the program that runs has printed something.

        Raises:
            StumbledError: It did not.
        """
        give_up_at = time.perf_counter() + WITHIN_S
        while time.perf_counter() < give_up_at:
            if found := re.search(pattern, self.log.read_text()):
                return found
            time.sleep(LOOK_S)
        raise StumbledError(f"no {pattern}:\n{self.log.read_text()}")

    def mark_installed(self) -> None:
        """Note that the program is there."""
        self.installed = time.perf_counter()


Way = Callable[[Place], AbstractContextManager[None]]


@contextlib.contextmanager
def make_demo(place: Place) -> Iterator[None]:
    """Run `make demo` in the folder of the source; everything else it brings itself."""
    source = place.folder / "source"
    copy_source(source)
    place.begun = time.perf_counter()
    with place.running("make", "--directory", source, "demo"):
        place.printed("charger-bridge: ready\n")
        place.mark_installed()
        place.port = int(place.printed(r"mqtt://127\.0\.0\.1:(\d+)")[1])
        yield


@contextlib.contextmanager
def from_source(place: Place) -> Iterator[None]:
    """Install as README says under "From the source"."""
    copy_source(place.folder / "source")
    place.begun = time.perf_counter()
    place.shell(
        "cd source; python3 -m venv ../environment;"
        "../environment/bin/pip install --no-deps --require-hashes -r requirements/run.txt;"
        "../environment/bin/pip install --no-deps --no-build-isolation ."
    )
    with _set_up_and_running(place):
        yield


@contextlib.contextmanager
def wheel(place: Place) -> Iterator[None]:
    """Install the wheel with pip."""
    (file,) = place.release.glob("*.whl")
    place.shell(f"python3 -m venv environment; environment/bin/pip install {file}")
    with _set_up_and_running(place):
        yield


@contextlib.contextmanager
def _set_up_and_running(place: Place) -> Iterator[None]:
    place.mark_installed()
    program = place.folder / "environment" / "bin" / "charger-bridge"
    config, store = place.folder / "config.yaml", place.folder / "bridge.db"
    place.shell(
        f"echo {PASSWORD} | {program} setup {place.setup} --config {config} --store {store}"
    )
    with place.running(program, "run", "--config", config):
        yield


def debian(suite: str) -> Way:
    """Return the way of the Debian package, in a fresh Debian with systemd and no network."""

    @contextlib.contextmanager
    def way(place: Place) -> Iterator[None]:
        layer = roots.Layer(str(roots.made(suite)), place.folder / "layer", place.release)
        (package,) = place.release.glob(f"*_{roots.NATIVE}.deb")
        with layer.booted() as machine:
            place.begun = time.perf_counter()
            machine.shell(f"apt-get install -y /files/{package.name}")
            place.mark_installed()
            machine.shell(f"echo {PASSWORD} | charger-bridge setup {place.setup} --service")
            yield

    return way


@contextlib.contextmanager
def image(place: Place) -> Iterator[None]:
    """Load the image and run it, as docs/install.md has it."""
    (archive,) = place.release.glob(f"*-{roots.NATIVE}.image.tar.gz")
    secret, config, store = (place.folder / name for name in ("secret", "config.yaml", "store"))
    config.write_text("easee: {username: someone@example.com}\n")
    secret.write_text(PASSWORD)
    store.mkdir()
    for path in (secret, store):
        os.chown(path, UID, UID)
    mounts = {
        "/etc/charger-bridge/config.yaml": config,
        "/run/secrets/easee_password": secret,
        "/var/lib/charger-bridge": store,
    }
    environ = _settings(place) | {
        "CHARGER_BRIDGE_EASEE__PASSWORD_FILE": "/run/secrets/easee_password"
    }
    with unpacked(archive, place.folder) as found:
        place.mark_installed()
        with Runner(found, place.folder).run(mounts, environ):
            yield


@contextlib.contextmanager
def addon(place: Place) -> Iterator[None]:
    """Build the add-on as the Supervisor does, and start it with the options of a user."""
    (archive,) = place.release.glob("*-home-assistant.tar.gz")
    python = base("python3-venv", roots.NATIVE, source_date())
    data = place.folder / "data"
    data.mkdir()
    options = {"username": "someone@example.com", "password": PASSWORD}
    broker = {"mqtt_host": "127.0.0.1", "mqtt_port": place.port}
    (data / "options.json").write_text(json.dumps(options | broker))
    place.begun = time.perf_counter()
    with tarfile.open(archive) as packed:
        unpack(packed, place.folder)
    (source,) = place.folder.glob("*-home-assistant/charger_bridge")
    builder = Buildah(place.folder, source_date())
    builder.load(python, "localhost/python", roots.NATIVE)
    builder.build(source, roots.NATIVE, {"PYTHON": "localhost/python"})
    builder.write(place.folder / "saved.tar")
    (place.folder / "unpacked").mkdir()
    with unpacked(place.folder / "saved.tar", place.folder / "unpacked") as found:
        place.mark_installed()
        environ = _settings(place) | {"CHARGER_BRIDGE_HTTP__PORT": str(unused_port())}
        with Runner(found, place.folder).run({"/data": data}, environ):
            yield


def _settings(place: Place) -> Mapping[str, str]:
    """Return the variables that name the surroundings."""
    return {
        "CHARGER_BRIDGE_EASEE__API_URL": place.api_url,
        "CHARGER_BRIDGE_EASEE__STREAM_URL": place.stream_url,
        "CHARGER_BRIDGE_MQTT__HOST": "127.0.0.1",
        "CHARGER_BRIDGE_MQTT__PORT": str(place.port),
    }


# The name in the table, the key for the command line, and the way.
WAYS: Final[Mapping[str, tuple[str, Way]]] = {
    "demo": ("`make demo` in the source", make_demo),
    "source": ("from the source, with its lock", from_source),
    "wheel": ("the wheel, with pip", wheel),
    "debian12": ("the Debian package, Debian 12", debian("bookworm")),
    "debian13": ("the Debian package, Debian 13", debian("trixie")),
    "image": ("the container image", image),
    "addon": ("the Home Assistant add-on, built on the machine", addon),
}


def confirm(port: int, serial: str) -> None:
    """Send a first command and wait until the charger confirmed it, with mosquitto's clients."""
    at = ("-h", "127.0.0.1", "-p", str(port))
    one = f"charger/{serial}"
    watch = ("mosquitto_sub", *at, "-v", "-t", f"{one}/availability", "-t", f"{one}/result/#")
    send = ("mosquitto_pub", *at, "-t", f"{one}/set/dynamic_charger_current", "-m", "10")
    with subprocess.Popen(watch, stdout=subprocess.PIPE, text=True) as process:
        timer = threading.Timer(WITHIN_S, process.kill)
        timer.start()
        try:
            seen = _wait_for(process, "availability online")
            subprocess.run(send, check=True)
            _wait_for(process, '"confirmed"', seen)
        finally:
            timer.cancel()
            process.kill()


def _wait_for(process: subprocess.Popen[str], text: str, before: str = "") -> str:
    """Read lines until one contains a text; return all that was read."""
    for line in process.stdout or ():
        before += line
        if '"final":true' in line and text not in line:
            break
        if text in line:
            return before
    raise StumbledError(f"no {text}:\n{before}")


async def walk(key: str, release: Path) -> list[str]:
    """Go one way; return its row of the table."""
    name, way = WAYS[key]
    with tempfile.TemporaryDirectory() as temporary:
        around = Path(temporary) / "around"
        around.mkdir()
        broker = Mosquitto(around, unused_port())
        broker.start()
        try:
            async with serve(Scenario(chargers=1, traffic=False)) as cloud:
                folder = Path(temporary) / "empty"
                folder.mkdir()
                place = Place(folder, release, broker.port, cloud.api_url, cloud.stream_url)
                seconds = await asyncio.to_thread(_measure, place, way)
        finally:
            broker.kill()
    return [name, *(f"{each:.0f} s" for each in (*seconds, sum(seconds)))]


def _measure(place: Place, way: Way) -> tuple[float, float]:
    """Return the seconds of the installation, and those from there to the confirmed command."""
    serial = OF_THE_DEMO if way is make_demo else ONE
    with way(place):
        confirm(place.port, serial)
        confirmed = time.perf_counter()
    return place.installed - place.begun, confirmed - place.installed


def main(argv: Sequence[str]) -> int:
    """Go the ways that are named, or all of them, and write the table into the page."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition(":")[0])
    parser.add_argument("release", type=Path)
    parser.add_argument("ways", nargs="*", default=list(WAYS), metavar="WAY", help=" ".join(WAYS))
    arguments = parser.parse_args(argv)
    rows = []
    for key in arguments.ways:
        try:
            rows.append(asyncio.run(walk(key, arguments.release.resolve())))
        except (StumbledError, roots.CannotBeMade, AssertionError) as error:
            sys.stderr.write(f"{key}: {error}\n")
            return 1
        sys.stdout.write("  ".join(rows[-1]) + "\n")
        sys.stdout.flush()
    if arguments.ways == list(WAYS):
        heads = ["way", "installed after", "first confirmed command", "in total"]
        text = TABLE.sub(rf"\1\n{grid(heads, rows)}\n\n\2", PAGE.read_text())
        PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

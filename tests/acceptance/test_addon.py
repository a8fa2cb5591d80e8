"""The Home Assistant add-on: what it declares, and its entry point beside a Supervisor."""

import asyncio
import contextlib
import http.server
import importlib.util
import json
import os
import re
import signal
import sys
import threading
from pathlib import Path

import httpx
import pytest
import yaml

from bridge.config.keys import BY_VARIABLE
from bridge.config.loading import load
from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.easee.rest_requests import is_serial
from bridge.simulator.scenario import Scenario
from bridge.simulator.server import serve
from tests.acceptance.conftest import PASSWORD, Witness
from tests.ports import unused_port

ADDON = Path(__file__).parent.parent.parent / "deploy" / "home-assistant" / "charger_bridge"
CONFIG = yaml.safe_load((ADDON / "config.yaml").read_text())
LANGUAGES = ("de", "en", "nb", "nl", "sv")
ONE = "EH000001"
TOKEN = "token-of-the-supervisor"
INGRESS = "127.0.0.9"


def imported():
    """Import the entry point, which is no module of a package."""
    spec = importlib.util.spec_from_file_location("addon_run", ADDON / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RUN = imported()


@contextlib.contextmanager
def supervisor(answer, status=200):
    """Answer as the Supervisor does, to the add-on's token alone."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            known = self.headers["Authorization"] == f"Bearer {TOKEN}"
            asked = self.path == "/services/mqtt"
            self.send_response(status if known and asked else 403)
            self.end_headers()
            self.wfile.write(json.dumps({"result": "ok", "data": answer}).encode())

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def options(**changed):
    """Return the options a user set, the others as the add-on has them."""
    return CONFIG["options"] | {"username": "someone@example.com", "password": PASSWORD} | changed


def test_every_option_is_a_key_and_is_named_in_every_language():
    """Options, keys, defaults and translations name the same things."""
    assert set(CONFIG["schema"]) == set(RUN.OPTIONS)
    assert set(CONFIG["options"]) <= set(CONFIG["schema"])
    variables = {RUN.PREFIX + name for name in (*RUN.OPTIONS.values(), *RUN.FIXED)}
    assert variables <= set(BY_VARIABLE)
    for language in LANGUAGES:
        text = (ADDON / "translations" / f"{language}.yaml").read_text()
        named = yaml.safe_load(text)["configuration"]
        assert list(named) == list(CONFIG["schema"]), language
        assert all(entry["name"] for entry in named.values())
    assert {path.stem for path in (ADDON / "translations").iterdir()} == set(LANGUAGES)


def test_the_schema_admits_what_the_gateway_does():
    """Choices and ranges of the options are those of the keys they set."""
    for name, written in CONFIG["schema"].items():
        kind = BY_VARIABLE[RUN.PREFIX + RUN.OPTIONS[name]].kind
        schema = written[0] if isinstance(written, list) else written
        if choices := re.fullmatch(r"list\((.*)\)\??", schema):
            for choice in choices[1].split("|"):
                assert kind.read(choice) == choice
        elif limits := re.fullmatch(r"int\((\d+),(\d+)\)\??", schema):
            assert [kind.read(limit) for limit in limits.groups()] == [6, 80]
        assert kind.many == isinstance(written, list)


def test_no_group_and_no_serial_of_the_gateway_is_left_out():
    """Every group of commands can be chosen, and every serial that the gateway takes."""
    (groups,), (serials,) = (CONFIG["schema"][name] for name in ("commands", "chargers"))
    listed = re.fullmatch(r"list\((.*)\)", groups)[1].split("|")
    matches = re.compile(re.fullmatch(r"match\((.*)\)", serials)[1])

    assert sorted(listed) == sorted({spec.group for spec in CATALOGUE.values()})
    for serial in (
        "EH123456",
        "ABCDEF",
        "123456",
        "EH12345678901234",
        "EH12345",
        "eh123456",
        "E" * 17,
    ):
        assert (matches.match(serial) is not None) == is_serial(serial), serial


def test_defaults_are_the_gateways_own(tmp_path):
    """Left alone, the options change nothing but the account and what every add-on has."""
    broker = {"mqtt_host": "core-mosquitto", "mqtt_port": 1883, "mqtt_tls": False}
    variables = RUN.settings(RUN_DEFAULTS | broker, tmp_path)
    found = load(None, variables)
    assert (found.mqtt.host, found.mqtt.tls.enabled) == ("core-mosquitto", False)
    assert found.commands == type(found.commands)()
    assert found.publish == type(found.publish)()
    assert found.http.proxy == "172.30.32.2"
    assert found.store.path == str(tmp_path / "store" / "bridge.db")


RUN_DEFAULTS = options()


@pytest.mark.parametrize(
    ("changed", "answer", "said"),
    [
        ({"username": None}, {}, "set the option username"),
        ({"password": ""}, {}, "set the option password"),
        ({}, None, "install the add-on Mosquitto broker"),
    ],
)
def test_what_is_missing_is_said(tmp_path, changed, answer, said):
    """A missing option or broker ends the add-on with one line that says what to do."""
    (tmp_path / "options.json").write_text(json.dumps(options(**changed)))
    with supervisor(answer, 200 if answer is not None else 400) as url:
        environ = {"SUPERVISOR": url, "SUPERVISOR_TOKEN": TOKEN, "ADDON_DATA": str(tmp_path)}
        with pytest.raises(SystemExit) as raised:
            RUN.main(environ)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def process(pid):
    """Return the environment and the owner of a process."""
    folder = Path(f"/proc/{pid}")
    return (folder / "environ").read_bytes(), folder.stat().st_uid


@pytest.mark.anyio
@pytest.mark.acceptance
async def test_the_entry_point_beside_a_supervisor(tmp_path, mosquitto):
    """Options and service make a gateway that confirms a command and serves its page to ingress."""
    (tmp_path / "options.json").write_text(json.dumps(options(chargers=[ONE])))
    (tmp_path / "options.json").chmod(0o600)
    port = unused_port()
    service = {"host": "127.0.0.1", "port": mosquitto.port, "ssl": False, "protocol": "3.1.1"}
    async with contextlib.AsyncExitStack() as stack:
        cloud = await stack.enter_async_context(serve(Scenario(chargers=2, traffic=False)))
        url = stack.enter_context(supervisor(service | {"username": "addons", "password": "p" * 8}))
        witness = Witness(mosquitto.port, judges=False)
        await witness.start(("charger/#", "homeassistant/#"))
        stack.push_async_callback(witness.stop)
        gateway = await asyncio.create_subprocess_exec(
            sys.executable,
            str(ADDON / "run.py"),
            env={
                "PATH": os.environ["PATH"],
                "ADDON_DATA": str(tmp_path),
                # Another user may not reach this interpreter; the container's may (tests/packages).
                "ADDON_UID": str(os.geteuid()),
                "SUPERVISOR": url,
                "SUPERVISOR_TOKEN": TOKEN,
                "CHARGER_BRIDGE_EASEE__API_URL": cloud.api_url,
                "CHARGER_BRIDGE_EASEE__STREAM_URL": cloud.stream_url,
                "CHARGER_BRIDGE_HTTP__PORT": str(port),
                "CHARGER_BRIDGE_HTTP__PROXY": INGRESS,
            },
            stderr=asyncio.subprocess.PIPE,
        )
        reading = asyncio.get_running_loop().create_task(gateway.stderr.read())
        try:
            await witness.value(f"charger/{ONE}/availability", "online")
            witness.publish(f"charger/{ONE}/set/dynamic_charger_current", "10")
            final = await witness.final(ONE, "dynamic_charger_current")
            await witness.until(
                lambda: any(t.startswith("homeassistant/device/") for t in witness.retained),
                "discovery by Home Assistant",
            )
            environ, owner = process(gateway.pid)
            transport = httpx.AsyncHTTPTransport(local_address=INGRESS)
            async with httpx.AsyncClient(transport=transport) as browser:
                typed = {"host": "homeassistant.local:8123"}
                page = await browser.get(f"http://127.0.0.1:{port}/", headers=typed)
        finally:
            with contextlib.suppress(ProcessLookupError):
                gateway.send_signal(signal.SIGTERM)
            status = await asyncio.wait_for(gateway.wait(), 30)
            said = (await reading).decode()
    assert (status, final["state"], page.status_code) == (0, "confirmed", 200), said
    assert not any(topic.startswith("charger/EH000002/") for topic in witness.retained)
    assert TOKEN.encode() not in environ
    assert owner == (tmp_path / "store" / "bridge.db").stat().st_uid
    assert PASSWORD not in said

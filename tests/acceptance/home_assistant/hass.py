"""Home Assistant as a process: set up over its own API, read and switched over REST.

What is waited for is looked at when Home Assistant says that something changed, so a busy machine
is not kept busier by questions. The limits only end a test that waits for what never comes.
"""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import websockets

ROOT = Path(__file__).resolve().parents[3]
# Its first start makes a database and reads 500 MB of modules, on a machine that does other things.
START_TIMEOUT_S = 600.0
PATIENCE_S = 300.0
POLL_S = 0.5
# A condition is looked at again so long after the last event at the latest.
LOOK_AGAIN_S = 10.0
# Behind an event: those that come together are looked at together.
GATHER_S = 0.2
EVENTS = ("state_changed", "entity_registry_updated", "device_registry_updated")
USER = "someone"
CONFIGURATION = """\
homeassistant: {{name: Test, time_zone: UTC, unit_system: metric}}
http: {{server_host: 127.0.0.1, server_port: {port}}}
logger: {{default: warning}}
"""


def binary(version: str, name: str) -> Path:
    """Tell where a program of an installed version is, if it is."""
    return ROOT / ".acceptance" / f"home-assistant-{version}" / "bin" / name


def command(version: str, name: str, folder: Path = ROOT) -> tuple[str, ...]:
    """Return how a program of an installed version is started, and sees a folder.

    Where its Python is that of another Debian, the program is started in there.
    """
    program = binary(version, name)
    noted = program.parents[1] / ".root"
    if not noted.exists():
        return (str(program),)
    enter = ROOT / "tools" / "enter_root.sh"
    return (str(enter), noted.read_text().strip(), str(folder), str(program))


def is_filled_in(field: dict[str, Any]) -> bool:
    """Return whether a form sends a field that nobody changed."""
    return "default" in field or bool(field.get("required"))


def untouched(field: dict[str, Any]) -> tuple[str, object]:
    """Return what it sends for it."""
    (kind, options), *_ = field["selector"].items()
    otherwise = options["options"][0] if kind == "select" else False
    return field["name"], field.get("default", otherwise)


@dataclass
class HomeAssistant:
    """One installation in a folder of its own."""

    version: str
    folder: Path
    port: int
    token: str = ""
    process: asyncio.subprocess.Process | None = None
    client: httpx.AsyncClient = field(default_factory=lambda: httpx.AsyncClient(timeout=PATIENCE_S))
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _listener: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What it warned of since its last start."""
        return (self.folder / "home-assistant.log").read_text()

    async def start(self) -> None:
        """Start it and wait until it answers."""
        self.folder.mkdir(exist_ok=True)
        text = CONFIGURATION.format(port=self.port)
        (self.folder / "configuration.yaml").write_text(text)
        self.process = await asyncio.create_subprocess_exec(
            *command(self.version, "hass", self.folder),
            "--skip-pip",
            "-c",
            str(self.folder),
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder)},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(START_TIMEOUT_S):
            while not await self._answers():
                assert self.process.returncode is None, self.log
                await asyncio.sleep(POLL_S)

    async def _answers(self) -> bool:
        try:
            if not self.token:
                found = await self.client.get(f"{self.url}/api/onboarding")
                return found.status_code == 200
            found = await self.client.get(f"{self.url}/api/config", headers=self._headers)
            return found.status_code == 200 and found.json()["state"] == "RUNNING"
        except httpx.TransportError:
            return False

    async def stop(self) -> None:
        """End it the polite way."""
        if self._listener is not None:
            self._listener.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._listener
            self._listener = None
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await self.process.wait()
            except TimeoutError:
                self.process.kill()
                await self.process.wait()

    async def set_up(self, broker_port: int) -> None:
        """Make a user, log in, and add the broker as a person would."""
        client_id = f"{self.url}/"
        person = {"name": USER, "username": USER, "password": "throw-away", "language": "en"}
        answer = await self.client.post(
            f"{self.url}/api/onboarding/users", json=person | {"client_id": client_id}
        )
        grant = {"grant_type": "authorization_code", "code": answer.json()["auth_code"]}
        tokens = await self.client.post(
            f"{self.url}/auth/token", data=grant | {"client_id": client_id}
        )
        # Good for half an hour, which is longer than any test.
        self.token = tokens.json()["access_token"]
        async with asyncio.timeout(START_TIMEOUT_S):
            while not await self._answers():  # noqa: ASYNC110 - another process
                await asyncio.sleep(POLL_S)
        flows = "/api/config/config_entries/flow"
        flow = await self._post(flows, {"handler": "mqtt", "show_advanced_options": False})
        broker: dict[str, object] = {"broker": "127.0.0.1", "port": broker_port}
        # Newer forms have a section of other settings, which a person leaves as it is.
        broker |= {
            one["name"]: dict(map(untouched, filter(is_filled_in, one["schema"])))
            for one in flow["data_schema"]
            if "schema" in one
        }
        done = await self._post(f"{flows}/{flow['flow_id']}", broker)
        assert done["type"] == "create_entry", done

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    async def _post(self, path: str, body: object) -> Any:
        answer = await self.client.post(self.url + path, json=body, headers=self._headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def call(self, service: str, entity_id: str, **data: object) -> None:
        """Call a service on an entity, e.g. ``switch.turn_on``."""
        path = "/api/services/" + service.replace(".", "/")
        await self._post(path, {"entity_id": entity_id, **data})

    async def states(self) -> dict[str, dict[str, Any]]:
        """Every entity that has a state, by entity id."""
        answer = await self.client.get(f"{self.url}/api/states", headers=self._headers)
        return {state["entity_id"]: state for state in answer.json()}

    @contextlib.asynccontextmanager
    async def _socket(self) -> AsyncIterator[Any]:
        """Open its WebSocket interface and log in."""
        address = self.url.replace("http", "ws", 1) + "/api/websocket"
        limits = {"max_size": None, "open_timeout": PATIENCE_S, "ping_timeout": None}
        async with websockets.connect(address, **limits) as socket:
            await socket.recv()
            await socket.send(json.dumps({"type": "auth", "access_token": self.token}))
            await socket.recv()
            yield socket

    async def registry(self, what: str = "entity") -> list[dict[str, Any]]:
        """What its registry of entities or devices holds."""
        async with self._socket() as socket:
            await socket.send(json.dumps({"id": 1, "type": f"config/{what}_registry/list"}))
            return json.loads(await socket.recv())["result"]

    def _attend(self) -> None:
        """Listen from now on, also after a restart."""
        if self._listener is None or self._listener.done():
            self._listener = asyncio.get_running_loop().create_task(self._listen())

    async def _listen(self) -> None:
        """Note that something changed, whenever it says so."""
        with contextlib.suppress(OSError, websockets.WebSocketException):
            async with self._socket() as socket:
                for number, kind in enumerate(EVENTS, 1):
                    asked = {"id": number, "type": "subscribe_events", "event_type": kind}
                    await socket.send(json.dumps(asked))
                async for _ in socket:
                    self._changed.set()

    async def _wait_for(
        self, look: Callable[[], Awaitable[Any]], condition: Any, what: Callable[[Any], str]
    ) -> tuple[Any, Any]:
        """Look again after each change until a condition holds; return what was seen and its value.

        Args:
            look: Reads what the condition is over.
            condition: What is waited for.
            what: Says what was seen last, where it never comes.
        """
        seen: Any = None
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    self._attend()
                    self._changed.clear()
                    seen = await look()
                    if value := condition(seen):
                        return seen, value
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(LOOK_AGAIN_S):
                            await self._changed.wait()
                    await asyncio.sleep(GATHER_S)
        except TimeoutError:
            raise AssertionError(what(seen)) from None

    async def devices(self, condition: Any) -> list[dict[str, Any]]:
        """Wait until a condition over its devices that are chargers holds; return them."""

        async def look() -> list[dict[str, Any]]:
            listed = await self.registry("device")
            return [one for one in listed if one["manufacturer"] == "Easee"]

        return (await self._wait_for(look, condition, lambda all_: f"its devices are {all_}"))[0]

    async def registered(self, condition: Any) -> dict[str, dict[str, Any]]:
        """Wait until a condition over its MQTT entities by unique id holds; return them."""

        async def look() -> dict[str, dict[str, Any]]:
            listed = [e for e in await self.registry() if e["platform"] == "mqtt"]
            return {entity["unique_id"]: entity for entity in listed}

        def told(found: Any) -> str:
            return f"its registry holds {sorted(found or ())}"

        return (await self._wait_for(look, condition, told))[0]

    async def until(self, condition: Any, what: str) -> Any:
        """Wait until a condition over the states holds, and return its value."""

        def told(states: Any) -> str:
            shown = {key: state["state"] for key, state in (states or {}).items()}
            return f"{what} did not happen: {shown}"

        return (await self._wait_for(self.states, condition, told))[1]

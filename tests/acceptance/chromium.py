"""A headless Chromium, driven over its debugging protocol."""

import asyncio
import base64
import contextlib
import json
import re
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

from tests.conftest import PATIENCE_S

# What the browser says of a question to a page that went away meanwhile.
NAVIGATED = -32000
BINARY = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    "--remote-debugging-port=0",
)
_LISTENING = re.compile(rb"DevTools listening on ws://([^/]+)/")


class Replaced(Exception):
    """Another page stands where the one was that was asked."""


@dataclass
class Tab:
    """One page, and everything it asked for or complained of."""

    socket: ClientConnection
    events: list[dict[str, Any]] = field(default_factory=list)
    _answers: dict[int, asyncio.Future[Any]] = field(default_factory=dict)

    async def listen(self) -> None:
        """Take what the browser says until it is gone."""
        async for text in self.socket:
            message = json.loads(text)
            if "id" in message:
                self._answers.pop(message["id"]).set_result(message)
            else:
                self.events.append(message)

    async def call(self, method: str, **params: Any) -> Any:
        """Have something done; return its result."""
        number = len(self.events) * 1000 + len(self._answers)
        while number in self._answers:
            number += 1
        future = self._answers[number] = asyncio.get_running_loop().create_future()
        await self.socket.send(json.dumps({"id": number, "method": method, "params": params}))
        message = await asyncio.wait_for(future, PATIENCE_S)
        if message.get("error", {}).get("code") == NAVIGATED:
            raise Replaced(method)
        assert "error" not in message, message
        return message["result"]

    async def open(self, url: str) -> None:
        """Go to a page, listening to all it does."""
        for domain in ("Page", "Network", "Runtime", "Log"):
            await self.call(f"{domain}.enable")
        await self.call("Page.navigate", url=url)

    async def ask(self, expression: str) -> Any:
        """Evaluate an expression in the page."""
        found = await self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def until(self, expression: str) -> None:
        """Wait until an expression holds in the page, or in the one that is being loaded."""
        # The page waits, not we. One that is replaced meanwhile is asked anew.
        careful = f"""new Promise(done => {{
            const ends = performance.now() + 500;
            const look = () => {{
                let holds = false;
                try {{ holds = Boolean({expression}); }} catch {{ holds = false; }}
                if (holds || performance.now() > ends) done(holds);
                else setTimeout(look, 20);
            }};
            look();
        }})"""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                with contextlib.suppress(Replaced):
                    if await self.ask(careful):
                        return

    async def look(self, *, width: int, height: int, dark: bool, still: bool = True) -> None:
        """Choose the screen and the person's wishes."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        features = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce" if still else "no-preference"},
        ]
        await self.call("Emulation.setEmulatedMedia", features=features)

    async def picture(self, path: Path) -> None:
        """Write what is to be seen as a PNG."""
        found = await self.call("Page.captureScreenshot", format="png", optimizeForSpeed=False)
        await asyncio.to_thread(path.write_bytes, base64.b64decode(found["data"]))

    @property
    def requested(self) -> set[str]:
        """Every address the page asked for."""
        wanted = "Network.requestWillBeSent"
        return {e["params"]["request"]["url"] for e in self.events if e["method"] == wanted}

    @property
    def complaints(self) -> list[dict[str, Any]]:
        """Errors and warnings on its console."""
        kinds = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
        return [e for e in self.events if e["method"] in kinds]


@contextlib.asynccontextmanager
async def browsing(profile: Path) -> AsyncIterator[Tab]:
    """Run a Chromium with a new profile; yield its one tab."""
    process = await asyncio.create_subprocess_exec(
        str(BINARY),
        *FLAGS,
        f"--user-data-dir={profile}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        address = await asyncio.wait_for(_address(process.stderr), PATIENCE_S)
        async with asyncio.TaskGroup() as tasks:
            draining = tasks.create_task(process.stderr.read())
            async with httpx.AsyncClient(trust_env=False) as client:
                pages = (await client.get(f"http://{address}/json/list")).json()
            url = next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
            async with connect(url, max_size=None, proxy=None) as socket:
                tab = Tab(socket)
                listening = tasks.create_task(tab.listen())
                yield tab
                listening.cancel()
            process.terminate()
            await draining
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await process.wait()


async def _address(stderr: asyncio.StreamReader) -> str:
    while line := await stderr.readline():
        if found := _LISTENING.match(line):
            return found[1].decode()
    raise EOFError("the browser ended")

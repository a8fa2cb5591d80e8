"""``make soak-late``: packets to the cloud vanish, and no command arrives after its time.

The real gateway, as shipped, between a real mosquitto and the simulated cloud, all in a network of
their own. A door before the cloud, which speaks TLS or does not, writes down when the last byte of
each request came. Three chargers get a command each, with another time to live, and then:

========  ============================================================
fate      the gateway
========  ============================================================
alive     goes on
killed    dies (SIGKILL) while the requests are in the kernel
stopped   stands still (SIGSTOP) from then on, until everything is over
========  ============================================================

``kept``: the connections to the cloud were in use before; else new ones have to be made.
"""

import asyncio
import contextlib
import itertools
import json
import re
import signal
import ssl
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import trustme

from bridge.simulator.scenario import Scenario
from bridge.simulator.server import serve
from tests.acceptance.conftest import Witness, configuration, running
from tests.mosquitto import Mosquitto
from tests.ports import unused_port
from tests.soak.script import say, verdict
from tests.vanish import Vanishing, namespace

HOLES_S: Final = (3.0, 8.0, 20.0, 60.0)
TTLS_S: Final = (2, 5, 30)
FATES: Final = ("alive", "killed", "stopped")
AT_ONCE: Final = 4
COMMAND: Final = "led_strip_brightness"
LATE_AFTER_S: Final = 0.5
HEARD_S: Final = 0.3
# The requests have left the gateway by then; the hole has begun before them.
FATE_AFTER_S: Final = 0.7
# A hole that ends this much before a command's time is survived: the kernel tries again so often.
SURVIVED_S: Final = 1.0
_HEAD: Final = re.compile(rb"(\w+) (\S+) HTTP/1.1\r\n(?:[^\r\n]+\r\n)*\r\n")
_LENGTH: Final = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")


@dataclass(frozen=True)
class Case:
    """One hole.

    Attributes:
        hole_s: How long packets vanish.
        tls: The cloud speaks it.
        fate: What becomes of the gateway.
        kept: Its connections were in use before.
        ttls_s: The time of each command.
    """

    hole_s: float
    tls: bool
    fate: str
    kept: bool
    ttls_s: tuple[int, ...] = TTLS_S

    def __str__(self) -> str:
        """Say what it is in a few words."""
        words = (
            f"{self.hole_s:g} s",
            "tls" if self.tls else "plain",
            self.fate,
            "kept" if self.kept else "new",
        )
        return " ".join(words)


@dataclass
class Outcome:
    """What came of it, by time to live.

    Attributes:
        arrived_s: When each request for the command was complete at the cloud, after the command.
        states: Its final answer, of those that had to survive.
        lost: Packets that vanished.
    """

    arrived_s: dict[str, list[float]] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    lost: int = 0


class Door:
    """Passes on what comes for the cloud, and knows when the last byte of each request came.

    Args:
        to: The cloud's port.
        tls: How to speak TLS, or None.
    """

    def __init__(self, to: int, tls: ssl.SSLContext | None) -> None:
        self._to = to
        self._tls = tls
        self.came: list[tuple[float, str]] = []
        self._open: dict[asyncio.StreamWriter, _Noting] = {}

    @contextlib.asynccontextmanager
    async def open(self, port: int) -> Any:
        """Be there for as long as the block lasts."""
        server = await asyncio.start_server(self._pass_on, "127.0.0.1", port, ssl=self._tls)
        try:
            yield
        finally:
            server.close()
            for writer in self._open:
                writer.close()

    def hang_up(self) -> None:
        """End every connection but the hub's; the gateway has to make new ones."""
        for writer, noting in self._open.items():
            if not noting.is_hub:
                writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, to = await asyncio.open_connection("127.0.0.1", self._to)
        noting = self._open[writer] = _Noting(self.came)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_pump(there, writer, lambda _: None))
            tasks.create_task(_pump(reader, to, noting))
        del self._open[writer]


class _Noting:
    """Cuts a stream into requests.

    Attributes:
        is_hub: What follows are frames.
    """

    def __init__(self, came: list[tuple[float, str]]) -> None:
        self._came = came
        self._held = b""
        self.is_hub = False

    def __call__(self, data: bytes) -> None:
        self._held += data
        while not self.is_hub and (head := _HEAD.match(self._held)):
            length = _LENGTH.search(head.group())
            end = head.end() + (int(length.group(1)) if length else 0)
            if len(self._held) < end:
                return
            asked = b" ".join(head.groups()).decode()
            self._came.append((time.perf_counter(), asked))
            self._held = self._held[end:]
            self.is_hub = asked.startswith("GET /hubs")


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, note: Any) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            note(data)
            writer.write(data)
            await writer.drain()
    writer.close()


def serial(number: int) -> str:
    """Name a charger of the scenario."""
    return f"EH{number:06}"


@contextlib.asynccontextmanager
async def world(case: Case, folder: Path) -> Any:
    """Run broker, cloud, door, gateway and witness; everything is online."""
    port = unused_port()
    vanishing = Vanishing(port)
    environ, tls, scheme = {}, None, "http"
    if case.tls:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / "ca.pem")
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(tls)
        environ, scheme = {"SSL_CERT_FILE": str(folder / "ca.pem")}, "https"
    async with contextlib.AsyncExitStack() as stack:
        broker = Mosquitto(folder, unused_port())
        broker.start()
        stack.callback(broker.kill)
        scenario = Scenario(chargers=len(case.ttls_s), traffic=False)
        cloud = await stack.enter_async_context(serve(scenario))
        door = Door(int(cloud.api_url.rsplit(":", 1)[1]), tls)
        await stack.enter_async_context(door.open(port))
        witness = Witness(broker.port)
        await witness.start()
        stack.push_async_callback(witness.stop)
        url = f"localhost:{port}"
        hub = f"{scheme}://{url}/hubs/chargers"
        config = configuration(f"{scheme}://{url}", hub, broker.port, folder)
        program = "tests.soak.trusting" if case.tls else "bridge"
        gateway = await stack.enter_async_context(
            running(config, folder, program=program, **environ)
        )
        await witness.value("charger/bridge/cloud", "connected")
        for number in range(1, len(case.ttls_s) + 1):
            await witness.value(f"charger/{serial(number)}/availability", "online")
        yield vanishing, door, witness, gateway


async def played(case: Case, folder: Path) -> Outcome:
    """Play a case and say what came of it."""
    async with world(case, folder) as (vanishing, door, witness, gateway):
        numbers = range(1, len(case.ttls_s) + 1)
        for number in numbers:
            witness.publish(f"charger/{serial(number)}/set/{COMMAND}", "40")
        for number in numbers:
            await witness.final(serial(number), COMMAND)
        if not case.kept:
            door.hang_up()
            await asyncio.sleep(HEARD_S)
        door.came.clear()
        vanishing.begin()
        began_s = time.perf_counter()
        for number, ttl_s in zip(numbers, case.ttls_s, strict=True):
            payload = json.dumps({"value": 60, "id": "late", "ttl_s": ttl_s})
            witness.publish(f"charger/{serial(number)}/set/{COMMAND}", payload)
        await asyncio.sleep(FATE_AFTER_S)
        if case.fate != "alive":
            fate = signal.SIGKILL if case.fate == "killed" else signal.SIGSTOP
            gateway.process.send_signal(fate)
        await asyncio.sleep(began_s + case.hole_s - time.perf_counter())
        vanishing.end()
        # The kernel alone would have tried again by then: it waits as long as it waited before.
        await asyncio.sleep(
            max(began_s + max(case.ttls_s), time.perf_counter() + case.hole_s)
            + 2.0
            - time.perf_counter()
        )
        outcome = Outcome(lost=vanishing.lost)
        for number, ttl_s in zip(numbers, case.ttls_s, strict=True):
            path = f"POST /api/chargers/{serial(number)}/"
            came = [at_s - began_s for at_s, asked in door.came if asked.startswith(path)]
            outcome.arrived_s[str(ttl_s)] = [round(at_s, 2) for at_s in came]
        if case.fate == "alive":
            await _answers(case, witness, outcome)
        if case.fate == "stopped":
            gateway.process.send_signal(signal.SIGCONT)
        return outcome


async def _answers(case: Case, witness: Witness, outcome: Outcome) -> None:
    for number, ttl_s in enumerate(case.ttls_s, 1):
        if case.hole_s + SURVIVED_S > ttl_s:
            continue
        answer = await witness.final(serial(number), COMMAND, 2)
        words = filter(None, (answer["state"], answer["reason"]))
        outcome.states[str(ttl_s)] = "/".join(words)


def problems(case: Case, outcome: Outcome) -> Iterator[str]:
    """Say what was wrong with an outcome."""
    if not outcome.lost:
        yield f"{case}: no packet vanished"
    for ttl_s in case.ttls_s:
        came_s, state = outcome.arrived_s[str(ttl_s)], outcome.states.get(str(ttl_s))
        late = [at_s for at_s in came_s if at_s > ttl_s + LATE_AFTER_S]
        if late or len(came_s) > 1:
            yield f"{case}: with {ttl_s} s to live it came after {came_s} s"
        if str(ttl_s) in outcome.states and (not came_s or state != "confirmed"):
            yield f"{case}: with {ttl_s} s to live it came after {came_s} s and is {state}"


async def own(case: Case) -> Outcome:
    """Play a case in a network of its own."""
    process = await asyncio.create_subprocess_exec(
        *namespace(),
        sys.executable,
        "-m",
        "tests.soak.late",
        json.dumps(asdict(case)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complaints = await process.communicate()
    if process.returncode:
        raise AssertionError(f"{case}: {complaints.decode()[-4000:]}")
    return Outcome(**json.loads(said))


async def torment(cases: list[Case]) -> tuple[list[str], list[str]]:
    """Play all cases, a few at once; return what was wrong, and a line for each."""
    room = asyncio.Semaphore(AT_ONCE)
    found: list[str] = []
    lines: list[str] = []

    async def one(case: Case) -> None:
        async with room:
            outcome = await own(case)
        found.extend(problems(case, outcome))
        lines.append(f"{case}: {outcome.arrived_s} {outcome.states}, {outcome.lost} lost")
        say(lines[-1])

    async with asyncio.TaskGroup() as tasks:
        for case in cases:
            tasks.create_task(one(case))
    return found, lines


def main() -> int:
    """Play one case of another process, or all of them."""
    if sys.argv[1:]:
        words = json.loads(sys.argv[1])
        case = Case(**{**words, "ttls_s": tuple(words["ttls_s"])})
        with tempfile.TemporaryDirectory() as name:
            say(json.dumps(asdict(asyncio.run(played(case, Path(name))))))
        return 0
    if not namespace():
        say("no network of our own to be had here: it takes root or user namespaces, nft and ip")
        return 1
    cases = [Case(*row) for row in itertools.product(HOLES_S, (False, True), FATES, (True, False))]
    found, lines = asyncio.run(torment(sorted(cases, key=lambda case: -case.hole_s)))
    return verdict(found, f"{len(lines)} holes, {len(lines) * len(TTLS_S)} commands")


if __name__ == "__main__":
    sys.exit(main())

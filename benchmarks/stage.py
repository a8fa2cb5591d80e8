"""What every benchmark needs: a broker, the load generator, a judge, and tables.

The judge decides when a contender is done, and it is the same for all: a subscriber to a few topics
waits for their last values, then reads every retained topic of the fleet, and what is not there yet
it waits for. So a broker, not a contender, says when everything was accepted, and nothing is
subscribed to the bulk of the messages while time is taken. How many messages a contender needed is
read from the broker's own counter, before and after.
"""

import argparse
import contextlib
import json
import os
import platform
import selectors
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from benchmarks.records import Fleet
from benchmarks.wire import connect_packet, publish_packet, subscribe_packet
from tests.mosquitto import Mosquitto
from tests.ports import unused_port

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results"
PATIENCE_S = 60.0
# All packets, because mosquitto 2.0.11 does not count PUBLISH alone; the others are a handful.
COUNTER = "$SYS/broker/messages/received"
COUNTED_WITHIN_S = 2.2
# Linux: the clock of a process is this and its number, as clock_getcpuclockid(3) composes it.
PROCESS_CPU_CLOCK = 2
# A Receive Maximum of 20 is mosquitto's default; 1,000 shows what the broker takes at most.
WINDOW = 1000


class GaveUp(Exception):
    """Something did not happen within :data:`PATIENCE_S`."""


@contextlib.contextmanager
def broker(window: int = WINDOW, *lines: str) -> Iterator[Mosquitto]:
    """Run a mosquitto that queues without limit and counts once a second.

    Args:
        window: How many messages a client may leave unacknowledged.
        lines: Further lines of its configuration.
    """
    options = (f"max_inflight_messages {window}", "max_queued_messages 0", "sys_interval 1", *lines)
    with tempfile.TemporaryDirectory() as name:
        one = Mosquitto(Path(name), unused_port(), listener=options)
        one.start()
        try:
            yield one
        finally:
            one.kill()


class Generator:
    """The load generator, as a process; see :mod:`benchmarks.hub`."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "benchmarks.hub",
                "0",
                str(fleet.chargers),
                str(fleet.observations),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.port = int(self.answer()["port"])

    @property
    def url(self) -> str:
        """Where its REST interface is; the hub is under ``/hubs/chargers``."""
        return f"http://127.0.0.1:{self.port}"

    def order(self, **order: float) -> dict:
        """Have rounds sent and wait until the kernel has taken the last frame."""
        self.begin(**order)
        return self.answer()

    def begin(self, **order: float) -> None:
        """Have rounds sent; :meth:`answer` comes when the kernel has taken the last frame."""
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def has_answer(self) -> bool:
        """Say whether :meth:`answer` would not wait."""
        with selectors.DefaultSelector() as ready:
            ready.register(self._process.stdout, selectors.EVENT_READ)
            return bool(ready.select(0))

    def answer(self) -> dict:
        """Wait for its next line."""
        with selectors.DefaultSelector() as ready:
            ready.register(self._process.stdout, selectors.EVENT_READ)
            if not ready.select(PATIENCE_S):
                raise GaveUp("the load generator says nothing: nobody subscribed, or nobody reads")
        return json.loads(self._process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


class Judge:
    """A subscriber over a raw socket, at QoS 0: it costs the broker as little as can be.

    Attributes:
        values: The newest payload of every topic.
        at_ns: When it came, in nanoseconds of the monotonic clock.
        log: Every message with its moment, in order, if that was asked for.
    """

    def __init__(self, port: int, *filters: str, name: str = "judge") -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._held = bytearray()
        self._packet_id = 0
        self.values: dict[str, bytes] = {}
        self.at_ns: dict[str, int] = {}
        self.log: list[tuple[str, bytes, int]] | None = None
        self._socket.sendall(connect_packet(name))
        if filters:
            self.subscribe(*filters)

    def subscribe(self, *filters: str) -> None:
        """Add topics; what is retained there will come."""
        self._socket.sendall(subscribe_packet(filters))

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish at QoS 1."""
        self._packet_id = self._packet_id % 0xFFFF + 1
        self._socket.sendall(publish_packet(topic, payload, self._packet_id))

    def until(self, done: Callable[[], bool], what: str, within_s: float | None = None) -> None:
        """Take messages until a condition over them holds."""
        give_up_at = time.perf_counter() + (within_s or PATIENCE_S)
        while not done():
            left_s = give_up_at - time.perf_counter()
            if left_s <= 0:
                raise GaveUp(what)
            self.take(min(left_s, 1.0))

    def take(self, within_s: float) -> int:
        """Take what comes next, if it comes in time; return how many messages."""
        self._socket.settimeout(within_s)
        try:
            data = self._socket.recv(1 << 18)
        except TimeoutError:
            return 0
        if not data:
            raise GaveUp("the broker hung up on the judge")
        at_ns = time.monotonic_ns()
        self._held += data
        return self._read(at_ns)

    def _read(self, at_ns: int) -> int:
        held, at, count = self._held, 0, 0
        while len(held) - at > 4:  # noqa: PLR2004 - no packet for us is shorter
            size, begin, shift = 0, at + 1, 0
            while begin < len(held):
                size |= (held[begin] & 127) << shift
                begin, shift = begin + 1, shift + 7
                if held[begin - 1] < 128:  # noqa: PLR2004 - a varint ends
                    break
            if len(held) - begin < size:
                break
            if held[at] >> 4 == 3:  # noqa: PLR2004 - PUBLISH, at QoS 0
                self._message(held[begin : begin + size], at_ns)
                count += 1
            at = begin + size
        del held[:at]
        return count

    def _message(self, body: bytearray, at_ns: int) -> None:
        begin = 2 + (body[0] << 8 | body[1])
        topic = body[2:begin].decode()
        length, shift = 0, 0
        while True:
            length |= (body[begin] & 127) << shift
            begin, shift = begin + 1, shift + 7
            if body[begin - 1] < 128:  # noqa: PLR2004 - a varint ends
                break
        self.values[topic] = payload = bytes(body[begin + length :])
        self.at_ns[topic] = at_ns
        if self.log is not None:
            self.log.append((topic, payload, at_ns))

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def published(port: int) -> int:
    """Read how many packets the broker has received, when the number has come to rest."""
    last = None
    with Judge(port, COUNTER, name="counter") as judge:
        judge.until(lambda: COUNTER in judge.values, "the broker counts")
        while judge.values[COUNTER] != last:
            last = judge.values[COUNTER]
            deadline = time.perf_counter() + COUNTED_WITHIN_S
            while time.perf_counter() < deadline:
                judge.take(0.2)
    return int(last)


def last_arrival_ns(port: int, judge: Judge, marks: list[str], wanted: Mapping[str, bytes]) -> int:
    """Wait until every topic holds its last value; return when the last one of them got it.

    Args:
        port: The broker's.
        judge: Subscribed to the marks before the load began.
        marks: Some of the topics; those that are sent last.
        wanted: Topic to payload.
    """

    def there(one: Judge, topics: list[str]) -> Callable[[], bool]:
        left = set(topics)

        def all_there() -> bool:
            left.difference_update([t for t in left if one.values.get(t) == wanted[t]])
            return not left

        return all_there

    judge.until(there(judge, marks), "the last values")
    at_ns = max(judge.at_ns[topic] for topic in marks)
    asked_ns = time.monotonic_ns()
    kinds = {topic.split("/")[2] for topic in wanted}
    everything = [f"charger/+/{kind}/+" for kind in sorted(kinds)]
    with Judge(port, *everything, name="check") as check:
        known = there(check, list(wanted))
        check.until(lambda: len(check.values) >= len(wanted), "every topic is retained")
        if not known():
            check.until(known, "every topic holds its last value")
            at_ns = max(at_ns, *(t for t in check.at_ns.values() if t > asked_ns))
    return at_ns


@dataclass(slots=True)
class Process:
    """A contender that runs."""

    command: list[str]
    environ: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    _running: subprocess.Popen | None = None

    def __enter__(self) -> Self:
        self._running = subprocess.Popen(
            self.command,
            env={**environment(), **self.environ},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL if "BENCHMARK_NOISE" not in os.environ else None,
        )
        return self

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._running.pid

    @property
    def cpu_s(self) -> float:
        """Seconds of processor time it has used."""
        return cpu_s(self.pid)

    @property
    def resident_kib(self) -> int:
        """Memory it holds now."""
        return memory_kib(self.pid)

    def __exit__(self, *_: object) -> None:
        self._running.terminate()
        try:
            self._running.wait(10)
        except subprocess.TimeoutExpired:
            self._running.kill()
            self._running.wait()


def environment() -> dict[str, str]:
    """Return our environment, without a wish that Python compile every module at every start.

    An installed program is compiled once, by pip. Compiled at its start it takes twice the time
    and some MiB more, for good.
    """
    unwanted = ("PYTHONDONTWRITEBYTECODE",)
    return {name: value for name, value in os.environ.items() if name not in unwanted}


def cpu_s(pid: int) -> float:
    """Return the processor time of a process, from a clock finer than the ticks of /proc."""
    return time.clock_gettime((~pid << 3) | PROCESS_CPU_CLOCK)


def before() -> dict[str, str] | None:
    """Return what makes ``python -m bridge`` that of another working tree; None: of none.

    ``BEFORE`` in the environment names the tree, of the revision before for instance.
    """
    tree = os.environ.get("BEFORE")
    return {"PYTHONPATH": tree, "PYTHONSAFEPATH": "1"} if tree else None


def readable_before(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration that an older revision reads: without groups of commands it lacks."""
    return config | {"commands": {"allow": ["control", "current"]}}


def memory_kib(pid: int) -> int:
    """Read a process's resident memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def compiled(source: str, folder: Path) -> str | None:
    """Compile a C program; None where there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    program = str(folder / source.removesuffix(".c"))
    subprocess.run([compiler, "-O2", "-o", program, str(FOLDER / source)], check=True)
    return program


# -- figures ---------------------------------------------------------------------------------------


def percentile(values: list[float], share: float) -> float:
    """Return the value that so large a share is not above."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def summary(values: list[float]) -> dict[str, float]:
    """Return what is kept of several runs."""
    return {
        "median": statistics.median(values),
        "low": min(values),
        "high": max(values),
        "runs": len(values),
    }


def ratios(ours: list[float], theirs: list[float]) -> dict[str, float]:
    """Compare run by run what ran in turn; a run without its counterpart does not count."""
    return summary([one / other for one, other in zip(ours, theirs, strict=False)])


def arguments(description: str | None, name: str) -> argparse.ArgumentParser:
    """Make a parser with what all benchmarks take."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, default=RESULTS / f"{name}.json")
    return parser


def write(path: Path, figures: Mapping[str, object]) -> None:
    """Keep the figures, with what they were taken on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    machine = {
        "python": platform.python_version(),
        "processors": os.cpu_count(),
        "machine": platform.machine(),
        "load": os.getloadavg()[0],
    }
    path.write_text(json.dumps({"machine": machine, **figures}, indent=2) + "\n")


def table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Lay out a table for a terminal: the first column to the left, the others to the right."""
    lines = [heads, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )

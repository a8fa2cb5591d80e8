"""Everything retained again after a broker that forgot: ``python -m benchmarks.replay``.

The gateway holds 100 chargers with 100 observations each, JSON and scalar: 20,000 messages. The
broker is killed, its memory with it, and another one starts on its port. Two times are taken until
all of them are retained again: from the new broker, and from the gateway being back there, since
how long it waits before it tries again is politeness, not work. Beside them the floors publish as
many messages of the same average size: C and Python, raw sockets, no library.
"""

import random
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks import contenders, floor, stage
from benchmarks.contenders import Place
from benchmarks.records import Fleet
from benchmarks.stage import GaveUp, Generator, Judge
from benchmarks.wire import text, varint
from tests.mosquitto import Mosquitto

STATE = "charger/bridge/state"
KINDS = ("charger/+/state/+", "charger/+/observation/+")
# Enough that the last of them is within a percent of the last of all.
MARKS = 200


def gateway_s(fleet: Fleet, window: int) -> tuple[float, float, Mapping[str, bytes]]:
    """Return seconds from the new broker, from the gateway's return, and what is retained."""
    with (
        tempfile.TemporaryDirectory() as name,
        stage.broker(window) as broker,
        Generator(fleet) as hub,
        contenders.GATEWAY_JSON.start(Place(hub, broker, Path(name), window)),
    ):
        wanted = filled(broker, hub, fleet)
        broker.kill()
        for left in broker.folder.glob("*.db"):
            left.unlink()
        broker.start()
        began_ns = time.monotonic_ns()
        marks = random.Random(1).sample(sorted(wanted), min(MARKS, len(wanted)))
        with Judge(broker.port, STATE, *marks) as judge:
            done_ns = stage.last_arrival_ns(broker.port, judge, marks, wanted)
            # Values have a connection of their own and can be complete before the state arrives.
            judge.until(lambda: STATE in judge.at_ns, "the gateway's state")
            back_ns = min(judge.at_ns[STATE], done_ns)
    return (done_ns - began_ns) / 1e9, (done_ns - back_ns) / 1e9, wanted


def filled(broker: Mosquitto, hub: Generator, fleet: Fleet) -> dict[str, bytes]:
    """Have one round published and return everything that is retained then."""
    expected = contenders.GATEWAY_JSON.wanted(fleet, 1)
    with Judge(broker.port, *KINDS) as judge:
        hub.answer()
        hub.order(first=1, last=1, each=50)

        def whole() -> bool:
            return len(judge.values) >= 2 * len(expected)

        judge.until(whole, "the first round")
        while judge.take(0.5):
            pass
    return {topic: value for topic, value in judge.values.items() if value}


def c_floor_s(count: int, size: int, window: int) -> float | None:
    """Return the seconds the C floor needs for so many messages; None without a compiler."""
    with tempfile.TemporaryDirectory() as name, stage.broker(window) as broker:
        program = stage.compiled("floor.c", Path(name))
        if program is None:
            return None
        order = [program, "publish", *map(str, (broker.port, count, count, size, window))]
        return int(subprocess.run(order, check=True, capture_output=True).stdout) / 1e9


def python_floor_s(count: int, size: int, window: int) -> float:
    """Return the seconds raw Python needs for so many messages."""
    with stage.broker(window) as broker:
        sock, granted = floor.connect(broker.port)
        with sock:
            return published_s(sock, granted, count, b"7" * size)


def published_s(sock: socket.socket, window: int, count: int, payload: bytes) -> float:
    """Publish and count the acknowledgements."""
    sent = acked = 0
    held = b""
    began = time.perf_counter()
    while acked < count:
        packets = []
        while sent < count and sent - acked + len(packets) < window:
            number = sent + len(packets)
            if number >= count:
                break
            topic = text(f"floor/EH{number // 100:06}/state/{number % 100}")
            body = topic + (number % 0xFFFF + 1).to_bytes(2, "big") + b"\0" + payload
            packets.append(b"\x33" + varint(len(body)) + body)
        sent += len(packets)
        sock.sendall(b"".join(packets))
        data = sock.recv(1 << 16)
        if not data:
            raise GaveUp("the broker hung up on the floor")
        held += data
        number, held = floor.acknowledged(held)
        acked += number
    return time.perf_counter() - began


def main() -> None:
    """Measure in turn and print."""
    parser = stage.arguments(__doc__, "replay")
    parser.add_argument("--chargers", type=int, default=100)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--window", type=int, default=stage.WINDOW, help="what the broker grants")
    options = parser.parse_args()
    fleet = Fleet(options.chargers, 100)
    columns: dict[str, list[float]] = {}
    for _ in range(options.times):
        whole_s, work_s, wanted = gateway_s(fleet, options.window)
        size = sum(map(len, wanted.values())) // len(wanted)
        figures = {
            "gateway, from the new broker": whole_s,
            "gateway, from its return": work_s,
            "C floor": c_floor_s(len(wanted), size, options.window),
            "Python floor": python_floor_s(len(wanted), size, options.window),
        }
        for name, seconds in figures.items():
            if seconds is not None:
                columns.setdefault(name, []).append(seconds)
    base = columns["Python floor"]
    condensed = {
        name: {"seconds": stage.summary(took), "to_floor": stage.ratios(took, base)}
        for name, took in columns.items()
    }
    rows = [
        (
            name,
            *(f"{row['seconds'][key]:.2f}" for key in ("median", "low", "high")),
            f"{row['to_floor']['median']:.2f}",
        )
        for name, row in condensed.items()
    ]
    print(f"{len(wanted)} messages of {size} bytes on average")
    print(stage.table(("s", "median", "low", "high", "to the Python floor"), rows))
    load = {"messages": len(wanted), "payload_bytes": size, "window": options.window}
    stage.write(options.json, {"load": load, "contenders": condensed})


if __name__ == "__main__":
    main()

"""Observations of the partner feed to retained values: ``python -m benchmarks.partner_feed``.

A real RabbitMQ holds rounds of one observation of everything, a mosquitto stands still meanwhile;
time and processor time run from its going on until it holds the last value of every topic. First a
bare pika consumer that publishes with paho, then the gateway, in turn. The gateway publishes JSON
and scalar, two messages an observation: it needs the JSON to read values back. Prints observations
a second of processor time and of the clock, and the ratio to the bare consumer. The processor time
counts where the machine is shared. About a minute a turn.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pika
import yaml

from benchmarks import contenders, stage
from benchmarks.contenders import Place
from benchmarks.records import Fleet, records, span
from benchmarks.stage import Generator, Judge, Process
from bridge.adapters.clock import SystemClock
from tests.acceptance.conftest import configuration
from tests.rabbitmq import QUEUE, RabbitMq, rabbitmq

BARE, OURS = "bare pika and paho", "gateway"


@dataclass(frozen=True, slots=True)
class Run:
    """One contender, once.

    Attributes:
        observations: How many the queue held.
        cpu_s: Processor time of the contender for them.
        took_s: By the clock.
        messages: What it sent to the broker.
    """

    observations: int
    cpu_s: float
    took_s: float
    messages: int

    @property
    def per_cpu_s(self) -> float:
        """Observations in a second of processor time."""
        return self.observations / self.cpu_s


def deliveries(fleet: Fleet, turns: range, after: datetime) -> Iterator[tuple[str, bytes]]:
    """Yield routing key and body of rounds, as the vendor is expected to send them."""
    for text in records(fleet, turns, after):
        body = text[text.index(b"[") + 1 : text.rindex(b"]")]
        one = json.loads(body)
        yield f"{one['mid']}.O.{one['id']}", body


def fill(server: RabbitMq, fleet: Fleet, turns: range, after: datetime) -> int:
    """Put rounds into the queue; return how many observations they are."""
    connection, count = server.connect(), 0
    channel = connection.channel()
    channel.exchange_declare("benchmark", "fanout")
    channel.queue_bind(QUEUE, "benchmark")
    properties = pika.BasicProperties(delivery_mode=1)
    for key, body in deliveries(fleet, turns, after):
        channel.basic_publish("benchmark", key, body, properties)
        count += 1
    connection.close()
    return count


def bare(place: Place, server: RabbitMq) -> Process:
    """Return the bare consumer; it is given the names of the observations."""
    names = {str(spec.id): spec.name for spec in place.hub.fleet.specs()}
    given = place.folder / "names.json"
    given.write_text(json.dumps(names) + "\n")
    command = [
        sys.executable, str(stage.FOLDER / "bare_consumer.py"),
        server.url, QUEUE, str(place.broker.port), str(place.window),
    ]  # fmt: skip
    return Process(["sh", "-c", 'exec "$@" <names.json', "sh", *command], folder=place.folder)


def gateway(place: Place, server: RabbitMq) -> Process:
    """Return the gateway, reading the feed."""
    config = configuration(
        place.hub.url, f"{place.hub.url}/hubs/chargers", place.broker.port, place.folder
    )
    config["easee"]["source"] = "amqp"
    config["amqp"] = {"queue": QUEUE}
    config["log"]["level"] = "info"
    path = place.folder / "bridge.yaml"
    path.write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "bridge", "run", "--config", str(path)]
    secrets = {"CHARGER_BRIDGE_EASEE__PASSWORD": "p", "CHARGER_BRIDGE_AMQP__URL": server.url}
    return Process(command, secrets)


ROWS: dict[str, Callable[[Place, RabbitMq], Process]] = {BARE: bare, OURS: gateway}


def run(start: Callable[[Place, RabbitMq], Process], fleet: Fleet, rounds: int, window: int) -> Run:
    """Let one contender do the job once."""
    wanted = contenders.GATEWAY.wanted
    with (
        tempfile.TemporaryDirectory() as name,
        tempfile.TemporaryDirectory() as data,
        stage.broker(window) as broker,
        rabbitmq(Path(data)) as server,
        Generator(fleet) as hub,
    ):
        first, last = wanted(fleet, 1), wanted(fleet, rounds + 1)
        marks = list(last)[-20:]
        now = SystemClock().now().wall - timedelta(minutes=10)
        process = start(Place(hub, broker, Path(name), window), server)
        with process, Judge(broker.port, *marks) as judge:
            fill(server, fleet, range(1, 2), now)
            stage.last_arrival_ns(broker.port, judge, marks, first)
            messages = stage.published(broker.port)
            broker.freeze()
            try:
                after = now + span(fleet, range(1, 2))
                observations = fill(server, fleet, range(2, rounds + 2), after)
                cpu_s = process.cpu_s
            finally:
                broker.thaw()
            began_ns = time.monotonic_ns()
            done_ns = stage.last_arrival_ns(broker.port, judge, marks, last)
            cpu_s = process.cpu_s - cpu_s
            messages = stage.published(broker.port) - messages
    return Run(observations, cpu_s, (done_ns - began_ns) / 1e9, messages)


def main() -> None:
    """Measure and print."""
    parser = stage.arguments(__doc__, "partner_feed")
    parser.add_argument("--chargers", type=int, default=50)
    parser.add_argument("--observations", type=int, default=50, help="of each charger")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--window", type=int, default=stage.WINDOW)
    parser.add_argument("--only", choices=[*ROWS])
    options = parser.parse_args()
    fleet = Fleet(options.chargers, options.observations)
    found: dict[str, list[Run]] = {}
    for _ in range(options.times):
        for name, start in ROWS.items():
            if options.only in (None, name):
                one = run(start, fleet, options.rounds, options.window)
                found.setdefault(name, []).append(one)
    rows = [
        (
            name,
            f"{runs[0].observations:,}",
            f"{stage.summary([one.messages / one.observations for one in runs])['median']:.2f}",
            f"{stage.summary([one.per_cpu_s for one in runs])['median']:,.0f}",
            f"{stage.summary([1e6 / one.per_cpu_s for one in runs])['median']:.1f}",
            f"{stage.summary([one.observations / one.took_s for one in runs])['median']:,.0f}",
        )
        for name, runs in found.items()
    ]
    heads = ("", "observations", "messages each", "per CPU second", "CPU µs", "per second")
    print(stage.table(heads, rows))
    figures = {
        name: {
            "per_cpu_s": stage.summary([one.per_cpu_s for one in runs]),
            "per_s": stage.summary([one.observations / one.took_s for one in runs]),
        }
        for name, runs in found.items()
    }
    if BARE in found and OURS in found:
        ratio = stage.ratios(
            [one.per_cpu_s for one in found[OURS]], [one.per_cpu_s for one in found[BARE]]
        )
        print(f"\ngateway to the bare consumer, by processor time: {ratio['median']:.2f}")
        figures["ratio"] = ratio
    stage.write(options.json, figures)


if __name__ == "__main__":
    main()

"""How fast a backlog of reports drains: ``python -m benchmarks.drain``.

One mosquitto, one subscriber. First a bare paho publishes the very same messages as fast as the
broker takes them, with as many unacknowledged as the bridge allows itself; then the real core,
store and link drain a store full of reports. Prints both rates and their ratio: the rates are this
machine's, the ratio is ours. Beyond the first :data:`~bridge.core.sessions.delivery.BURST` reports
a drain is paced on purpose, so more of them measure the pace.
"""

import asyncio
import json
import logging
import statistics
import tempfile
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import paho.mqtt.client as paho
import structlog
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from benchmarks import stage
from bridge.adapters.store.sqlite.store import SqliteStore
from bridge.conventions.native.sessions import report_document
from bridge.core.records.stored_report import StoredReport
from bridge.core.sessions.delivery import WINDOW
from bridge.core.sessions.report_merge import cleared
from tests.core.sessions.rows import REPORT
from tests.mosquitto import Mosquitto
from tests.ports import unused_port
from tests.soak.broker import bridged
from tests.soak.oracle import Oracle

TOPICS = "charger/+/session/report"


class Subscriber:
    """Counts what arrives."""

    def __init__(self, port: int) -> None:
        self.seen: set[tuple[str, int]] = set()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)
        self._client.subscribe(TOPICS, qos=1)
        self._client.loop_start()

    def _on_message(self, _client: object, _data: object, message: paho.MQTTMessage) -> None:
        document = json.loads(message.payload)
        self.seen.add((document["charger_id"], document["session_id"]))

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()


def rows(count: int, chargers: int) -> list[StoredReport]:
    """Make a backlog."""
    found = []
    for number in range(count):
        charger_id = f"EH{number % chargers:06}"
        end = REPORT.ended_at + timedelta(minutes=number)
        report = replace(
            REPORT,
            charger_id=charger_id,
            session_id=number,
            started_at=end - timedelta(minutes=30),
            ended_at=end,
        )
        found.append(StoredReport(f"{charger_id}-{number}", 1, report))
    return found


async def until_seen(subscriber: Subscriber, count: int) -> None:
    """Wait until everything has arrived."""
    async with asyncio.timeout(120):
        while len(subscriber.seen) < count:  # noqa: ASYNC110 - set by another thread
            await asyncio.sleep(0.005)


async def bare(port: int, backlog: list[StoredReport]) -> float:
    """Publish with nothing but paho; return messages a second."""
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.max_inflight_messages_set(WINDOW)
    client.connect("127.0.0.1", port)
    client.loop_start()
    subscriber = Subscriber(port)
    await asyncio.sleep(0.3)
    messages = [
        (
            f"charger/{row.report.charger_id}/session/report",
            report_document(cleared(row, personal_data=False, salt=b"salt")),
        )
        for row in backlog
    ]
    began = time.perf_counter()
    for topic, payload in messages:
        client.publish(topic, payload, qos=1)
    await until_seen(subscriber, len(backlog))
    elapsed_s = time.perf_counter() - began
    client.disconnect()
    client.loop_stop()
    subscriber.close()
    return len(backlog) / elapsed_s


async def drained(port: int, backlog: list[StoredReport], folder: Path) -> float:
    """Drain a store with the bridge; return reports a second, connecting not included."""
    store = SqliteStore(folder / "bridge.db", max_mib=64)
    await store.open()
    await asyncio.gather(*(store.save(row.report) for row in backlog))
    await store.close()
    subscriber = Subscriber(port)
    await asyncio.sleep(0.3)
    async with bridged(port, folder, Oracle()):
        async with asyncio.timeout(10):
            while not subscriber.seen:  # noqa: ASYNC110 - set by another thread
                await asyncio.sleep(0.001)
        began, first = time.perf_counter(), len(subscriber.seen)
        await until_seen(subscriber, len(backlog))
        elapsed_s = time.perf_counter() - began
    subscriber.close()
    return (len(backlog) - first) / elapsed_s


async def main() -> None:
    """Measure, several times, one after the other."""
    parser = stage.arguments(__doc__, "drain")
    parser.add_argument("--reports", type=int, default=600)
    parser.add_argument("--chargers", type=int, default=50)
    parser.add_argument("--times", type=int, default=3)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    backlog = rows(options.reports, options.chargers)
    ours, theirs = [], []
    for _ in range(options.times):
        with tempfile.TemporaryDirectory() as name:
            port = unused_port()
            broker = Mosquitto(Path(name), port)
            broker.start()
            theirs.append(await bare(port, backlog))
            ours.append(await drained(port, backlog, Path(name)))
            broker.kill()
    bridge, script = statistics.median(ours), statistics.median(theirs)
    print(f"bare publisher {script:.0f}/s, bridge {bridge:.0f}/s, ratio {bridge / script:.2f}")
    table = {"gateway": stage.summary(ours), "bare": stage.summary(theirs)}
    stage.write(options.json, {"reports_s": table, "to_bare": stage.ratios(ours, theirs)})


if __name__ == "__main__":
    asyncio.run(main())

"""A real RabbitMQ of a test's own, on loopback."""

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pika
from pika.exceptions import AMQPError

from tests.ports import unused_port

# Another one is named by what runs the tests (tools/rabbitmq4.sh).
SERVER = Path(os.environ.get("RABBITMQ_SERVER", "/usr/lib/rabbitmq/bin/rabbitmq-server"))
START_TRIES, START_STEP_S = 300, 0.3
QUEUE = "Operator_7.Q"
# It tells every attempt while the broker starts.
logging.getLogger("pika").setLevel(logging.CRITICAL)  # noqa: TID251 - a library's, not ours
EXCHANGE = "Operator_7.C.X"


@dataclass
class RabbitMq:
    """A broker as a process group of its own.

    Attributes:
        folder: Its data and logs.
        port: AMQP.
    """

    folder: Path
    port: int
    environ: dict[str, str]
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Return its address with credentials."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/%2F"

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        log = (self.folder / "server.log").open("ab")
        self.process = subprocess.Popen(
            [str(SERVER)], env=self.environ, stdout=log, stderr=log, start_new_session=True
        )
        log.close()
        for _ in range(START_TRIES):
            try:
                self.connect().close()
            except AMQPError:
                assert self.process.poll() is None, "it ended; see server.log"
                time.sleep(START_STEP_S)
            else:
                return
        raise AssertionError("it does not take connections")

    def connect(self) -> pika.BlockingConnection:
        """Connect as another program would."""
        return pika.BlockingConnection(pika.URLParameters(self.url))

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server and its helpers."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """Kill it as a power cut would."""
        self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    def declare(self, queue: str = QUEUE) -> None:
        """Make the operator's queue and exchange, as the vendor has them."""
        connection = self.connect()
        channel = connection.channel()
        channel.queue_declare(queue, durable=True)
        channel.exchange_declare(EXCHANGE, "topic", durable=True)
        connection.close()

    def unacknowledged(self, queue: str = QUEUE) -> int:
        """Return how many messages a consumer has and did not acknowledge."""
        done = subprocess.run(
            [
                str(SERVER.with_name("rabbitmqctl")), "-q", "-n", self.environ["RABBITMQ_NODENAME"],
                "list_queues", "name", "messages_unacknowledged",
            ],
            env=self.environ,
            capture_output=True,
            text=True,
            check=True,
        )  # fmt: skip
        found = dict(line.split("\t") for line in done.stdout.splitlines() if "\t" in line)
        return int(found[queue])

    def consumers(self, queue: str = QUEUE) -> int:
        """Return how many consumers a queue has; 0 while there is no connection."""
        try:
            connection = self.connect()
            try:
                found = connection.channel().queue_declare(queue, durable=True, passive=True)
                return int(found.method.consumer_count)
            finally:
                connection.close()
        except AMQPError:
            return 0

    def waiting(self, queue: str = QUEUE) -> int:
        """Return how many messages are ready in a queue."""
        connection = self.connect()
        try:
            found = connection.channel().queue_declare(queue, durable=True, passive=True)
            return int(found.method.message_count)
        finally:
            connection.close()


@contextlib.contextmanager
def rabbitmq(folder: Path) -> Iterator[RabbitMq]:
    """Run a broker; its name server is its own, too, and ends with it."""
    port, epmd, dist = unused_port(), unused_port(), unused_port()
    (folder / "plugins").write_text("[].\n")
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "ERL_EPMD_PORT": str(epmd),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"t{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(dist),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
    }
    broker = RabbitMq(folder, port, environ)
    try:
        broker.start()
        broker.declare()
        yield broker
    finally:
        broker.signal(signal.SIGCONT)
        broker.kill()
        _end_names(epmd)


def _end_names(port: int) -> None:
    """End the name server; it stays while it believes that the node lives."""
    program = shutil.which("epmd", path="/usr/bin:/bin:/usr/local/bin")
    for _ in range(50 if program else 0):
        order = [str(program), "-port", str(port), "-kill"]
        done = subprocess.run(order, check=False, capture_output=True)
        if b"Killed" in done.stdout:
            return
        time.sleep(0.1)

"""Commands and reports while values saturate everything: ``python -m benchmarks.saturated``.

Once with nothing else going on; once with a mosquitto as shipped, whose 20 messages in flight let
through a tenth of the 20,000 values offered each second, so that all topics have one waiting; and
with values coming as fast as the gateway takes them, 50 a frame and one, so that it, the broker and
the load generator share two processors. Meanwhile:

- a command each fifth of a second, from its publication to ``accepted``, and beside it a message
  that only goes through the broker;
- a session report as often, from its frame to the subscriber, commit included. Where frames queue
  in the kernel because the gateway is busy, that tells of the queue; so a value stands right before
  each report, and how much later the report comes is measured too;
- the longest step of the gateway's event loop, in processor time, in a run of its own: nobody else
  on the loop has a turn before a step is over.

About four minutes.
"""

import json
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import contenders, stage
from benchmarks.contenders import Contender, Place
from benchmarks.records import Fleet, marker
from benchmarks.stage import Generator, Judge
from benchmarks.watched import FILE

EACH_S = 0.2
COMMAND = "dynamic_charger_current"
FLEET = Fleet(50, 99)  # one observation is left for those that stand before a report
# Mosquitto's own.
SHIPPED = 20
MAX_STEP_MS = 5.0
STEPS_KEPT = 20
# The start has imports in it, and the first second of a load the connection's growing buffers.
SETTLED_S = 1.0


@dataclass(frozen=True, slots=True)
class Scene:
    """A load.

    Attributes:
        name: For tables.
        window: What the broker grants.
        rounds: Of values, 4,950 each.
        each: Records a frame.
        pace_s: Seconds between two frames.
    """

    name: str
    window: int
    rounds: int
    each: int = 50
    pace_s: float = 0.0


def scenes(seconds: float) -> tuple[Scene, ...]:
    """Return the loads, each to last about that long."""
    return (
        # A value now and then keeps the reports coming.
        Scene("idle", stage.WINDOW, 1, each=50, pace_s=seconds * 50 / FLEET.topics),
        Scene("a broker as shipped", SHIPPED, round(seconds * 20_000 / FLEET.topics), 50, 0.0025),
        Scene("50 a frame, unpaced", stage.WINDOW, round(seconds * 55_000 / FLEET.topics)),
        Scene("1 a frame, unpaced", stage.WINDOW, round(seconds * 50_000 / FLEET.topics), 1),
    )


@dataclass(slots=True)
class Taken:
    """What was measured, in seconds, and the gateway's long steps in milliseconds."""

    command: list[float] = field(default_factory=list)
    echo: list[float] = field(default_factory=list)
    report: list[float] = field(default_factory=list)
    behind: list[float] = field(default_factory=list)
    steps_ms: list[float] = field(default_factory=list)
    over: int = 0


def run(contender: Contender, scene: Scene) -> Taken:
    """Serve one load, ask and be told meanwhile."""
    taken = Taken()
    with (
        tempfile.TemporaryDirectory() as name,
        stage.broker(scene.window) as broker,
        Generator(FLEET) as hub,
    ):
        process = contender.start(Place(hub, broker, Path(name), scene.window))
        process.folder = Path(name)  # where the steps are written
        process.environ = {**process.environ, "PYTHONPATH": str(stage.FOLDER.parent)}
        value = f"charger/+/state/{marker(FLEET).name}"
        heard = ("charger/+/result/+", "charger/+/session/report", value, "echo")
        with process, Judge(broker.port, *heard) as judge:
            hub.answer()
            hub.order(first=1, last=1, each=50)
            judge.log = []
            time.sleep(SETTLED_S)
            last = scene.rounds + 1
            hub.begin(first=2, last=last, each=scene.each, pace_s=scene.pace_s, report_s=EACH_S)
            _converse(hub, judge, taken)
            told = hub.answer()
            _reports(judge, told["reports"], taken)
        steps = Path(name) / FILE
        if steps.exists():
            _steps(json.loads(steps.read_text()), told, taken)
    return taken


def _converse(hub: Generator, judge: Judge, taken: Taken) -> None:
    """Send commands, one after the other, until the load is over."""
    for number in range(10 * FLEET.chargers):
        serial = FLEET.serials[number % FLEET.chargers]
        result, echoed = f"charger/{serial}/result/{COMMAND}", str(number).encode()
        judge.values.pop(result, None)
        sent_ns = time.monotonic_ns()
        judge.publish("echo", echoed)
        judge.publish(f"charger/{serial}/set/{COMMAND}", str(6 + number % 26).encode())
        judge.until(
            lambda result=result, echoed=echoed: (
                result in judge.values and judge.values.get("echo") == echoed
            ),
            "an answer",
        )
        taken.command.append((judge.at_ns[result] - sent_ns) / 1e9)
        taken.echo.append((judge.at_ns["echo"] - sent_ns) / 1e9)
        until_s = time.perf_counter() + EACH_S
        while (left_s := until_s - time.perf_counter()) > 0:
            judge.take(left_s)
        if hub.has_answer():
            return


def _reports(judge: Judge, sent: list[tuple[str, int, int]], taken: Taken) -> None:
    """Find out when each report and the value before it came."""

    def came() -> dict[tuple[str, str, int], int]:
        found: dict[tuple[str, str, int], int] = {}
        for topic, payload, at_ns in judge.log or ():
            _, serial, kind, last = (*topic.split("/"), "", "", "")[:4]
            if kind == "session":
                found.setdefault((kind, serial, json.loads(payload)["session_id"]), at_ns)
            elif kind == "state" and last == marker(FLEET).name:
                found.setdefault((kind, serial, int(payload)), at_ns)
        return found

    wanted = {("session", serial, number) for serial, number, _ in sent}
    judge.until(lambda: wanted <= came().keys(), "the reports")
    found = came()
    for serial, number, sent_ns in sent:
        at_ns = found["session", serial, number]
        taken.report.append((at_ns - sent_ns) / 1e9)
        # A newer value of its charger may have taken its place.
        if (value_ns := found.get(("state", serial, number))) is not None:
            taken.behind.append((at_ns - value_ns) / 1e9)


def _steps(written: dict, told: dict, taken: Taken) -> None:
    """Keep the longest steps of the load, and count those that are too long."""
    from_ns = told["began_ns"] + SETTLED_S * 1e9
    long = [took_ms for at_ns, took_ms, _ in written["long"] if from_ns < at_ns < told["ended_ns"]]
    taken.steps_ms = sorted(long)[-STEPS_KEPT:] or [0.0]
    taken.over = sum(took_ms > MAX_STEP_MS for took_ms in long)


def figures(found: dict[str, list[Taken]]) -> dict[str, dict[str, float]]:
    """Condense to medians and 99th percentiles in milliseconds."""
    rows = {}
    for name, runs in found.items():
        row: dict[str, float] = {}
        for kind in ("command", "echo", "report", "behind"):
            values = [value for one in runs for value in getattr(one, kind)]
            if values:
                row[f"{kind}_ms"] = 1e3 * statistics.median(values)
                row[f"{kind}_p99_ms"] = 1e3 * stage.percentile(values, 0.99)
                row[f"{kind}s"] = len(values)
        watched = [one for one in runs if one.steps_ms]
        if watched:
            row["longest_step_ms"] = max(max(one.steps_ms) for one in watched)
            row["steps_over"] = sum(one.over for one in watched)
        rows[name] = row
    return rows


def main() -> None:
    """Measure and print."""
    parser = stage.arguments(__doc__, "saturated")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each load")
    parser.add_argument("--times", type=int, default=3, help="0: the steps of the loop alone")
    options = parser.parse_args()
    found: dict[str, list[Taken]] = {}
    for _ in range(options.times):
        for scene in scenes(options.seconds):
            found.setdefault(scene.name, []).append(run(contenders.GATEWAY, scene))
    for scene in scenes(options.seconds):
        watched = run(contenders.GATEWAY_WATCHED, scene)
        found.setdefault(scene.name, []).append(Taken(steps_ms=watched.steps_ms, over=watched.over))
    condensed = figures(found)
    keys = ("command", "echo", "report", "behind")
    heads = ("ms", *(head for key in keys for head in (key, "p99")), "longest step")
    rows = [
        (
            name,
            *(f"{row.get(f'{key}{end}', 0):.2f}" for key in keys for end in ("_ms", "_p99_ms")),
            f"{row['longest_step_ms']:.2f}",
        )
        for name, row in condensed.items()
    ]
    print(stage.table(heads, rows))
    stage.write(options.json, {"scenes": condensed})


if __name__ == "__main__":
    main()

"""``make soak-crash N=50``: the gateway dies right before and right after each step of a command.

The real gateway runs as a process between a real broker and the simulated cloud. It is started with
one step at which it kills itself with SIGKILL, and is given a command. The next process, armed with
the next step, has to finish it: every command gets one final answer, and ``toggle``, which must
never be sent twice, reaches the cloud once at most.

The steps are armed here, around the methods of the product; it has no hooks for this.
"""

import asyncio
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge.adapters.easee.rest_client import EaseeCloud
from bridge.adapters.mqtt.client import MqttClient
from bridge.adapters.store.sqlite.store import SqliteStore
from bridge.cli.main import main as charger_bridge
from bridge.simulator.scenario import Scenario
from bridge.simulator.server import serve
from bridge.simulator.simulator import Simulator
from tests.acceptance.conftest import PASSWORD, Witness, configuration
from tests.mosquitto import EXECUTABLE, Mosquitto
from tests.ports import unused_port
from tests.soak.script import arguments, say, verdict

CHARGER = "EH000001"
# A step, how many times it happens before it counts, and whether death comes before or after it.
STEPS = (
    ("commit", 1),
    ("acknowledge", 1),
    ("commit", 2),
    ("call", 1),
    ("commit", 3),
    ("answer", 1),
    ("commit", 4),
    ("answer", 2),
    ("commit", 5),
)
PointName = tuple[str, int, str]
POINTS: tuple[PointName, ...] = tuple(
    (step, nth, when) for step, nth in STEPS for when in ("before", "after")
)
# A command, its payload, and whether it has to wait: then its first commit says so, and its second
# that it leaves.
COMMANDS = (
    ("toggle", "PRESS", False),
    ("dynamic_charger_current", None, False),
    ("toggle", "PRESS", True),
)
IN_FRONT = "override_schedule"
# Six of them start at once, on whatever machine this is.
START_TIMEOUT_S = 120.0
# Longer than a restart, so that it can still be carried out by the next process.
LIFE = timedelta(seconds=20)
# A command is reached or never; a final answer comes within its 60 s and 30 more.
DEATH_TIMEOUT_S = 4.0
RESULT_TIMEOUT_S = 100.0
SIDE_BY_SIDE = 6
LINES_SHOWN = 30


# -- the gateway that kills itself -----------------------------------------------------------------


class Point:
    """One step at which the process ends."""

    def __init__(self, step: str, nth: int, when: str) -> None:
        self._step, self._left, self._when = step, nth, when

    def reached(self, step: str) -> bool:
        """Count a step that is about to happen; die before it if that is asked for."""
        if step != self._step:
            return False
        self._left -= 1
        if self._left == 0 and self._when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        return self._left == 0

    def done(self, *, is_it: bool) -> None:
        """Die after the step, if it was the one."""
        if is_it:
            os.kill(os.getpid(), signal.SIGKILL)


def arm(point: Point, name: str) -> None:
    """Put a point around everything that happens to the command of a name."""
    save, send = SqliteStore.save_command, EaseeCloud.send
    publish, acknowledge = MqttClient.publish, MqttClient.acknowledge

    # What an earlier process left over is carried on too, and does not count.
    has_come = threading.Event()

    async def save_command(self, row):
        if row.name.endswith(name):
            has_come.set()
        is_it = row.name.endswith(name) and point.reached("commit")
        await save(self, row)
        point.done(is_it=is_it)

    async def send_request(self, request, *, within_s):
        is_call = has_come.is_set() and request.command and request.method == "POST"
        is_it = is_call and point.reached("call")
        answer = await send(self, request, within_s=within_s)
        point.done(is_it=is_it)
        return answer

    def publish_message(self, message):
        is_it = name.encode() in message.payload and point.reached("answer")
        publish(self, message)
        if is_it:
            # It is in the socket's buffer: as sent as a dying process can make it.
            time.sleep(0.05)
        point.done(is_it=is_it)

    def acknowledge_message(self, receipt):
        is_it = has_come.is_set() and point.reached("acknowledge")
        acknowledge(self, receipt)
        if is_it:
            time.sleep(0.05)
        point.done(is_it=is_it)

    SqliteStore.save_command = save_command
    EaseeCloud.send = send_request
    MqttClient.publish = publish_message
    MqttClient.acknowledge = acknowledge_message


# -- the run ---------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What became of the lives of one or several runs.

    Attributes:
        problems: What was wrong.
        reached: How often the gateway died at each point.
        states: The final answers of the commands it died under.
        repeats: Answers that came again.
    """

    problems: list[str] = field(default_factory=list)
    reached: Counter[PointName] = field(default_factory=Counter)
    states: Counter[tuple[PointName, str]] = field(default_factory=Counter)
    repeats: int = 0

    def add(self, other: "Outcome") -> None:
        """Count another run too."""
        self.problems += other.problems
        self.reached += other.reached
        self.states += other.states
        self.repeats += other.repeats


@dataclass
class Run:
    """Everything around the gateway, and what was found out."""

    cloud: Simulator
    witness: Witness
    config: Path
    outcome: Outcome

    async def start(self, *arming: str) -> asyncio.subprocess.Process:
        """Start a gateway and wait until it is connected to both sides."""
        seen = len(self.witness.messages)
        written = self.config.with_suffix(".log")
        with written.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.soak.crash_points",
                "gateway",
                str(self.config),
                *arming,
                env={**os.environ, "CHARGER_BRIDGE_EASEE__PASSWORD": PASSWORD},
                stdout=asyncio.subprocess.DEVNULL,
                stderr=log,
            )
        wanted = ("charger/bridge/cloud", b"connected")
        try:
            await self.witness.until(
                lambda: wanted in {m[:2] for m in self.witness.messages[seen:]},
                "a start",
                START_TIMEOUT_S,
            )
        except pytest.fail.Exception:
            tail = written.read_text(errors="replace").splitlines()[-LINES_SHOWN:]
            say("\n".join([f"no start ({arming}), status {process.returncode}:", *tail]))
            raise
        return process

    def finals(self, command: str, name: str) -> list[dict[str, Any]]:
        """Return the final answers to a command so far."""
        answers = self.witness.results(CHARGER, command)
        return [one for one in answers if one["final"] and one["id"] == name]

    def calls(self, command: str, since: int) -> int:
        """Count what reached the cloud."""
        last = {"toggle": "/commands/toggle_charging"}.get(command, "/settings")
        return sum(
            one.method == "POST" and one.path.startswith(f"/api/chargers/{CHARGER}{last}")
            for one in self.cloud.requests[since:]
        )

    async def check(self, point: PointName, command: str, name: str, since: int) -> None:
        """Wait for the end of a command that was under way when the gateway died."""
        where = f"{'/'.join(map(str, point))} {command} {name}"
        try:
            await self.witness.until(
                lambda: self.finals(command, name), f"{where}: a final answer", RESULT_TIMEOUT_S
            )
        except pytest.fail.Exception:
            self.outcome.problems.append(f"{where}: no final answer")
            return
        await asyncio.sleep(0.2)
        finals = self.finals(command, name)
        states = {one["state"] for one in finals}
        self.outcome.repeats += len(finals) - 1
        self.outcome.states.update((point, state) for state in states)
        sys.stdout.write(f"{where}: {', '.join(sorted(states))}\n")
        sys.stdout.flush()
        if len(states) > 1:
            self.outcome.problems.append(f"{where}: final answers {sorted(states)}")
        calls = self.calls(command, since)
        if command == "toggle" and calls > 1:
            self.outcome.problems.append(f"{where}: sent {calls} times")


async def torment(
    rounds: int, folder: Path, points: tuple[PointName, ...] = POINTS, *, side_by_side: int = 1
) -> tuple[list[str], str]:
    """Die that often at each point; return what was wrong, and a table.

    Args:
        rounds: How often at each point.
        folder: For everything that is written.
        points: Where.
        side_by_side: So many runs at a time, each with a broker and a cloud of its own: most of a
            life is waiting.
    """
    began_s = time.perf_counter()
    total = Outcome()
    shares = [rounds // side_by_side + (i < rounds % side_by_side) for i in range(side_by_side)]
    async with asyncio.TaskGroup() as tasks:
        runs = []
        for number, share in enumerate(shares):
            (place := folder / str(number)).mkdir()
            runs.append(tasks.create_task(_torment(share, place, unused_port(), points)))
    for run in runs:
        total.add(run.result())
    table = [
        f"{'/'.join(map(str, point)):24} died {total.reached[point]:4} of {rounds:4}   "
        + ", ".join(
            f"{n} {state}" for (at, state), n in sorted(total.states.items()) if at == point
        )
        for point in points
    ]
    if sum(total.reached.values()) < len(points) * rounds // 2:
        total.problems.append("most points were never reached: the run says nothing")
    table.append(
        f"{sum(total.reached.values())} deaths at {len(total.reached)} points, {total.repeats}"
        f" answers repeated, {len(total.problems)} problems,"
        f" in {time.perf_counter() - began_s:.0f} s"
    )
    return total.problems, "\n".join(table)


async def _torment(rounds: int, folder: Path, port: int, points: tuple[PointName, ...]) -> Outcome:
    """Run one gateway after the other against one broker and one cloud."""
    broker = Mosquitto(folder, port)
    broker.start()
    outcome = Outcome()
    try:
        scenario = Scenario(
            traffic=False, authorization_required=False, chargers=1, rate_limits=False
        )
        async with serve(scenario) as cloud:
            cloud.plug_in(CHARGER)
            witness = Witness(port)
            await witness.start()
            config = folder / "bridge.yaml"
            settings = configuration(cloud.api_url, cloud.stream_url, port, folder)
            # Named: a command the broker hands over again must not wait for the account's list.
            settings["easee"]["chargers"] = [CHARGER]
            config.write_text(yaml.safe_dump(settings))
            run = Run(cloud, witness, config, outcome)
            pending: tuple[PointName, str, str, int] | None = None
            schedule = [*(points * rounds), None]
            for number, point in enumerate(schedule):
                name = f"crash-{number:05}"
                arming = (name, *map(str, point)) if point else ()
                process = await run.start(*arming)
                if pending is not None:
                    await run.check(*pending)
                    pending = None
                if point is not None:
                    command, value, waits = COMMANDS[number // len(points) % len(COMMANDS)]
                    if waits:
                        witness.publish(f"charger/{CHARGER}/set/{IN_FRONT}", "PRESS")
                    since = len(cloud.requests)
                    at = datetime.now(UTC) + LIFE  # noqa: TID251 - a flow reads its own clock
                    payload = {
                        "value": value or 10 + number % 6,
                        "id": name,
                        "expires_at": f"{at:%FT%TZ}",
                    }
                    witness.publish(f"charger/{CHARGER}/set/{command}", json.dumps(payload))
                    pending = point, command, name, since
                    try:
                        async with asyncio.timeout(DEATH_TIMEOUT_S):
                            await process.wait()
                        outcome.reached[point] += 1
                    except TimeoutError:
                        process.kill()
                else:
                    process.terminate()
                await process.wait()
            await witness.stop()
    finally:
        broker.kill()
    return outcome


def gateway(config: str, name: str = "", *point: str) -> int:
    """Be the gateway that dies."""
    if point:
        step, nth, when = point
        arm(Point(step, int(nth), when), name)
    return charger_bridge(["run", "--config", config])


def main() -> int:
    """Run from the command line: ``python -m tests.soak.crash_points N``."""
    if sys.argv[1] == "gateway":
        return gateway(*sys.argv[2:])
    if not EXECUTABLE:
        sys.stdout.write("mosquitto is not installed\n")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        problems, table = asyncio.run(
            torment(arguments()[0], Path(folder), side_by_side=SIDE_BY_SIDE)
        )
    return verdict(problems, table)


if __name__ == "__main__":
    sys.exit(main())

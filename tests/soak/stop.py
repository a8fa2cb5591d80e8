"""``make soak-stop N=600``: the gateway is stopped for N seconds, and nothing runs late afterwards.

The real gateway, as shipped, between a real mosquitto and the simulated cloud. It is stopped with
SIGSTOP; commands are sent all the while; then it goes on. It has to be healthy within a minute, and
no command that was sent more than its life ago may reach the cloud.
"""

import asyncio
import contextlib
import json
import signal
import sys
import tempfile
import time
from pathlib import Path

from bridge.simulator.scenario import Scenario
from bridge.simulator.server import serve
from tests.acceptance.conftest import Witness, configuration, running
from tests.mosquitto import Mosquitto
from tests.soak.script import arguments, say, verdict

CHARGER = "EH000001"
PORT = 18_977
LIFE_S = 60.0
HEALTHY_TIMEOUT_S = 60.0
COMMANDS = ("start", "stop", "toggle", "pause")
PATHS = tuple(f"/api/chargers/{CHARGER}/commands/{word}" for word in ("start_", "stop_", "toggle_"))


async def soak(stopped_s: float, folder: Path) -> tuple[list[str], str]:
    """Stop it, let it go on, and say what was wrong."""
    problems: list[str] = []
    broker = Mosquitto(folder, PORT)
    async with contextlib.AsyncExitStack() as stack:
        broker.start()
        stack.callback(broker.kill)
        scenario = Scenario(chargers=1, traffic=False, authorization_required=True)
        cloud = await stack.enter_async_context(serve(scenario))
        witness = Witness(broker.port)
        await witness.start()
        stack.push_async_callback(witness.stop)
        config = configuration(cloud.api_url, cloud.stream_url, broker.port, folder)
        gateway = await stack.enter_async_context(running(config, folder))
        await witness.value(f"charger/{CHARGER}/availability", "online")
        cloud.plug_in(CHARGER)
        assert gateway.process is not None
        gateway.process.send_signal(signal.SIGSTOP)
        # The last ones are young enough to run; the others are not.
        last_s = time.perf_counter() + stopped_s - LIFE_S - 1.0
        sent = 0
        while time.perf_counter() < last_s:
            for command in COMMANDS:
                witness.publish(f"charger/{CHARGER}/set/{command}", json.dumps({"id": f"c{sent}"}))
                sent += 1
            await asyncio.sleep(max(1.0, stopped_s / 60))
        await asyncio.sleep(LIFE_S + 1.0)
        before = len(cloud.requests)
        gateway.process.send_signal(signal.SIGCONT)
        began_s = time.perf_counter()
        online = f"charger/{CHARGER}/availability"
        seen = len(witness.messages)
        healthy = False
        while not healthy and time.perf_counter() - began_s < HEALTHY_TIMEOUT_S:
            await asyncio.sleep(0.2)
            newest = dict(message[:2] for message in witness.messages[seen:])
            healthy = (
                newest.get("charger/bridge/state") == b"online"
                and witness.retained["charger/bridge/cloud"] == b"connected"
                and witness.retained[online] == b"online"
            )
        took_s = time.perf_counter() - began_s
        await asyncio.sleep(10.0)  # whatever runs late would run now
        late = [r.path for r in cloud.requests[before:] if r.path.startswith(PATHS)]
        if not healthy:
            problems.append(f"not healthy within {HEALTHY_TIMEOUT_S:.0f} s")
        if late:
            problems.append(f"ran late: {late}")
        answers = [
            json.loads(payload)["state"]
            for topic, payload, _ in witness.messages
            if "/result/" in topic and json.loads(payload)["final"]
        ]
    counts = {state: answers.count(state) for state in sorted(set(answers))}
    return (
        problems,
        f"stopped {stopped_s:.0f} s, healthy after {took_s:.1f} s, {sent} sent: {counts}",
    )


def main() -> int:
    """Run from the command line: ``python -m tests.soak.stop SECONDS``."""
    stopped_s, _ = arguments(600)
    say("the shortest useful stop is a little more than a command's life")
    with tempfile.TemporaryDirectory() as folder:
        problems, summary = asyncio.run(soak(max(stopped_s, LIFE_S + 10), Path(folder)))
    return verdict(problems, summary)


if __name__ == "__main__":
    sys.exit(main())

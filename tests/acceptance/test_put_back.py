"""Faults of the field, put back: met by a running process, recorded, replayed as tests that fail.

Without the fault the same tests pass. The faults are those of ``put_back/sitecustomize.py``.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import bridge
from bridge.adapters.clock import SystemClock
from bridge.cli.main import main
from bridge.core.value_format import iso_utc
from tests import canaries
from tests.mosquitto import until
from tests.security.test_canaries import update

pytestmark = [pytest.mark.anyio, pytest.mark.acceptance]

ONE = "EH000001"
HERE = Path(__file__).parent / "put_back"
ROOT = Path(bridge.__file__).parent.parent
SESSION = {
    "Auth": "", "AuthReason": -1, "EnergyKwh": 1.5, "Id": 77, "MeterValueStart": 1.0,
    "MeterValueStop": 2.5, "Start": "2026-11-22T10:00:00Z", "Stop": "2026-11-22T11:00:00Z",
}  # fmt: skip
OTHER = {
    "client_id": "another", "instance": "ffffffffffff", "started_at": "2026-11-22T10:00:00Z",
    "at": "2026-11-22T10:00:00Z", "count": 3,
}  # fmt: skip


def say(s, number, value, stamp=None):
    """Have the hub tell an observation, measured now where no time is given."""
    stamp = stamp or iso_utc(SystemClock().now().wall)
    s.cloud.send_raw(update(number, value).replace("2026-11-22T11:59:00Z", stamp))


async def e6(s):
    """Ask for something."""
    s.witness.publish(f"charger/{ONE}/get/observations", "{}")


async def a3(s):
    """Measure a current with a stamp of 2099, and then another one."""
    say(s, 48, "7", "2099-01-01T00:00:00Z")
    say(s, 48, "9")


async def b1(s):
    """End a session with an odd reason."""
    say(s, 129, json.dumps(SESSION))


async def d7(s):
    """Have another bridge say that it is there."""
    for number in range(5):
        document = OTHER | {"count": number}
        s.witness.publish("charger/bridge/heartbeat", json.dumps(document))


async def b2(s):
    """End a session, as a list of one."""
    say(s, 129, json.dumps([SESSION | {"AuthReason": 3}]))


# What is done, and what the test demands.
CASES = {
    "E6": (e6, []),
    "A3": (a3, ["--only", "charger/+/state/dynamic_charger_current"]),
    "B1": (b1, ["--never", "charger/bridge/alert/session_unreadable/+"]),
    "D7": (d7, ["--only", "charger/bridge/alert/second_bridge"]),
    "B2": (b2, ["--never", "charger/bridge/alert/session_unreadable/+"]),
}


def passes(test, fault=None):
    """Return whether a written test passes, with a fault or without."""
    environ = {**os.environ, "PYTHONPATH": f"{HERE}:{ROOT}", "PUT_BACK": fault or ""}
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(test)]
    ran = subprocess.run(words, check=False, capture_output=True, env=environ, cwd=test.parent)
    assert ran.returncode in (0, 1), ran.stdout
    return ran.returncode == 0


def recorded(s):
    """Return the records that the gateway wrote."""
    return sorted((s.folder / "store").glob("record-*.rec"))


@pytest.mark.parametrize("fault", CASES)
async def test_a_fault_that_is_put_back_becomes_a_test_that_fails(stage, tmp_path, fault):
    """Met by a running gateway, recorded without names, and mended by what we have today."""
    do, words = CASES[fault]
    environ = {"PYTHONPATH": f"{HERE}:{ROOT}", "PUT_BACK": fault}
    async with stage(chargers=1, environ=environ) as s:
        cloud = "charger/bridge/cloud"
        await s.witness.until(lambda: s.witness.retained.get(cloud) == b"connected", "the cloud")
        await do(s)
        if fault != "E6":  # a component that fails has its record at once
            s.cloud.send_raw('{"type":1,"target":"TheLast","arguments":[]}\x1e')
            s.witness.publish(f"charger/{ONE}/set/no_such_command", "1")
            await s.witness.final(ONE, "no_such_command")
            await until(lambda: b"TheLast" in bytes(s.gateway.log))
            s.gateway.process.send_signal(signal.SIGUSR1)
        await until(lambda: b"record.written" in bytes(s.gateway.log))
        (record,) = recorded(s)
        content = record.read_bytes()
    assert canaries.found_in(canaries.unpacked(content)) == []
    kept = tmp_path / "field.rec"
    kept.write_bytes(content)
    test = tmp_path / f"test_{fault.lower()}.py"

    assert main(["replay", str(kept), "--as-test", str(test), *words]) == 0
    assert not passes(test, fault)
    assert passes(test)


async def test_a_storm_of_errors_writes_a_record_for_each_component(stage, tmp_path):
    """Two that fail a thousand times leave two records, which name both, and few lines."""
    environ = {"PYTHONPATH": f"{HERE}:{ROOT}", "PUT_BACK": "STORM"}
    async with stage(chargers=1, environ=environ) as s:
        for number in range(1000):
            s.witness.publish(f"charger/{ONE}/get/observations", f'{{"id":"{number}"}}')
            s.witness.publish("charger/bridge/heartbeat", json.dumps(OTHER | {"count": number}))
        s.witness.publish(f"charger/{ONE}/set/no_such_command", "1")
        await s.witness.final(ONE, "no_such_command")
        s.gateway.process.send_signal(signal.SIGUSR1)
        await until(lambda: b'"reason": "signal"' in bytes(s.gateway.log))
        written = recorded(s)
        failed = [line for line in s.gateway.lines if line["event"] == "component.failed"]
        alert = json.loads(s.witness.retained["charger/bridge/alert/internal_error"])
        kept = tmp_path / "field.rec"
        kept.write_bytes(written[-1].read_bytes())

    assert len(written) in (2, 3)  # both failed while the first was written, or before it
    assert len(failed) <= 4
    for name in ("queries (ZeroDivisionError", "neighbours (LookupError"):
        assert name in alert["message"]
    assert not list((tmp_path / "store").glob(".record-*"))
    assert main(["replay", str(kept), "--only", "charger/bridge/alert/internal_error"]) == 0

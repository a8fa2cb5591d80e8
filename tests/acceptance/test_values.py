"""Values by phase, total energy, filters and names, through the running gateway."""

import json
import signal
from pathlib import Path

import pytest

from bridge.core.easee.selection import Selection, hidden_names
from bridge.simulator.sessions import Car

pytestmark = [pytest.mark.anyio, pytest.mark.acceptance]

ONE = "EH000001"


def state(name):
    """Return the topic of a value."""
    return f"charger/{ONE}/state/{name}"


def number(witness, name):
    """Return what a topic says, as a number; None without one."""
    payload = witness.retained.get(state(name), b"null")
    return None if payload in (b"null", b"") else float(payload)


@pytest.mark.parametrize(
    ("grid", "loaded", "unloaded"),
    [("tn", (1, 2, 3), ()), ("tn_1_phase", (1,), (2, 3)), ("it", (1, 2), (3,))],
)
async def test_values_by_phase(stage, grid, loaded, unloaded):
    """Current and power are on the phases that carry them, and add up to the charger's power."""
    async with stage(chargers=1, authorization_required=False, grid=grid, speed=20) as s:
        w = s.witness
        s.cloud.plug_in(ONE, Car(wants_kwh=50.0))
        await w.until(lambda: (number(w, "current_l1") or 0) > 5, "current")
        for phase in loaded:
            await w.until(lambda phase=phase: number(w, f"power_l{phase}"), f"power of L{phase}")
            assert number(w, f"current_l{phase}") > 5
        for phase in unloaded:
            assert number(w, f"current_l{phase}") == number(w, f"power_l{phase}") == 0
        assert 215 < number(w, "voltage_l1") < 245

        def sums_up():
            parts = [number(w, f"power_l{phase}") for phase in (1, 2, 3)]
            whole = number(w, "total_power")
            return None not in parts and whole and abs(sum(parts) - whole) < 0.05 * whole

        await w.until(sums_up, "the phases add up")
        s.cloud.push(ONE, 21, 50)
        for quantity in ("current", "voltage", "power"):
            await w.value(state(f"{quantity}_l1"), "null")


async def test_total_energy_over_restarts_and_an_outage(stage):
    """It follows the meter between its readings, never falls, and ends at the meter's reading."""
    async with stage(chargers=1, authorization_required=False, speed=10) as s:
        w = s.witness
        await w.until(lambda: number(w, "energy_total"), "the meter's reading")
        document = json.loads(w.retained[f"charger/{ONE}/observation/energy_total"])
        assert (document["estimated"], document["unit"]) == (False, "kWh")
        begun = number(w, "energy_total")
        s.cloud.plug_in(ONE, Car(wants_kwh=20.0))
        topic = f"charger/{ONE}/observation/energy_total"
        await w.until(lambda: json.loads(w.retained[topic])["estimated"], "an estimate", 60.0)
        assert json.loads(w.retained[topic])["power_kw"] > 1
        assert number(w, "energy_total") > begun

        before = number(w, "energy_total")
        await s.gateway.end(signal.SIGKILL)
        await s.gateway.start()
        seen = len(w.messages)
        await w.until(
            lambda: any(topic == state("energy_total") for topic, _, _ in w.messages[seen:]),
            "a value of the next process",
        )
        assert number(w, "energy_total") >= before
        s.cloud.drop_connections()
        s.cloud.unplug(ONE)
        last = f"charger/{ONE}/session/last"
        await w.until(
            lambda: json.loads(w.retained.get(last, b"{}")).get("meter_stop_kwh", 0) > begun + 0.05,
            "the session's end",
        )
        stop_kwh = json.loads(w.retained[last])["meter_stop_kwh"]
        # The charger spells 124 as a float32: beside 129 it may be ahead in the seventh digit.
        await w.until(lambda: abs(number(w, "energy_total") - stop_kwh) < 0.001, "the reading")
        await s.gateway.end(signal.SIGTERM)
        await s.gateway.start()
        seen = len(w.messages)
        await w.until(
            lambda: any(topic == state("energy_total") for topic, _, _ in w.messages[seen:]),
            "a value of the last process",
        )
        values = [float(p) for topic, p, _ in w.messages if topic == state("energy_total")]
        assert values == sorted(values)
        assert values[-1] == pytest.approx(stop_kwh, abs=0.001)


async def test_filters_and_names(stage):
    """What is left out is not published, its topics are cleared once, and names are shown."""

    def change(config):
        config["easee"]["names"] = {ONE: "Garage"}
        config["homeassistant"] = {"enabled": True}

    async with stage(chargers=1, change=change) as s:
        w = s.witness
        await w.until(lambda: w.retained.get(state("temp_max")), "a temperature")
        await w.until(lambda: w.retained.get(state("current_l1")), "a phase")
        device = f"homeassistant/device/charger_{ONE}/config"
        await s.gateway.end()
        s.config["publish"] = {"except": ["temperatures", "phases", "80"]}
        s.gateway.config.write_text(json.dumps(s.config))
        await s.gateway.start()

        hidden = hidden_names(Selection(excepted=frozenset(("temperatures", "phases", "80"))))
        assert {"temp_max", "current_l1", "software_release"} <= hidden
        for name in ("temp_max", "current_l1", "software_release"):
            await w.value(state(name), "")
            await w.value(f"charger/{ONE}/observation/{name}", "")
        await w.value("charger/bridge/cloud", "connected")
        s.cloud.push(ONE, 150, 33)
        s.cloud.push(ONE, 120, 1.25)
        await w.value(state("total_power"), "1.25")
        assert w.retained[state("temp_max")] == b""
        kept = s.folder / "store" / "hidden_values.json"
        await w.until(lambda: _holds(kept, ONE), "the record", 20.0)

        await s.gateway.end()
        seen = len(w.messages)
        await s.gateway.start()
        await w.value("charger/bridge/state", "online")
        await w.until(
            lambda: any(t == state("total_power") for t, _, _ in w.messages[seen:]), "a value"
        )
        # A message that goes round tells that everything before it was handled.
        s.cloud.push(ONE, 120, 1.5)
        await w.value(state("total_power"), "1.5")
        assert not any(t == state("temp_max") for t, _, _ in w.messages[seen:])
        assert device not in w.retained  # below another base: the witness did not ask for it


def _holds(path: Path, text: str) -> bool:
    return path.exists() and text in path.read_text()


async def test_firmware(stage):
    """The newest release is asked for, told, and seen to be installed."""
    async with stage(chargers=1, speed=20) as s:
        w = s.witness
        await w.value(state("firmware_latest"), "338")
        topic = state("firmware_update")
        await w.until(lambda: json.loads(w.retained[topic]).get("latest_version"), "both releases")
        assert json.loads(w.retained[topic]) == {
            "installed_version": "334",
            "latest_version": "338",
            "in_progress": False,
        }
        w.publish(f"charger/{ONE}/get/firmware", "PRESS")
        answer = await w.final(ONE, "firmware")
        assert answer["value"] == {"installed": 334, "latest": 338, "update_available": True}

        w.publish(f"charger/{ONE}/set/update_firmware", "PRESS")
        await w.until(
            lambda: json.loads(w.retained[topic])["installed_version"] == "338", "the update"
        )
        told = [json.loads(payload) for name, payload, _ in w.messages if name == topic]
        assert any(each["in_progress"] for each in told)
        assert not json.loads(w.retained[topic])["in_progress"]

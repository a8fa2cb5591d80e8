"""An Equalizer through the running gateway: values, availability, commands, Home Assistant."""

import json

import pytest

from bridge.simulator.observation_table import DataType
from tests.acceptance.conftest import Witness

pytestmark = [pytest.mark.anyio, pytest.mark.acceptance]

METER, ONE = "QP000001", "EH000001"
# Reactive power: the simulated Equalizer sends no value of its own between ours.
UNMEASURED = 42
PERSONAL = (
    "site_structure",
    "meter_id",
    "ssid",
    "master_back_plate_id",
    "equalizer_id",
    "meter_data_snapshot",
    "ap_mac_address",
)


def fast(config):
    """Publish the values of an Equalizer every second."""
    config["publish"] = {"equalizer_interval_s": 1}


async def test_an_equalizer_is_a_device_in_the_same_tree(stage):
    """Found by itself, online, with its values; what names a household is never retained."""
    async with stage(chargers=1, speed=20.0, change=fast) as s:
        await s.witness.value(f"charger/{METER}/availability", "online")
        topic = f"charger/{METER}/observation/cumulative_active_power_import"
        document = json.loads(
            await s.witness.until(lambda: s.witness.retained.get(topic), "a reading of the meter")
        )
        assert (document["id"], document["unit"]) == (45, "kWh")
        either = {topic, topic.replace("import", "export")}

        def readings():
            told = {p for name, p, _ in s.witness.messages if name in either}
            return len({json.loads(payload)["value"] for payload in told}) > len(either)

        await s.witness.until(readings, "the meter goes on")
        info = json.loads(s.witness.retained["charger/bridge/info"])
        assert (info["chargers"], info["equalizers"]) == ([ONE], [METER])
        newcomer = Witness(s.broker.port)
        await newcomer.start((f"charger/{METER}/#",))
        await newcomer.until(lambda: len(newcomer.retained) > 30, "what is retained of it")
        kept = {topic.split("/")[-1] for topic, _, retained in newcomer.messages if retained}
        await newcomer.stop()
        assert "active_power_import" in kept
        assert kept.isdisjoint(PERSONAL)
        told = {t.split("/")[-1]: p for t, p, _ in s.witness.messages if f"{METER}/state/" in t}
        assert told["meter_id"].startswith(b"sha256:")


async def test_values_are_paced(stage):
    """Of a hundred values in a row the newest is published, and few of the others."""
    async with stage(chargers=1, change=fast) as s:
        await s.witness.value(f"charger/{METER}/availability", "online")
        topic = f"charger/{METER}/state/reactive_power_import"
        for number in range(1, 101):
            s.cloud.push(METER, UNMEASURED, str(1000 + number), data_type=DataType.DOUBLE)
        await s.witness.value(topic, "1100")
        assert len([name for name, _, _ in s.witness.messages if name == topic]) < 10


async def test_its_settings_are_changed_and_read_back(stage):
    """Each command has one final result, after the cloud holds what was asked for."""
    async with stage(chargers=1) as s:
        await s.witness.value(f"charger/{METER}/availability", "online")
        base = f"charger/{METER}/set"
        s.witness.publish(f"{base}/surplus_charging", '{"enabled":true,"amps":6,"id":"sun"}')
        final = await s.witness.final(METER, "surplus_charging")
        assert (final["state"], final["id"]) == ("confirmed", "sun")
        assert s.cloud.world.equalizers[METER].surplus["chargingWithImport"] == {
            "eligible": True,
            "maximumImportAddedCurrent": 6,
        }
        s.witness.publish(f"{base}/max_allocated_current", "16")
        final = await s.witness.final(METER, "max_allocated_current")
        assert final["state"] == "confirmed"
        assert s.cloud.world.equalizers[METER].max_allocated_a == 16
        await s.witness.value(f"charger/{METER}/state/max_allocated_current", "16")
        await s.witness.value(f"charger/{METER}/state/surplus_charging_enabled", "true")
        await s.witness.value(f"charger/{METER}/state/surplus_charging_current", "6")
        # The vendor takes one a minute.
        s.witness.publish(f"{base}/max_allocated_current", '{"value":10,"ttl_s":5}')
        final = await s.witness.final(METER, "max_allocated_current", 2)
        assert final["state"] == "expired"
        assert s.cloud.world.equalizers[METER].max_allocated_a == 16


async def test_a_command_goes_to_what_it_is_for(stage):
    """An Equalizer does not start, and a charger has no surplus; too much is refused as ever."""
    async with stage(chargers=1) as s:
        await s.witness.value(f"charger/{METER}/availability", "online")
        for serial, command, payload, reason in (
            (METER, "start", "PRESS", "unknown_command"),
            (ONE, "surplus_charging", "true", "unknown_command"),
            (METER, "max_allocated_current", "63", "over_limit"),
            (METER, "surplus_charging", '{"enabled":true,"volts":6}', "invalid_value"),
            ("QP999999", "surplus_charging", "true", "unknown_charger"),
        ):
            s.witness.publish(f"charger/{serial}/set/{command}", payload)
            final = await s.witness.final(serial, command)
            assert (final["state"], final["reason"]) == ("refused", reason)


async def test_home_assistant_gets_a_device_with_the_energy_of_the_house(stage):
    """Import and export are what its energy dashboard takes."""

    def change(config):
        config["homeassistant"] = {"enabled": True}

    async with stage(chargers=1, change=change) as s:
        watch = Witness(s.broker.port, judges=False)
        await watch.start(("homeassistant/#",))
        topic = f"homeassistant/device/charger_{METER}/config"
        document = json.loads(
            await watch.until(lambda: watch.retained.get(topic), "the description")
        )
        await watch.stop()
        assert document["device"]["model"] == "Easee Equalizer"
        parts = document["components"].values()
        energy = {p["name"]: p["state_class"] for p in parts if p.get("device_class") == "energy"}
        assert energy["Energy import"] == energy["Energy export"] == "total_increasing"
        controls = {p["name"]: p["command_topic"] for p in parts if "command_topic" in p}
        assert controls == {
            "Surplus charging": f"charger/{METER}/set/surplus_charging",
            "Maximal current": f"charger/{METER}/set/max_allocated_current",
        }
        classes = {p.get("device_class") for p in parts}
        assert {"power", "current", "voltage"} <= classes


async def test_one_whose_subscription_is_lost_is_read_over_rest(stage):
    """Where values are polled, an Equalizer is too."""

    def change(config):
        config["easee"] |= {"source": "poll", "poll_interval_s": 10}

    async with stage(chargers=1, change=change, online=False) as s:
        await s.witness.value(f"charger/{METER}/availability", "online")
        topic = f"charger/{METER}/observation/active_power_import"
        document = json.loads(
            await s.witness.until(lambda: s.witness.retained.get(topic), "a polled value")
        )
        assert document["source"] == "poll"

"""Sites through the running gateway: what they have, their circuits, price, cost, consumption."""

import json

import pytest

pytestmark = [pytest.mark.anyio, pytest.mark.acceptance]

ONE, SITE, CIRCUIT = "EH000001", "site/8001", 8101
PRICE = {"per_kwh": 1.25, "currency": "NOK", "vat": 25}


def site_commands(config):
    """Allow commands of the group ``site``."""
    config["commands"]["allow"].append("site")


def personal(config):
    """Publish personal data."""
    site_commands(config)
    config["publish"] = {"personal_data": True}


async def told(s, topic):
    """Wait for a retained document."""
    return json.loads(await s.witness.until(lambda: s.witness.retained.get(topic), topic))


async def test_a_site_is_published_with_its_circuits(stage):
    """No name and no address; a circuit's limit follows what its charger reports."""
    async with stage(chargers=1) as s:
        info = await told(s, f"charger/{SITE}/info")
        assert info == {
            "site_id": 8001,
            "rated_current": 63,
            "circuits": [
                {
                    "circuit_id": CIRCUIT,
                    "rated_current": 32,
                    "fuse_current": 32,
                    "chargers": [ONE],
                }
            ],
            "chargers": [ONE],
            "equalizers": ["QP000001"],
        }
        state = f"charger/{SITE}/circuit/{CIRCUIT}/state"
        await s.witness.value(f"{state}/rated_current", "32")
        await s.witness.value(f"{state}/dynamic_circuit_current_p1", "40")
        s.witness.publish(f"charger/{ONE}/set/dynamic_circuit_current", "20")
        assert (await s.witness.final(ONE, "dynamic_circuit_current"))["state"] == "confirmed"


async def test_the_price_is_set_by_a_charger_of_the_site_and_by_the_site(stage):
    """Confirmed when the cloud holds it; the query tells price, cost and members."""
    async with stage(chargers=1, change=site_commands) as s:
        await told(s, f"charger/{SITE}/info")
        s.witness.publish(f"charger/{ONE}/set/site_price", json.dumps({**PRICE, "id": "p1"}))
        final = await s.witness.final(ONE, "site_price")
        assert (final["state"], final["id"]) == ("confirmed", "p1")
        assert s.cloud.world.price["costPerKWh"] == 1.25
        s.witness.publish(f"charger/{SITE}/set/site_price", json.dumps({**PRICE, "per_kwh": 2}))
        assert (await s.witness.final(SITE, "site_price"))["state"] == "confirmed"
        assert s.cloud.world.price["costPerKwhExcludeVat"] == 1.6
        for name in (ONE, SITE):
            s.witness.publish(f"charger/{name}/get/site", "")
            answer = await s.witness.final(name, "site")
            assert answer["state"] == "confirmed"
            assert answer["value"]["price"] == {
                "per_kwh": 2,
                "per_kwh_without_vat": 1.6,
                "vat": 25,
                "currency": "NOK",
            }
            assert answer["value"]["members"] == [{"user_id": 4711, "role": 1}]
            assert answer["value"]["cost"][0]["chargerId"] == ONE
            assert "name" not in answer["value"]


async def test_what_is_not_for_a_site_is_refused(stage):
    """Each with a reason, and exactly once."""
    async with stage(chargers=1, change=site_commands) as s:
        await told(s, f"charger/{SITE}/info")
        for name, command, payload, reason in (
            (SITE, "start", "PRESS", "unknown_command"),
            (ONE, "site_price", "1.25", "invalid_value"),
            ("site/9", "site_price", json.dumps(PRICE), "unknown_charger"),
        ):
            s.witness.publish(f"charger/{name}/set/{command}", payload)
            final = await s.witness.final(name, command)
            assert (final["state"], final["reason"]) == ("refused", reason)
        s.witness.publish(f"charger/{ONE}/get/keys", "")
        answer = await s.witness.final(ONE, "keys")
        assert (answer["state"], answer["reason"]) == ("refused", "not_allowed")


async def test_with_personal_data_names_and_keys_are_told(stage):
    """On the site's topic, and in the answers."""
    async with stage(chargers=1, change=personal) as s:
        info = await told(s, f"charger/{SITE}/info")
        assert (info["name"], info["address"]["city"]) == ("Simulated site", "Sandnes")
        s.witness.publish(f"charger/{ONE}/get/keys", "")
        answer = await s.witness.final(ONE, "keys")
        assert answer["value"][0]["name"] == "Some One"


async def test_consumption_by_hour(stage):
    """Of what the charger delivered, in the hours asked for."""
    async with stage(chargers=1) as s:
        s.witness.publish(
            f"charger/{ONE}/get/consumption",
            '{"from":"2026-11-01T00:00:00Z","to":"2026-11-02T00:00:00Z","by":"hour"}',
        )
        answer = await s.witness.final(ONE, "consumption")
        assert answer["state"] == "confirmed"
        assert len(answer["value"]) == 24
        assert answer["value"][0]["from"] == "2026-11-01T00:00:00Z"

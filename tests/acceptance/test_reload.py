"""SIGHUP, as ``systemctl reload`` sends it."""

import json
import signal

import pytest
import yaml

pytestmark = [pytest.mark.anyio, pytest.mark.acceptance]

ONE = "EH000001"
ALERT = "charger/bridge/alert/configuration"


def reload(s, text=None, **changes):
    """Write a configuration and tell the gateway."""
    config = {**s.config, **changes}
    s.gateway.config.write_text(yaml.safe_dump(config) if text is None else text)
    s.gateway.process.send_signal(signal.SIGHUP)


@pytest.mark.fault("F39")
async def test_a_changed_file_takes_effect_without_a_restart(stage):
    """What is allowed changes at once; a bad file changes nothing, and is said to be bad."""
    async with stage(chargers=1) as s:
        w = s.witness
        reload(s, commands={"allow": ["control"]})
        info = "charger/bridge/info"
        await w.until(
            lambda: "reboot" not in json.loads(w.retained[info])["capabilities"]["commands"],
            "fewer commands",
        )
        w.publish(f"charger/{ONE}/set/reboot", "PRESS")
        assert (await w.final(ONE, "reboot"))["reason"] == "not_allowed"

        reload(s, "commands: {allow: [everything]}\n")
        alert = await w.until(lambda: w.retained.get(ALERT), "the alert")
        assert "commands.allow" in json.loads(alert)["message"]
        w.publish(f"charger/{ONE}/set/reboot", "PRESS")
        assert (await w.final(ONE, "reboot", 2))["reason"] == "not_allowed"

        reload(s, mqtt={**s.config["mqtt"], "client_id": "another"})
        await w.until(lambda: b"mqtt.client_id" in w.retained[ALERT], "what waits for a restart")
        w.publish(f"charger/{ONE}/set/reboot", "PRESS")
        assert (await w.final(ONE, "reboot", 3))["state"] != "refused"

        reload(s)
        await w.value(ALERT, b"")
        assert s.gateway.process.returncode is None

"""Secrets show up nowhere: the search that every acceptance test ends with, and that it finds."""

import base64
import json
from urllib.parse import quote

import pytest
import yaml

from bridge.core.easee.observation_registry import REGISTRY
from bridge.core.easee.observation_spec import DataType
from bridge.settings import EaseeSettings, MqttSettings, Secret, Settings
from tests import canaries
from tests.acceptance.conftest import mosquitto as mosquitto  # noqa: PLC0414 - fixtures are found by name
from tests.acceptance.conftest import running
from tests.acceptance.conftest import stage as stage  # noqa: PLC0414 - likewise
from tests.canaries import BROKER_PASSWORD, PASSWORD, PHONE, SITE, STREET, TAG
from tests.mosquitto import until

ONE = "EH000001"
NO_TEXT = (DataType.BOOLEAN, DataType.DOUBLE, DataType.INTEGER)
STAMP = "2026-11-22T11:59:00Z"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJpYXQiOjE3fQ.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    "said",
    [
        PASSWORD,
        quote(PASSWORD),
        base64.b64encode(PASSWORD.encode()).decode(),
        PASSWORD.upper(),
        BROKER_PASSWORD,
        TAG,
        TAG.lower(),
        "8071DDCCBBAA04",
        STREET,
        PHONE,
        f"Bearer {JWT}",
    ],
)
def test_the_search_finds_what_it_is_for(tmp_path, said):
    """In a text, in a file, in whatever case or spelling; and says so without repeating it."""
    (tmp_path / "file").write_text(f'{{"a":"{said}"}}')
    found = canaries.found_in(f"x {said} y".encode())

    assert found
    assert canaries.leaks_on_disk(tmp_path)
    assert all(len(one) < 12 for one in found)


def test_the_search_knows_what_may_be_kept(tmp_path):
    """Tokens and tags have their files, if those are ours alone; the password has none."""
    tokens = tmp_path / "tokens.json"
    tokens.write_text(JWT)
    tokens.chmod(0o600)
    assert canaries.leaks_on_disk(tmp_path) == []
    tokens.chmod(0o644)
    assert canaries.leaks_on_disk(tmp_path) == ["tokens.json: open to others"]
    tokens.chmod(0o600)
    tokens.write_text(PASSWORD)
    assert canaries.leaks_on_disk(tmp_path) != []


def test_no_secret_is_in_a_repr():
    """Settings and secrets can be printed, compared and put into an f-string."""
    settings = Settings(
        EaseeSettings("someone", Secret(PASSWORD)),
        MqttSettings(host="localhost", username="a", password=Secret(BROKER_PASSWORD)),
    )

    assert canaries.found_in(f"{settings!r} {settings} {Secret(TAG)}".encode()) == []


def update(number: int, value: str) -> str:
    """Write a hub frame by hand: the simulated charger would not say this of itself."""
    kind = REGISTRY[number].kind.value
    fields = {"mid": ONE, "dataType": kind, "id": number, "timestamp": STAMP, "value": value}
    return json.dumps({"type": 1, "target": "ProductUpdate", "arguments": [fields]}) + "\x1e"


@pytest.mark.anyio
@pytest.mark.acceptance
async def test_a_bad_day_tells_no_secret(stage):
    """Tags in every place, broken frames, revoked tokens and refusals, at level debug."""
    environ = {"CHARGER_BRIDGE_MQTT__PASSWORD": BROKER_PASSWORD}

    def with_login(config):
        config["mqtt"]["username"] = "somebody"

    async with stage(chargers=1, change=with_login, environ=environ) as s:
        # Other texts than personal ones are published as they are, so no tag can be told from them.
        wordless = [i for i, spec in REGISTRY.items() if spec.personal or spec.kind in NO_TEXT]
        for number in wordless:
            s.cloud.send_raw(update(number, TAG))
        # An address where it is known to come, and where nobody expects one.
        for number in (20, 2, 8, 62):
            s.cloud.send_raw(update(number, json.dumps(SITE)))
            s.cloud.send_raw(update(number, json.dumps(SITE)[:-1]))
        session = {"Auth": TAG, "AuthReason": 3, "EnergyKwh": TAG, "Id": TAG, "Start": TAG}
        for number in (223, 129):
            s.cloud.send_raw(update(number, json.dumps(session)))
            s.cloud.send_raw(update(number, f'{{"Auth":"{TAG}"'))
        s.cloud.send_raw(f"{TAG}\x1e")
        s.cloud.send_raw(f'{{"{TAG}":"{PASSWORD}"\x1e')
        # The last of them was read, and with it all before it.
        s.cloud.send_raw('{"type":1,"target":"TheLast","arguments":[]}\x1e')
        await until(lambda: b"TheLast" in bytes(s.gateway.log))
        s.cloud.revoke_tokens()
        s.cloud.drop_connections()
        start = len(s.witness.messages)
        await s.witness.seen("charger/bridge/cloud", "connected", after=start)
        s.witness.publish(f"charger/{ONE}/get/sessions", "{}")
        s.witness.publish(f"charger/{ONE}/set/reboot", '{"value": 7}')
        await s.witness.final(ONE, "sessions")
        await s.witness.final(ONE, "reboot")
        lines = s.gateway.lines

    assert {"stream.anomaly", "observation.undecodable"} <= {line["event"] for line in lines}
    assert any(line["level"] == "debug" for line in lines)


@pytest.mark.anyio
@pytest.mark.acceptance
async def test_a_login_that_fails_in_every_way_tells_no_secret(stage, tmp_path):
    """A refused password, at level debug with tracebacks, is in no line and no alert."""
    async with stage(chargers=1, online=False, username="x@example.com", password="other") as s:
        alert = "charger/bridge/alert/auth_failed"
        await s.witness.until(lambda: s.witness.retained.get(alert), "the alert")
        other = tmp_path / "second"
        other.mkdir()
        config = yaml.safe_load(yaml.safe_dump(s.config))
        config["mqtt"]["client_id"] = "second"
        config["store"]["path"] = str(other / "bridge.db")
        config["easee"]["api_url"] = "http://127.0.0.1:9"
        async with running(config, other) as second:
            await until(lambda: b"cannot connect" in second.log)

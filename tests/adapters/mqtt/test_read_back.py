"""Values that the broker retains, read back at the start."""

import pytest

from bridge.adapters.mqtt import read_back as module
from bridge.adapters.mqtt.read_back import RETRY_S, TIMEOUT_S, read_back
from bridge.core.records.observation import RawObservation
from bridge.errors import ConnectionLost
from bridge.settings import MqttSettings

pytestmark = pytest.mark.anyio

LAST = "home/bridge/state"
DOCUMENT = (
    b'{"id":120,"name":"total_power","value":7.5,"label":null,"unit":"kW",'
    b'"measured_at":"2026-11-22T12:00:00Z","received_at":"2026-11-22T12:00:01Z","source":"stream"}'
)


async def test_what_is_retained_is_emitted_once(clock, monkeypatch):
    """Only documents of observations are asked for; their own time stays."""
    asked = []

    async def kept(_settings, filters, take, *, last):
        asked.append((filters, last))
        take({"home/EH123456/observation/total_power": DOCUMENT})
        take({})

    monkeypatch.setattr(module, "collect_retained", kept)
    events = []
    await read_back(MqttSettings(base_topic="home"), LAST, clock, events.append)

    assert asked == [(("home/+/observation/+",), LAST)]
    (event,) = events
    assert event.observations == (
        RawObservation("EH123456", 120, None, 7.5, "2026-11-22T12:00:00Z"),
    )


async def test_a_broker_that_is_away_is_tried_again_for_a_while(clock, monkeypatch):
    """After a minute the source begins without: its sessions must not wait longer."""
    attempts = []

    async def away(_settings, _filters, _take, *, last):
        attempts.append(clock.now().mono_s)
        raise ConnectionLost("nothing listens")

    monkeypatch.setattr(module, "collect_retained", away)
    events = []
    await read_back(MqttSettings(), LAST, clock, events.append)

    assert events == []
    assert len(attempts) == TIMEOUT_S / RETRY_S

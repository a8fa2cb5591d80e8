"""What the machine withholds: names, descriptors, trust, time to end."""

import asyncio
import contextlib
import itertools
import os
import resource
import signal
import socket
import sqlite3
import ssl
import time
from contextlib import asynccontextmanager

import pytest
import trustme
from structlog.testing import capture_logs

from bridge import app
from bridge.adapters.clock import SystemClock
from bridge.adapters.easee.rest_client import EaseeCloud
from bridge.adapters.mqtt.client import MqttClient
from bridge.adapters.store.sqlite.store import SqliteStore
from bridge.core.events import MqttConnected, MqttDisconnected
from bridge.core.messages import Publish
from bridge.errors import CloudUnavailable
from bridge.settings import EaseeSettings, MqttSettings, Secret, Settings, StoreSettings
from tests.conftest import PATIENCE_S
from tests.faults.conftest import ONE
from tests.mosquitto import Mosquitto, until

pytestmark = pytest.mark.anyio

RECONNECTS = 100
SLOW_NAME_S = 0.5
MAX_LAG_S = 0.25
STOP_TIMEOUT_S = 5.0


class HastyClock(SystemClock):
    """Real time, with short pauses between connections."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(min(seconds, 0.01))


@asynccontextmanager
async def linked(tmp_path, port):
    """A link that comes back at once, and what it emitted."""
    broker = Mosquitto(tmp_path, port)
    broker.start()
    events = []
    mqtt_client = MqttClient(
        MqttSettings(host="127.0.0.1", port=port),
        will=Publish("charger/bridge/state", b"offline"),
        subscriptions=("charger/+/set/+",),
        clock=HastyClock(),
        emit=events.append,
    )
    try:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(mqtt_client.run())
            await until(lambda: count(events, MqttConnected) == 1)
            yield mqtt_client, events
            running.cancel()
    finally:
        broker.kill()


def count(events, kind):
    """Count the events of one kind."""
    return sum(isinstance(event, kind) for event in events)


def descriptors():
    """Count what this process has open."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - numbers, not paths


@pytest.mark.fault("F36")
async def test_a_hundred_connections_leave_no_descriptor_behind(tmp_path, free_port):
    """Each connection that ends gives back everything it had."""
    async with linked(tmp_path, free_port) as (mqtt_client, events):
        before = descriptors()
        for number in range(1, RECONNECTS + 1):
            mqtt_client.reconnect("once more")
            await until(lambda wanted=number: count(events, MqttConnected) > wanted)

        assert descriptors() <= before + 1  # one may just be opening or closing
        assert count(events, MqttDisconnected) == RECONNECTS


@pytest.mark.fault("F36")
async def test_without_a_free_descriptor_it_waits_for_one(tmp_path, free_port):
    """No connection can be made while there is none; afterwards it is, by itself."""
    async with linked(tmp_path, free_port) as (mqtt_client, events):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with capture_logs() as lines:
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
            try:
                mqtt_client.reconnect("it would need a new one")
                await until(lambda: any(x["event"] == "mqtt.connect_failed" for x in lines))
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            await until(lambda: count(events, MqttConnected) == 2)


@pytest.mark.fault("F33")
async def test_a_slow_or_missing_name_server_stops_nobody_else(tmp_path, monkeypatch):
    """Names that take half a second and then do not exist: the loop goes on turning."""
    asked = set()

    def resolve(host, *_args, **_kwargs):
        asked.add(host.decode() if isinstance(host, bytes) else host)
        time.sleep(SLOW_NAME_S)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    settings = Settings(
        EaseeSettings(
            *("x@example.com", Secret("p"), (ONE,)),
            *("https://api.invalid", "https://streams.invalid/hubs/chargers"),
        ),
        mqtt=MqttSettings(host="broker.invalid"),
        store=StoreSettings(path=str(tmp_path / "bridge.db")),
    )
    stop = asyncio.Event()
    lags = []
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(app.serve(settings, stop))
        for _ in range(100):
            before_s = time.perf_counter()
            await asyncio.sleep(0.01)
            lags.append(time.perf_counter() - before_s)
        stop.set()

    assert serving.result() == os.EX_OK
    assert asked == {"api.invalid", "broker.invalid"}
    assert sorted(lags)[int(len(lags) * 0.95)] < MAX_LAG_S


@pytest.mark.fault("F35")
@pytest.mark.parametrize("wrong", ["authority", "host"])
async def test_a_cloud_that_is_not_who_it_says_gets_nothing(tmp_path, monkeypatch, wrong):
    """Not one byte of a login reaches a server with another name or an unknown authority."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    name = "elsewhere.example" if wrong == "host" else "127.0.0.1"
    authority.issue_cert(name).configure_cert(context)
    if wrong == "host":
        trusted = tmp_path / "authority.pem"
        authority.cert_pem.write_to_path(str(trusted))
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    heard = []

    async def listen(reader, writer):
        heard.append(await reader.read())
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0, ssl=context)
    async with server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        settings = EaseeSettings("x@example.com", Secret("canary"), (), url, f"{url}/hubs/chargers")
        cloud = EaseeCloud(
            settings, token_path=tmp_path / "tokens.json", clock=SystemClock(), emit=lambda _: None
        )
        with pytest.raises(CloudUnavailable) as refused:
            await cloud.token()
        await cloud.close()

    assert b"".join(heard) == b""
    assert "certificate" in str(refused.value).lower()


@pytest.mark.fault("F7")
@pytest.mark.acceptance
async def test_without_a_store_values_flow_and_a_charge_can_be_lowered(street, tmp_path):
    """A store that must not be touched is an alert; starting is refused, lowering is not."""
    path = tmp_path / "store" / "bridge.db"
    store = SqliteStore(path, max_mib=8)
    await store.open()
    await store.close()
    with contextlib.closing(sqlite3.connect(path)) as newer:
        newer.execute("PRAGMA user_version = 999")
        newer.execute("UPDATE meta SET value = 999 WHERE name = 'version'")
        newer.commit()
    async with street() as s:
        await s.shows("7.5")
        await s.witness.until(
            lambda: s.witness.retained.get("charger/bridge/alert/storage"), "the alert"
        )
        s.witness.publish(f"charger/{ONE}/set/start", "PRESS")
        refused = await s.witness.final(ONE, "start")
        s.witness.publish(f"charger/{ONE}/set/dynamic_charger_current", "6")
        taken = await s.witness.final(ONE, "dynamic_charger_current")

    assert (refused["state"], refused["reason"]) == ("refused", "storage")
    assert taken["state"] == "confirmed"


@pytest.mark.fault("F37")
@pytest.mark.acceptance
async def test_a_stop_under_load_is_quick_and_clean(street):
    """SIGTERM amid values and commands: `offline` is out and the process gone within 5 s."""
    async with street() as s:
        numbers = itertools.count(1)

        async def load():
            while True:
                s.cloud.push(ONE, 120, f"{next(numbers) / 8:.3f}")
                s.witness.publish(f"charger/{ONE}/set/dynamic_charger_current", "9")
                await asyncio.sleep(0.01)

        loading = asyncio.get_running_loop().create_task(load())
        await until(lambda: next(numbers) > 50)
        began_s = time.perf_counter()
        status = await s.gateway.end(signal.SIGTERM)
        took_s = time.perf_counter() - began_s
        loading.cancel()
        await s.witness.value("charger/bridge/state", "offline", PATIENCE_S)

    assert status == os.EX_OK
    assert took_s < STOP_TIMEOUT_S

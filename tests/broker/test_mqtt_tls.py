"""TLS: verified or nothing, and a server that is not ours learns nothing."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

from bridge.adapters.mqtt.client import check_connection
from bridge.core.events import MqttMessage
from bridge.core.messages import Publish
from bridge.errors import ConnectionLost
from bridge.settings import MqttSettings, Secret, TlsSettings
from tests.broker.conftest import linked
from tests.ports import unused_port

pytestmark = [pytest.mark.broker, pytest.mark.anyio]

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """The authority the bridge trusts."""
    return trustme.CA()


def trusting(folder: Path, authority: trustme.CA, client: trustme.LeafCert | None = None):
    """Write what a client needs and return its settings."""
    authority.cert_pem.write_to_path(folder / "ca.pem")
    if client is None:
        return TlsSettings(enabled=True, ca_file=str(folder / "ca.pem"))
    client.cert_chain_pems[0].write_to_path(folder / "client.pem")
    client.private_key_pem.write_to_path(folder / "client.key")
    return TlsSettings(
        enabled=True,
        ca_file=str(folder / "ca.pem"),
        cert_file=str(folder / "client.pem"),
        key_file=str(folder / "client.key"),
    )


def serving(folder: Path, authority: trustme.CA) -> tuple[str, ...]:
    """Write what mosquitto needs and return its lines."""
    authority.cert_pem.write_to_path(folder / "ca.pem")
    leaf = authority.issue_cert("localhost")
    leaf.cert_chain_pems[0].write_to_path(folder / "server.pem")
    leaf.private_key_pem.write_to_path(folder / "server.key")
    return (
        f"cafile {folder}/ca.pem",
        f"certfile {folder}/server.pem",
        f"keyfile {folder}/server.key",
    )


@contextlib.asynccontextmanager
async def impostor(leaf: trustme.LeafCert) -> AsyncIterator[tuple[int, bytearray]]:
    """Serve TLS with some certificate and keep every byte that comes through it."""
    heard = bytearray()

    async def handle(reader, writer):
        heard.extend(await reader.read(100))
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1], heard


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_a_verified_broker_is_used_as_any_other(make_broker, tmp_path, authority, version):
    """With the right authority everything works over TLS, large messages included."""
    broker = make_broker(listener=serving(tmp_path, authority))
    tls = trusting(tmp_path, authority)
    big = [b"x" * 50_000, b"y" * 60_000]
    async with (
        linked(
            broker.port, host="localhost", tls=tls, version=version, filters=("charger/+/set/+",)
        ) as it,
        linked(broker.port, host="localhost", tls=tls, client_id="other") as other,
    ):
        await it.connected()
        await other.connected()
        for payload in big:
            other.mqtt_client.publish(Publish("charger/EH1/set/x", payload, retained=False))
        await it.message(2)
        await other.acked(2)

    assert [event.payload for event in it.seen(MqttMessage)] == big


@pytest.mark.parametrize(
    ("leaf", "hint"),
    [
        (lambda ours: ours.issue_cert("broker.example"), r"for another name; set mqtt\.host"),
        (lambda _: trustme.CA().issue_cert("localhost"), r"not known here; set mqtt\.tls\.ca_file"),
        (lambda ours: ours.issue_cert("localhost", not_after=LONG_AGO), "has expired"),
    ],
)
@pytest.mark.fault("F35")
async def test_a_wrong_server_gets_no_connect(tmp_path, authority, leaf, hint):
    """Not one byte of CONNECT goes to a server that is not verified, and the reason is named."""
    async with impostor(leaf(authority)) as (port, heard):
        settings = MqttSettings(
            host="localhost",
            port=port,
            username="someone",
            password=Secret("hunter2-hunter2"),
            tls=trusting(tmp_path, authority),
        )
        with pytest.raises(ConnectionLost, match=hint) as caught:
            await check_connection(settings)

    assert bytes(heard) == b""
    assert "hunter2" not in str(caught.value)


async def test_a_client_certificate_is_shown_where_it_is_wanted(make_broker, tmp_path, authority):
    """Mutual TLS works, and without the certificate the missing setting is named."""
    listener = (*serving(tmp_path, authority), "require_certificate true")
    broker = make_broker(listener=listener)
    tls = trusting(tmp_path, authority, authority.issue_cert("bridge"))
    settings = MqttSettings(host="localhost", port=broker.port, tls=tls)
    found = await check_connection(settings)
    bare = MqttSettings(host="localhost", port=broker.port, tls=trusting(tmp_path, authority))
    with pytest.raises(ConnectionLost, match=r"client certificate.*mqtt\.tls\.cert_file"):
        await check_connection(bare)

    assert "TLS verified" in found


async def test_a_port_without_tls_is_named(broker, tmp_path, authority):
    """TLS towards a plain listener fails with the settings to check."""
    settings = MqttSettings(host="localhost", port=broker.port, tls=trusting(tmp_path, authority))
    with pytest.raises(ConnectionLost, match=r"check mqtt\.port and mqtt\.tls\.enabled"):
        await check_connection(settings)


async def test_a_port_with_tls_is_named(make_broker, tmp_path, authority):
    """Plain MQTT towards a TLS listener asks whether TLS is wanted."""
    broker = make_broker(listener=serving(tmp_path, authority))
    with pytest.raises(ConnectionLost, match="does it require TLS"):
        await check_connection(MqttSettings(host="localhost", port=broker.port))


@pytest.mark.parametrize("setting", ["ca_file", "cert_file"])
async def test_files_that_cannot_be_used_are_named(tmp_path, setting):
    """A missing or broken certificate file is named with its setting; nothing is connected."""
    broken = tmp_path / "broken.pem"
    broken.write_text("not a certificate")
    for path, hint in ((tmp_path / "absent.pem", "no such file"), (broken, "no usable")):
        tls = TlsSettings(enabled=True, **{setting: str(path)})
        with pytest.raises(ConnectionLost, match=rf"mqtt\.tls\.{setting}.*{hint}"):
            await check_connection(MqttSettings(host="localhost", port=unused_port(), tls=tls))

"""TLS contexts; what they do on a wire is checked against real servers in ``tests/broker``."""

import ssl

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from bridge.adapters.mqtt.connect_errors import AttemptFailed
from bridge.adapters.mqtt.tls import client_context, closing_failed_handshake
from bridge.settings import TlsSettings


def test_verification_is_on_and_old_versions_are_off():
    """Certificate and host name are always verified, TLS 1.2 at least."""
    context = client_context(TlsSettings(enabled=True))

    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname is True
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_a_named_authority_replaces_the_systems(tmp_path):
    """Who names an authority trusts that one and no other."""
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    context = client_context(TlsSettings(enabled=True, ca_file=str(tmp_path / "ca.pem")))

    assert len(context.get_ca_certs()) == 1


def test_an_encrypted_key_is_refused_without_asking(tmp_path):
    """OpenSSL would ask for the passphrase on the terminal and wait for ever."""
    leaf = trustme.CA().issue_cert("bridge")
    leaf.cert_chain_pems[0].write_to_path(tmp_path / "client.pem")
    key = load_pem_private_key(leaf.private_key_pem.bytes(), None)
    (tmp_path / "client.key").write_bytes(
        key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"hunter2-hunter2")
        )
    )
    tls = TlsSettings(
        enabled=True,
        cert_file=str(tmp_path / "client.pem"),
        key_file=str(tmp_path / "client.key"),
    )

    with pytest.raises(AttemptFailed, match="without a passphrase"):
        client_context(tls)


def test_without_tls_there_is_no_context():
    """Plain MQTT stays plain."""
    with closing_failed_handshake(TlsSettings()) as context:
        assert context is None

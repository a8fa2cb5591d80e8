"""TLS towards the broker, always verified."""

import contextlib
import ssl
from collections.abc import Iterator
from typing import Any

from bridge.adapters.mqtt.connect_errors import AttemptFailed
from bridge.adapters.state_files.plain_file import NotText, read_plain, reason, refuse_wide
from bridge.settings import TlsSettings

# Enough to tell UTF-16; what follows may be comments in any encoding.
SHOWS_ITS_FORM_BYTES = 4


class _Context(ssl.SSLContext):
    """A context that remembers the last socket it wrapped."""

    wrapped: ssl.SSLSocket | None = None

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        """Wrap and remember."""
        self.wrapped = super().wrap_socket(*args, **kwargs)
        return self.wrapped


@contextlib.contextmanager
def closing_failed_handshake(tls: TlsSettings) -> Iterator[ssl.SSLContext | None]:
    """Provide a context, or None without TLS, and close its socket when the block raises.

    paho leaves the socket of a handshake that failed to the garbage collector.

    Raises:
        AttemptFailed: A file of the configuration cannot be used.
    """
    if not tls.enabled:
        yield None
        return
    context = client_context(tls)
    try:
        yield context
    except BaseException:
        if context.wrapped is not None:
            context.wrapped.close()
        raise
    finally:
        context.wrapped = None


def client_context(tls: TlsSettings) -> _Context:
    """Build a context that verifies certificate and host name, TLS 1.2 or newer.

    It is built for each connection, so that renewed certificates are used without a restart.

    Raises:
        AttemptFailed: A file cannot be used; the text names the setting.
    """
    for name in ("ca_file", "cert_file", "key_file"):
        if (path := getattr(tls, name)) is not None:
            _look_at(f"mqtt.tls.{name}", path)
    # Not ssl.create_default_context: since Python 3.13 that also demands key identifiers in every
    # authority (VERIFY_X509_STRICT), which those people make for their own broker often lack.
    context = _Context(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.ca_file is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        try:
            context.load_verify_locations(tls.ca_file)
        except OSError as exc:
            raise _unusable("mqtt.tls.ca_file", tls.ca_file, exc) from exc
    if tls.cert_file is not None:
        try:
            context.load_cert_chain(tls.cert_file, tls.key_file, password=_no_password)
        except OSError as exc:
            raise _unusable("mqtt.tls.cert_file and key_file", tls.cert_file, exc) from exc
    return context


def _no_password() -> str:
    """Return an empty password instead of OpenSSL's prompt, which would wait for ever."""
    raise OSError("the key is encrypted; the bridge reads only keys without a passphrase")


def _look_at(setting: str, path: str) -> None:
    """Refuse what OpenSSL would wait at or not understand.

    Raises:
        AttemptFailed: It is no file, or not one for OpenSSL.
    """
    try:
        refuse_wide(read_plain(path, SHOWS_ITS_FORM_BYTES))
    except FileNotFoundError:
        raise AttemptFailed(f"{setting}: no such file: {path}") from None
    except OSError as exc:
        raise AttemptFailed(f"{setting}: {path}: {reason(exc)}") from exc
    except NotText as exc:
        raise AttemptFailed(f"{setting}: {path} {exc}") from None


def _unusable(setting: str, path: str, error: OSError) -> AttemptFailed:
    if isinstance(error, ssl.SSLError):
        return AttemptFailed(f"{setting}: {path} holds no usable certificate or key")
    return AttemptFailed(f"{setting}: {path}: {reason(error)}")

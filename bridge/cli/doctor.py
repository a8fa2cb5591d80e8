"""``charger-bridge doctor``: examines the installation, reports problems and writes a bundle.

Rules:

1. It is read-only: a running bridge is not disturbed, there is no login, no request of
   the account's budget is spent.
2. What cannot be reached is a finding, not an end.
3. It always writes its bundle: whatever looking raised becomes a finding, and a folder that cannot
   be written is replaced by the one for temporary files.
4. Nothing secret gets into the bundle: values of secret keys are not written at all, everything
   else passes the redaction of the logs, and only topics of the bridge itself are read. Serials,
   addresses and the operator's own words are stand-ins, the same as in the record.
"""

import asyncio
import contextlib
import json
import os
import platform
import stat
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from importlib.metadata import distributions
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.request import ProxyHandler, build_opener

import bridge
from bridge.adapters.clock import SystemClock
from bridge.adapters.easee.clock_skew import clock_skew_s
from bridge.adapters.mqtt.client import check_connection, read_retained
from bridge.adapters.state_files.plain_file import open_plain, reason
from bridge.adapters.state_files.private_file import TOKEN_FILE
from bridge.adapters.store.backends import backend_of, cluster_of
from bridge.cli import report_files
from bridge.cli.diagnosis import (
    OTHERS,
    ClusterStatus,
    DiagnosticData,
    Finding,
    Severity,
    StoreFacts,
    findings,
)
from bridge.config.keys import KEYS
from bridge.config.rules import NOT_READ
from bridge.core.partitions import is_free
from bridge.core.topics import Topics
from bridge.errors import BridgeError, ConnectionLost, StoreError
from bridge.logs import escape, redact, summarize_exception
from bridge.recorder.redaction import Redactor, words_of
from bridge.recorder.values import plain
from bridge.settings import Secret, Settings

MIB = 1024 * 1024
NEWEST_DECISIONS = 50
BUNDLE = Path("charger-bridge-doctor.zip")
REQUEST_TIMEOUT_S = 5.0
SECRET_BYTES = 32
# Texts of the bundle with words of other programs.
OF_OTHERS = frozenset({"configuration.json", "metrics.txt", "vendor.md"})
NO_RECORDS: Mapping[str, bytes] = MappingProxyType({})
MAX_RESPONSE_BYTES = MIB
# Whose versions explain behaviour.
LIBRARIES = (
    "h11", "httpx", "msgspec", "paho-mqtt", "prometheus-client", "pyyaml", "structlog",
    "websockets",
)  # fmt: skip


@contextlib.contextmanager
def _looking(name: str, errors: dict[str, str]) -> Iterator[None]:
    """Record as text what keeps something from being looked at."""
    try:
        yield
    except OSError as error:
        errors[name] = f"{error.filename}: {reason(error)}" if error.filename else reason(error)
    except BridgeError as error:
        errors[name] = str(error)
    except Exception as error:  # noqa: BLE001 - rule 3
        errors[name] = f"internal error: {summarize_exception(error)}"


async def examine(
    settings: Settings, warnings: tuple[str, ...], problems: tuple[str, ...] = ()
) -> tuple[DiagnosticData, dict[str, str]]:
    """Collect the data of all checks.

    Args:
        settings: The configuration, with or without its secrets.
        warnings: What its reader advises.
        problems: What is wrong with its secrets.

    Returns:
        The facts, and further texts for the bundle by file name.
    """
    facts = DiagnosticData(
        settings.mqtt.base_topic, warnings, problems, open_files=_open_files(settings)
    )
    errors: dict[str, str] = {}
    texts: dict[str, str] = {}
    with _looking("broker", errors):
        facts = replace(facts, **await _broker(settings))
    with _looking("cloud", errors):
        skew_s = await clock_skew_s(settings.easee.api_url, SystemClock())
        facts = replace(facts, skew_s=skew_s)
    with _looking("store", errors):
        store, texts["commands.txt"] = await asyncio.to_thread(_store, settings)
        facts = replace(facts, store=store)
    if settings.store.url is not None:
        try:
            facts = replace(facts, cluster=await _cluster(settings))
        except StoreError as error:
            errors["cluster"] = str(error)
    if settings.http.enabled:
        for path in ("/healthz", "/metrics"):
            texts[f"{path[1:]}.txt"] = await asyncio.to_thread(_ask, settings, path)
    return replace(facts, errors=errors), texts


async def _broker(settings: Settings) -> dict[str, Any]:
    """Read what the broker offers and what it keeps of the bridge.

    Raises:
        ConnectionLost: It cannot be reached.
    """
    if settings.mqtt.password == Secret(NOT_READ):
        raise ConnectionLost("not tried without its password")
    topics = Topics(settings.mqtt.base_topic, settings.mqtt.reply_prefixes)
    offers = await check_connection(settings.mqtt, subscriptions=topics.subscriptions)
    prefix = f"{topics.base}/bridge/"
    kept = await read_retained(settings.mqtt, (f"{prefix}#",))
    retained = {
        topic.removeprefix(prefix): payload.decode(errors="replace")
        for topic, payload in sorted(kept.items())
    }
    return {"broker": offers, "retained": retained}


async def _cluster(settings: Settings) -> ClusterStatus:
    """Read members and leases, without becoming one.

    Raises:
        StoreError: The database cannot be read.
    """
    backend = cluster_of(settings, SystemClock())
    try:
        view, parameters = await backend.leases.view(), await backend.parameters()
    finally:
        await backend.close()
    ttl_s = settings.cluster.lease_ttl_s
    return ClusterStatus(
        tuple(e.name for e in view.members if e.seen_ago_s < ttl_s and not e.status.draining),
        tuple(each.partition for each in view.leases if is_free(each)),
        parameters,
        settings.cluster.partitions,
    )


def _store(settings: Settings) -> tuple[StoreFacts, str]:
    """Read what the store holds, also while a bridge has it.

    Raises:
        StoreError, OSError: It cannot be read.
    """
    reader = backend_of(settings.store).reader(settings.store)
    reports = owed = 0
    for stored in reader.reports():
        reports += 1
        owed += not stored.settled
    space = reader.space()
    facts = StoreFacts(
        used_bytes=space.used_bytes,
        quota_bytes=settings.store.max_mib * MIB,
        free_bytes=space.free_bytes,
        reports=reports,
        owed=owed,
        mode=space.mode,
    )
    decisions = reader.decisions(NEWEST_DECISIONS)
    return facts, "".join(f"{' '.join(decision)}\n" for decision in decisions)


def _ask(settings: Settings, path: str) -> str:
    """Query the running bridge's web server; return an error as text."""
    url = f"http://{settings.http.host}:{settings.http.port}{path}"
    try:
        with build_opener(ProxyHandler({})).open(url, timeout=REQUEST_TIMEOUT_S) as answer:
            return str(answer.read(MAX_RESPONSE_BYTES), "utf-8", "replace")
    except OSError as error:
        return f"{url}: {error}\n"


def _open_files(settings: Settings) -> dict[str, int]:
    """Find what holds secrets or tags and is open to others."""
    own = backend_of(settings.store).reader(settings.store).files()
    files = (*own, Path(settings.state_folder) / TOKEN_FILE)
    modes = {str(path): stat.S_IMODE(path.stat().st_mode) for path in files if path.is_file()}
    return {path: mode for path, mode in modes.items() if mode & OTHERS}


# -- the bundle --------------------------------------------------------------------------------


def effective(settings: Settings) -> dict[str, object]:
    """List every key with its value; a secret is only said to be set or not."""
    found: dict[str, object] = {}
    for key in KEYS:
        value = key.of(settings)
        if key.secret or isinstance(value, Secret):
            value = "(set)" if value is not None else "(not set)"
        elif key.path == "easee.username":
            value = f"***@{str(value).rpartition('@')[2]}" if "@" in str(value) else "***"
        found[key.path] = value
    return found


def versions() -> dict[str, str]:
    """Return the versions of the program and its environment."""
    held = {found.name.lower(): found.version for found in distributions()}
    return {
        "charger-bridge": bridge.__version__,
        "python": sys.version.split()[0],
        "system": platform.platform(),
        **{name: held.get(name, "?") for name in LIBRARIES},
    }


def report(found: tuple[Finding, ...]) -> str:
    """Write findings for people, one line each."""
    marks = {Severity.BROKEN: "✗", Severity.WORRYING: "!", Severity.GOOD: "✓"}
    return "".join(
        f"{marks[each.severity]} {each.what}{f'; {each.todo}' if each.todo else ''}\n"
        for each in found
    )


def pack(
    output: Path | None, texts: Mapping[str, str], records: Mapping[str, bytes] = NO_RECORDS
) -> Path:
    """Write the bundle, for its owner alone, and return where.

    Args:
        output: Where; None: :data:`BUNDLE` here. Where that cannot be written, it is in a new
            folder for temporary files.
        texts: Its files.
        records: Files that are redacted already.

    Raises:
        OSError: It cannot be written.
    """
    try:
        return _write(output or BUNDLE, texts, records)
    except OSError as error:
        if output is not None:
            why = f"{output}: {reason(error)}; the bundle is written elsewhere"
            sys.stderr.write(f"charger-bridge: {escape(why)}\n")
        return _write(Path(tempfile.mkdtemp(prefix="charger-bridge-")) / BUNDLE, texts, records)


def _write(path: Path, texts: Mapping[str, str], records: Mapping[str, bytes]) -> Path:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    with (
        os.fdopen(open_plain(path, flags), "wb") as stream,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as bundle,
    ):
        for name, text in texts.items():
            bundle.writestr(name, redact(text))
        for name, content in records.items():
            bundle.writestr(name, content)
    return path


def run(
    settings: Settings,
    warnings: tuple[str, ...],
    problems: tuple[str, ...],
    output: Path | None,
) -> int:
    """Examine, report and write the bundle; return 1 when something is broken, else 0.

    Args:
        settings: The configuration, with or without its secrets.
        warnings: What its reader advises.
        problems: What is wrong with its secrets.
        output: Path of the bundle, or None.
    """
    facts, texts = asyncio.run(examine(settings, warnings, problems))
    errors: dict[str, str] = {}
    records: dict[str, bytes] = {}
    serials: Mapping[str, str] = {}
    with _looking("record", errors):
        records, serials = report_files.records(settings)
    with _looking("vendor", errors):
        texts["vendor.md"] = report_files.vendor_page(settings)
    texts["alerts.txt"] = report_files.alerts(facts.retained)
    texts |= {f"no {name}.txt": f"{error}\n" for name, error in errors.items()}
    found = findings(facts)
    configuration = {"configuration.json": json.dumps(effective(settings), indent=1)}
    facts_text = {"facts.json": json.dumps(asdict(facts), indent=1)}
    said, texts = report(found), configuration | facts_text | texts
    members = () if facts.cluster is None else facts.cluster.members
    texts = _redacted(settings, texts | {"report.txt": said}, serials, members)
    _finish(output, said, texts, records)
    return 1 if found[0].severity is Severity.BROKEN else 0


def run_unconfigured(problems: tuple[str, ...], output: Path | None) -> None:
    """Write the bundle of an installation whose configuration cannot be used.

    Args:
        problems: What is wrong with it.
        output: Path of the bundle, or None.
    """
    found = tuple(Finding(Severity.BROKEN, problem) for problem in problems)
    _finish(output, report(found), {})


def _redacted(
    settings: Settings,
    texts: Mapping[str, str],
    serials: Mapping[str, str],
    members: tuple[str, ...],
) -> dict[str, str]:
    """Return the texts of a bundle with stand-ins.

    In texts with words of other programs only serials, addresses, the words of the configuration
    and names of workers are replaced; elsewhere every word that is not the program's.

    Args:
        settings: The configuration.
        texts: By the name of the file.
        serials: What stands for serials in the record of the bundle.
        members: Names of workers.
    """
    try:
        secret = backend_of(settings.store).reader(settings.store).tag_hash_key()
    except (StoreError, OSError):
        secret = None
    said = plain(settings)
    own = [module for name, module in sys.modules.items() if name.partition(".")[0] == "bridge"]
    redactor = Redactor(secret or os.urandom(SECRET_BYTES), serials, words_of(own))
    redactor.learn(said, *texts.values())
    return {
        name: redactor.known(text, (said, ["l", *members]))
        if name in OF_OTHERS
        else redactor.text(text)
        for name, text in texts.items()
    }


def _finish(
    output: Path | None,
    said: str,
    texts: Mapping[str, str],
    records: Mapping[str, bytes] = NO_RECORDS,
) -> None:
    """Print the report and write the bundle."""
    sys.stdout.write(redact(said))
    files = {"report.txt": said, "versions.json": json.dumps(versions(), indent=1), **texts}
    path = pack(output, files, records)
    sys.stdout.write(f"bundle: {path} (without secrets; check it before you send it)\n")

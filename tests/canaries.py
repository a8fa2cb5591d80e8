"""Secrets that tests use everywhere, and where they must never show up.

Every gateway of the acceptance tests runs with these at level debug. What it logged, what others
heard and what its broker kept, and every file beside its store is searched when it has ended.
"""

import base64
import contextlib
import re
from pathlib import Path
from typing import Final
from urllib.parse import quote

from bridge.recorder.record_file import read

PASSWORD: Final = "canary-password-4711"
BROKER_PASSWORD: Final = "canary-broker-4712"
STORE_PASSWORD: Final = "canary-store-4714"
FEED_PASSWORD: Final = "canary-feed/4715"
# A tag as a charger shows it, and as 108 spells it, from behind.
TAG: Final = "04AABBCCDD7180"
# What an installer writes down of a site; observation 20 carries it.
STREET: Final = "Canary Lane 4713"
PHONE: Final = "+4712345674713"
SITE: Final = {
    "siteId": 4711,
    "name": STREET,
    "address": {"street": STREET, "zip": "4713", "country": "NO"},
    "installer": {"name": STREET, "phone": PHONE},
}
# Everything of others that an installation holds, once by what it is. It may be in a message on the
# operator's own broker, and nowhere in a report.
OTHERS: Final = {
    "an account": "jane.canaryson@example.com",
    "a charger": "Carport Canaryson",
    "a street": STREET,
    "a phone": PHONE,
    "a tag": TAG,
    "the person of a tag": "Canarietta Fugl",
    "a host": "canaryhost.example",
    "a worker": "canary-nas-4718",
    "a prefix": "canaryassistant",
    "a queue": "Canary_4719.Q",
    "a command": "canary-command-4720",
    "a reply topic": "canaryphone/answers",
    "a plant": "CanaryPlant",
}
_ANY_OTHER: Final = re.compile(
    rb"canar|fugl|(?<![\d.])(?:47114[789]|471150)(?!\d)|"
    + PHONE[1:].encode()
    + b"|"
    + TAG.encode(),
    re.IGNORECASE,
)
_ACCOUNT: Final = (PASSWORD, BROKER_PASSWORD, STORE_PASSWORD, FEED_PASSWORD)
_TEXTS: Final = (*_ACCOUNT, STREET, PHONE, TAG, bytes.fromhex(TAG)[::-1].hex())
_SPELLED: Final = {
    spelling.encode()
    for text in _TEXTS
    for spelling in (text, quote(text), base64.b64encode(text.encode()).decode(), text.lower())
}
# The simulated cloud's tokens, like the vendor's, are JWTs: each begins like this.
_TOKEN: Final = rb"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"
_ANY: Final = re.compile(b"|".join((*map(re.escape, _SPELLED), _TOKEN)), re.IGNORECASE)

# Where secrets belong: tokens beside the store; tags in it, as the charger sent them, for billing.
# Both are for their owner alone, and the account's password is in neither.
TOKEN_FILE: Final = "tokens.json"
STORE: Final = "bridge.db"


def found_in(data: bytes) -> list[str]:
    """List the secrets in some bytes, shortened: a failing test must not print them either."""
    return sorted({match[0][:8].decode() + "…" for match in _ANY.finditer(data)})


def others_in(data: bytes) -> list[str]:
    """List what belongs to others in a report, with what is around it, and the secrets."""
    around = (
        data[max(0, found.start() - 40) : found.end() + 20] for found in _ANY_OTHER.finditer(data)
    )
    return [*sorted({each.decode(errors="replace") for each in around})[:10], *found_in(data)]


def leaks_on_disk(folder: Path) -> list[str]:
    """List the files of a gateway and its broker that hold a secret they may not hold."""
    leaks = []
    for path in sorted(folder.rglob("*")):
        with contextlib.suppress(FileNotFoundError):  # another process is at work here
            if path.is_file() and not path.is_symlink():
                leaks += _leaks_of(path)
    return leaks


def unpacked(record: bytes) -> bytes:
    """Return everything that a record of the recorder holds, as one text."""
    held = read(record)
    return repr((held.settings, held.salt, held.state, held.entries)).encode()


def _leaks_of(path: Path) -> list[str]:
    data = path.read_bytes()
    if path.suffix == ".rec":
        return [f"{path.name}: {other}" for other in others_in(unpacked(data))]
    if path.name != TOKEN_FILE and not path.name.startswith(STORE):
        return [f"{path.name}: {secret}" for secret in found_in(data)]
    leaks = [f"{path.name}: {secret}" for secret in _ACCOUNT if secret.encode() in data]
    if path.stat().st_mode & 0o077:
        leaks.append(f"{path.name}: open to others")
    return leaks

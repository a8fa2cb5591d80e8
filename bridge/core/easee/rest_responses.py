"""Parses responses of the vendor's REST interface. Raises only ``DecodeError``.

Rules:

1. A body is somebody else's: every key may be missing, null or of another type. What cannot be
   used is dropped where a list goes on without it, and refused where it was the point.
2. Ids that are not spelled like a serial do not get in: they become topics and paths.
3. Bodies of logins are never quoted, not even in an excerpt.

The adapter caps bodies at 1 MiB before they come here. Shapes: Easee's OpenAPI of 2022, and what
clients saw since. How the cloud says no is read in :mod:`bridge.core.easee.error_responses`.
"""

import re
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress

import msgspec

from bridge.core.easee.json_fields import (
    EXCERPT_BYTES,
    flag,
    has_serial,
    integer,
    one_line,
    parse_json,
    parsed_object,
)
from bridge.core.easee.observation_json import lowered, observation
from bridge.core.easee.rest_requests import is_serial
from bridge.core.records.observation import RawObservation
from bridge.errors import DecodeError
from bridge.settings import Secret

# An hour is what the vendor gives today, a day what it gave before. Anything shorter than the
# lower bound would make us refresh without end, anything above the upper is a mistake; where no
# number stands it is today's.
DEFAULT_LIFETIME_S = 3600.0
MIN_LIFETIME_S = 60.0
MAX_LIFETIME_S = 30 * 86_400.0
# Twice what servers commonly take as one header.
MAX_TOKEN_LENGTH = 16_384
MAX_SHAPES = 3
MAX_KEYS = 4
MAX_KEY_LENGTH = 20
# A list may stand in an object, that in another, and so on.
MAX_LIST_DEPTH = 4
OK = 200
_SECONDS = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,12})?", re.ASCII)


class TokenPair(msgspec.Struct, frozen=True):
    """What a login or a refresh brings.

    Attributes:
        access: Goes into the Authorization header.
        refresh: Good for one refresh: the vendor rotates it. None when there was none.
        lifetime_s: How long the access token is valid, from its arrival.
    """

    access: Secret
    refresh: Secret | None
    lifetime_s: float


class ChargerList(msgspec.Struct, frozen=True):
    """The chargers an account lists.

    Attributes:
        charger_ids: In the account's order, each once.
        dropped: Entries without an id that is spelled like a serial.
        shapes: What they look like instead, in words without any id; empty without such.
        products: The vendor's product code by serial, where the list tells.
    """

    charger_ids: tuple[str, ...]
    dropped: int
    shapes: str = ""
    products: Mapping[str, int] = msgspec.field(default_factory=dict)


class ObservationList(msgspec.Struct, frozen=True):
    """What the cloud remembers of a charger.

    Attributes:
        observations: As they came; each is still to be judged.
        dropped: Entries whose observation cannot be determined.
    """

    observations: tuple[RawObservation, ...]
    dropped: int = 0


class CommandReference(msgspec.Struct, frozen=True):
    """What the cloud gave for a command it took; the charger's answer carries the same numbers.

    Attributes:
        device: Serial of the charger, empty when the answer did not say.
        command_id: The vendor's command id, or None when the answer did not say.
        ticks: .NET ticks, over 2**53: never a float. None when the answer did not say.
        accepted: The charger's verdict where the answer already brings it (some 200 bodies are a
            command state instead of a ticket), else None.
    """

    device: str
    command_id: int | None
    ticks: int | None
    accepted: bool | None = None


class CommandState(msgspec.Struct, frozen=True):
    """What became of a command, as the cloud remembers it.

    Attributes:
        accepted: ``wasAccepted``: the verdict, or None while there is none.
        result_code: 1 sent, 2 expired, 3 executed, 4 rejected, by the 2022 documentation; samples
            contradict it (0 with an accepted command, evcc#19914), so it is data, not a verdict.
        ticks: As in the ticket, or None.
    """

    accepted: bool | None
    result_code: int | None
    ticks: int | None


class Circuit(msgspec.Struct, frozen=True):
    """Where a charger hangs.

    Attributes:
        charger_ids: Every charger on this circuit, the one asked for included.
    """

    site_id: int
    circuit_id: int
    charger_ids: tuple[str, ...]


def token_pair(body: bytes) -> TokenPair:
    """Read the answer to a login or a refresh: it is usable as soon as it holds an access token.

    Raises:
        DecodeError: It holds none. Nothing of the body is in the error.
    """
    document = parse_json(body, "login", quote=False)
    entry = lowered(document) if isinstance(document, dict) else {}
    access = _token(entry.get("accesstoken"))
    if access is None:
        raise DecodeError("no access token in the answer", source="login")
    return TokenPair(access, _token(entry.get("refreshtoken")), _lifetime_s(entry.get("expiresin")))


def _token(value: object) -> Secret | None:
    """Return a token if it can be used in a header: visible ASCII only."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TOKEN_LENGTH:
        return None
    return Secret(value) if all("!" <= character <= "~" for character in value) else None


def _lifetime_s(value: object) -> float:
    """Read how long a token lives: a number, or one in a text; anything else is the usual."""
    if isinstance(value, str) and _SECONDS.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        return DEFAULT_LIFETIME_S
    # Bounded before it becomes a float: an int of any length may stand here.
    return float(min(max(value, MIN_LIFETIME_S), MAX_LIFETIME_S))


def charger_list(body: bytes) -> ChargerList:
    """Read ``GET /api/chargers``: a list of objects with an ``id``, its keys in any case.

    A serial goes into topics and paths as Easee spells it, so one that is spelled otherwise is not
    put right here: it is unknown whether the vendor accepts it.

    Raises:
        DecodeError: It is no list; the reason says what it is.
    """
    entries = parse_json(body, "charger list")
    if not isinstance(entries, list):
        raise DecodeError(f"no list but {_looks(entries)}", source="charger list")
    entries = [_spelled(entry) if isinstance(entry, dict) else entry for entry in entries]
    known = [entry for entry in entries if has_serial(entry, "id")]
    ids = tuple(dict.fromkeys(entry["id"] for entry in known))
    codes = ((entry["id"], integer(entry.get("productCode"))) for entry in known)
    products = {serial: code for serial, code in codes if code is not None}
    odd = Counter(_looks(entry) for entry in entries if not has_serial(entry, "id"))
    shapes = ", ".join(f"{times} {shape}" for shape, times in odd.most_common(MAX_SHAPES))
    return ChargerList(
        ids, dropped=len(entries) - len(known), shapes=one_line(shapes), products=products
    )


def _spelled(entry: dict[str, object]) -> dict[str, object]:
    """Write the keys that are read as they are documented, and leave the others."""
    names = {"id": "id", "productcode": "productCode"}
    return {names.get(key.lower(), key): value for key, value in entry.items()}


def _looks(entry: object) -> str:
    """Describe an entry that is not an object with a serial as its id."""
    match entry:
        case {"id": str(serial)} if is_serial(serial.upper()):
            return "with an id in lower-case letters"
        case {"id": str()}:
            return "with an id that is not spelled like a serial"
        case {"id": bool() | int() | float()}:
            return "with an id that is a number"
        case {"id": None}:
            return "with an id that is null"
        case {"id": _}:
            return "with an id that is no text"
        case dict():
            held = max((len(held) for held in entry.values() if isinstance(held, list)), default=0)
            keys = " ".join(one_line(key)[:MAX_KEY_LENGTH] for key in list(entry)[:MAX_KEYS])
            inside = f" and a list of {held}" * bool(held)
            return f"an object without id, with the keys {keys or 'none'}{inside}"
        case None:
            return "null"
        case str():
            return "a text"
        case list():
            return f"a list of {len(entry)}"
        case _:
            return "a number"


def observations(body: bytes, charger_id: str) -> ObservationList:
    """Read ``GET /state/{id}/observations``.

    The answer is ``{"observations": [{"id": 109, "value": 3, "dataType": 4, "timestamp": "…"}]}``
    or the bare list, or has the list somewhere else where nothing but the list can be meant. An
    observation the charger never made is absent, not null.

    Args:
        body: The body.
        charger_id: The charger that was asked for; the answer does not repeat it.

    Raises:
        DecodeError: There is no list of observations, or nothing in it can be read.
    """
    entries = _list_in(parse_json(body, "observations"), "observations")
    if entries is None:
        raise DecodeError("no list", source="observations", raw=body[:EXCERPT_BYTES])
    found: list[RawObservation] = []
    for entry in entries:
        with suppress(DecodeError):
            found.append(observation(lowered(entry) if isinstance(entry, dict) else {}, charger_id))
    if entries and not found:
        raise DecodeError("nothing readable", source="observations", raw=body[:EXCERPT_BYTES])
    return ObservationList(tuple(found), dropped=len(entries) - len(found))


def _list_in(document: object, name: str, levels: int = MAX_LIST_DEPTH) -> list[object] | None:
    """Find the list that is meant: under its name, or the only thing there that can hold one."""
    match document:
        case [list() as only]:
            return _list_in(only, name, levels - 1) if levels else None
        case list():
            return document
        case dict() if levels:
            entry = lowered(document)
            holders = [inner for inner in entry.values() if isinstance(inner, dict | list)]
            if name in entry:
                return _list_in(entry[name], name, levels - 1)
            return _list_in(holders[0], name, levels - 1) if len(holders) == 1 else None
        case _:
            return None


def command_tickets(body: bytes) -> tuple[CommandReference, ...]:
    """Read the answer to a command or a settings call that the cloud took.

    ``/commands/*`` answer one object, ``/settings`` a list with one per changed key. Nothing at
    all, ``null``, ``[]`` and ``{}`` hold no tickets; what that means, :func:`is_noop_response`
    tells. Keys are read in either case: other parts of the vendor's interface write them with
    a capital.

    Raises:
        DecodeError: It is something else: a web page, or an object without ticks and verdict.
    """
    if not body.strip():
        return ()
    document = parse_json(body, "command answer")
    entries = document if isinstance(document, list) else [document]
    tickets = []
    for entry in entries:
        ticket = None if entry is None else _ticket(entry, body)
        # Ticks of 0 are none.
        if ticket is not None and (ticket.ticks or ticket.accepted is not None):
            tickets.append(ticket)
    return tuple(tickets)


def _ticket(entry: object, body: bytes) -> CommandReference | None:
    if not isinstance(entry, dict):
        raise DecodeError("no object", source="command answer", raw=body[:EXCERPT_BYTES])
    if "ticks" not in entry:
        entry = {f"{key[:1].lower()}{key[1:]}": item for key, item in entry.items()}
    ticks = integer(entry.get("ticks"))
    accepted = flag(entry.get("wasAccepted"))
    if ticks is None and accepted is None:
        if not entry:
            return None
        source = "command answer"
        raise DecodeError("neither ticks nor a verdict", source=source, raw=body[:EXCERPT_BYTES])
    command_id = integer(entry.get("commandId", entry.get("id")))
    device = entry["device"] if has_serial(entry, "device") else ""
    return CommandReference(device, command_id, ticks, accepted)


def is_noop_response(status: int, body: bytes) -> bool:
    """Return whether a response without a ticket means that there was nothing to change.

    200 is an end: done, or so already. 202 says that something goes to the charger, unless the
    list of what goes there is empty or its ticks are 0. A 202 that says nothing was taken all the
    same: what the charger does will tell.

    Args:
        status: A 2xx.
        body: What :func:`command_tickets` read without finding ticks or a verdict in it.
    """
    return status == OK or body.strip() not in (b"", b"null", b"{}")


def command_state(body: bytes) -> CommandState:
    """Read ``GET /api/commands/{device}/{commandId}/{ticks}``.

    Raises:
        DecodeError: It is no object.
    """
    document = parsed_object(body, "command state")
    return CommandState(
        accepted=flag(document.get("wasAccepted")),
        result_code=integer(document.get("resultCode")),
        ticks=integer(document.get("ticks")),
    )


def charger_site(body: bytes, charger_id: str) -> Circuit:
    """Read ``GET /api/chargers/{id}/site``: find the circuit the charger hangs on.

    Args:
        body: A site: ``{"id": 7, "circuits": [{"id": 9, "siteId": 7, "chargers": [{"id": …}]}]}``.
        charger_id: The charger to look for.

    Raises:
        DecodeError: No circuit of the answer has this charger.
    """
    site = parsed_object(body, "charger site")
    circuits = site.get("circuits")
    for circuit in circuits if isinstance(circuits, list) else ():
        if not isinstance(circuit, dict) or not isinstance(circuit.get("chargers"), list):
            continue
        ids = tuple(entry["id"] for entry in circuit["chargers"] if has_serial(entry, "id"))
        site_id = integer(circuit.get("siteId"))
        if site_id is None:
            site_id = integer(site.get("id"))
        circuit_id = integer(circuit.get("id"))
        if charger_id in ids and site_id is not None and circuit_id is not None:
            return Circuit(site_id, circuit_id, ids)
    raise DecodeError("the charger is on no circuit", source="charger site")

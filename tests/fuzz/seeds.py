"""What fuzzing begins with: one sound input of each kind, the words of our tables, and bombs."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from websockets.frames import Opcode

from bridge.conventions.sparkplug.payload import DataType, Metric, encode, encode_metric
from bridge.core.easee.command_catalogue import CATALOGUE, CommandSpec
from bridge.core.easee.command_payloads import read_payload
from bridge.core.easee.observation_registry import REGISTRY
from bridge.core.queries.catalogue import QUERIES
from bridge.errors import CommandRefused
from tests.fuzz.core import CUT, ONE
from tests.fuzz.hub import frame
from tests.fuzz.mqtt import NAMES

REBIRTH = Metric("Node Control/Rebirth", None, 5, DataType.BOOLEAN, True)
WRITES = (
    Metric("Command/start", None, 5, DataType.BOOLEAN, True),
    Metric("", 65541, 5, DataType.DOUBLE, 16.0, False, (("Quality", DataType.INT32, 192),)),
    Metric("Command/dynamic_circuit_current", None, 5, DataType.STRING, '{"phase1":10}'),
)
STAMP = "2026-11-22T11:59:00Z"
SERIAL = ONE.encode()


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _cut(*parts: bytes) -> bytes:
    return CUT.join(parts)


REPORT = {
    "Auth": "04AABBCC", "AuthReason": 3, "EnergyKwh": 0.411273, "Id": 435,
    "MeterValueStart": 1277.872637, "MeterValueStop": 1278.28391,
    "Start": "2026-11-22T10:00:00Z", "Stop": "2026-11-22T11:00:00.123Z",
}  # fmt: skip
SESSION = {
    "id": 435, "chargerId": ONE, "carConnected": "2026-11-22T10:00:00Z", "isComplete": True,
    "carDisconnected": "2026-11-22T11:00:00", "kiloWattHours": 0.41, "authToken": "04AA",
}  # fmt: skip
PROBLEM = {
    "errorCode": 410, "errorCodeName": "ChargerDisconnected", "title": "No", "detail": "[Empty]",
    "errors": {"enabled": ["is no boolean"]}, "message": "Forbidden",
}  # fmt: skip
TICKET = {"device": ONE, "commandId": 48, "ticks": 639086870099692230}
SITE = {"id": 7, "circuits": [{"id": 9, "siteId": 7, "chargers": [{"id": ONE}]}]}
PLAN = {"chargingStartTime": "2026-11-22T20:00:00Z", "chargingStopTime": None, "repeat": True}
# A PUBLISH at QoS 1 with Response Topic, Correlation Data and Message Expiry; then a PUBACK.
PROPERTIES = b"\x02\0\0\0\x1e\x08\0\x0fcharger/reply/a\x09\0\x03abc\x26\0\x01k\0\x01v"
_WHERE = b"charger/" + SERIAL + b"/set/dynamic_charger_current"
_REST = b"\0" + bytes([len(_WHERE)]) + _WHERE + b"\0\x07" + bytes([len(PROPERTIES)]) + PROPERTIES
PACKET = b"\x32" + bytes([len(_REST) + 2]) + _REST + b"16" + b"\x40\x02\0\x01"

CONFIG = b"""
easee: {username: someone@example.com, chargers: [EH123456], source: poll}
mqtt:
  host: localhost
  port: 1883
  tls: {enabled: false, ca_file: null}
commands: {allow: [control, start], ttl_s: 60}
log: {level: info}
"""


def _frames() -> Iterator[bytes]:
    yield b"{}\x1e"
    yield b'{"type":6}\x1e'
    yield b'{"type":3,"invocationId":"0","error":"no"}\x1e'
    yield b'{"type":7,"error":"bye","allowReconnect":true}\x1e'
    for number, value in ((109, "3"), (120, "6.052999973297119"), (96, "55"), (15, "true")):
        argument = {"mid": ONE, "dataType": 4, "id": number, "timestamp": STAMP, "value": value}
        call = {"type": 1, "target": "ProductUpdate", "arguments": [argument]}
        yield _json(call) + b"\x1e"
    answer = {
        "serialNumber": ONE, "id": 48, "timestamp": STAMP, "deliveredAt": STAMP,
        "wasAccepted": True, "resultCode": 0, "comment": "", "ticks": 638229301050930920,
    }  # fmt: skip
    yield _json({"type": 1, "target": "CommandResponse", "arguments": [answer]}) + b"\x1e"


def _taken_by(spec: CommandSpec[Any]) -> Callable[[bytes], bool]:
    def takes(payload: bytes) -> bool:
        try:
            spec.read(read_payload(payload).value, 32)
        except CommandRefused:
            return False
        return True

    return takes


CATALOGUE_TAKES = {name: _taken_by(spec) for name, spec in CATALOGUE.items()}
PHASES = {"phase1": 16, "phase2": 10, "phase3": 6, "minutes": 30}


def _commands() -> Iterator[bytes]:
    given = (b"16", b"true", b"PRESS", b"1", b"auto", _json(PHASES), _json(PLAN))
    for number, name in enumerate(NAMES):
        for value in filter(CATALOGUE_TAKES[name], given):
            yield _cut(bytes([number]), value, b"charger/reply/me", name.encode())
    envelope = {"value": 16, "id": "a", "ttl_s": 30, "expires_at": "2026-11-22T12:10:00Z"}
    yield _cut(b"\0", _json(envelope), b"answers/x", b"\xff\x00")
    period = {"from": "2026-11-21T12:00:00Z", "to": STAMP, "name": "total_power"}
    yield from (_cut(bytes([number]), _json(period)) for number in (0xF1, 0xF2, 0xF3))
    yield _cut(b"\0r", b"16")


def _topics() -> Iterator[bytes]:
    for tail in ("set/start", "get/observations", "availability", "set/start/more", "state/x"):
        yield _cut(f"charger/{ONE}/{tail}".encode(), b"PRESS")
    for tail in ("state", "alert/storage", "session/ack", "session/replay", "info"):
        yield _cut(f"charger/bridge/{tail}".encode(), b"offline", b"r")


CHUNKED = (
    b"POST / HTTP/1.1\r\nHost: [::1]:80\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"
)
EXPECTING = (
    b"GET / HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 5\r\n"
    b"Expect: 100-continue\r\n\r\n12345"
)
BASIC = [b"", b"null", b"[]", b"{}", b"0", b'"x"', b"\xff\xfe", b"{", b"<html>"]
SEEDS: dict[str, list[bytes]] = {
    "topic": list(_topics()),
    "payload": [b"16", b"on", b"PRESS", _json({"value": 16, "id": "a", "ttl_s": 30}), _json(PLAN)],
    "command": list(_commands()),
    "packets": [PACKET, b"\x20\x03\0\0\0", b"\x90\x04\0\x01\0\x01", b"\xe0\x02\x8d\0", b"\xd0\0"],
    "properties": [PROPERTIES],
    "publication": [_cut(b"charger/bridge/state", b"unit", b"A", b"42")],
    "consumer": [b"key-1", _json({"key": "k", "revision": 1}), _json(["k"]),
                 _json({"since": STAMP, "charger": ONE})],
    "plant": [
        _cut(b"\0", encode(5, [encode_metric(REBIRTH)], None)),
        _cut(b"\1", encode(5, [encode_metric(one) for one in WRITES], None)),
        _cut(b"\2", b'{"online":true,"timestamp":1668114759262}'),
    ],
    "websocket": [
        b"\x40\x80" + frame(Opcode.TEXT, b"".join(_frames())),
        b"\x10\x11" + frame(Opcode.PING, b"p") + frame(Opcode.BINARY, b"{}\x1e"),
        b"\0\0" + frame(Opcode.TEXT, b"{", fin=False) + frame(Opcode.CONT, b"}\x1e"),
        b"\0\0" + frame(Opcode.CLOSE, b"\x03\xe8bye"),
    ],
    "frames": list(_frames()),
    "observation": [
        _cut(bytes([number // 256, number % 256, 4]), STAMP.encode(), value)
        for number, value in ((109, b"3"), (120, b"7.2"), (129, _json(REPORT)), (96, b"55"),
                              (15, b"true"), (128, b'"04AA"'), (254, b"[1,2]"))
    ],
    "session": [_json(REPORT), _json({"Id": 1, "Start": STAMP, "MeterValue": 1.5})],
    "negotiation": [_json({"connectionToken": "a b", "connectionId": "c"}), _json({"url": "x"})],
    "bodies": [
        _json({"accessToken": "a", "refreshToken": "r", "expiresIn": 3600}),
        _json([{"id": ONE, "name": "Garage"}]),
        _json({"observations": [{"id": 109, "value": 3, "dataType": 4, "timestamp": STAMP}]}),
        _json(TICKET), _json([TICKET]), _json({"wasAccepted": True, "resultCode": 3}), _json(SITE),
    ],
    "session_bodies": [
        _json([SESSION]), _json({"measurements": [{"value": 1, "measuredAt": STAMP}]}),
    ],
    "refusal": [_json(PROBLEM), b"Your IP is now blocked", b"<html><b>502</b></html>"],
    "date": [b"Sun, 22 Nov 2026 12:00:10 GMT", b"Sun, 22 Nov 2026 13:00:00 +0100", b"0"],
    "retry_after": [b"120", b"0.5", b"Sun, 22 Nov 2026 12:00:10 GMT", b"-1", b"1e9"],
    "url": [b"/api/chargers/EH123456", b"/../x", b"//host/x", b"/a?b=c#d", b"/%2F", b"/@h"],
    "http_request": [
        b"GET /healthz HTTP/1.1\r\nHost: localhost:8480\r\n\r\n",
        b"HEAD /healthz?x=1 HTTP/1.0\r\n\r\nGET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        CHUNKED,
        EXPECTING,
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    ],
    "configuration": [
        CONFIG, b"a: &b [*b, *b]", b"x: !!python/object:os.system [1]", b"<<: {a: 1}",
    ],
    "environment": [_cut(bytes([n]), v) for n in range(40) for v in (b"true", b"1", b"[a, b]")],
    "command_row": [
        _cut(name.encode(), b"id:a", b"d" * 64, state, b"", b'{"value":16,"argument":"x","seq":1}')
        for name in sorted(CATALOGUE)[:6]
        for state in (b"received", b"waiting", b"sent", b"accepted", b"confirmed")
    ],
    "columns": [_json(["key", 1, ONE, 7, STAMP, STAMP, 1.5, None, None, 3, "", "stream", STAMP,
                       STAMP, 0, "", 0, None])],
    "page": [
        bytes([0x0D, 0, 0, 0, 1, 0, 16, 0, 0, 16]) + bytes(6) + b"\x20\x01\x13" + b"\x01" * 60,
    ],
    "log_file": [_cut(b"\x37\x7f\x06\x82" + bytes(28), bytes(48))],
    "own_files": [
        _json({"account": "account", "access_token": "a", "refresh_token": None,
               "expires_at": "2026-11-22T12:00:00+00:00", "blocked_until": None,
               "chargers": [ONE]}),
    ],
    "log_line": [_cut("\x1b[2J\u202e password=x".encode(), b"token")],
}  # fmt: skip

WORDS = sorted(
    {name for spec in REGISTRY.values() for name in (spec.name, str(spec.id))}
    | set(CATALOGUE)
    | set(QUERIES)
    | {key for one in (REPORT, SESSION, PROBLEM, TICKET, SITE, PLAN) for key in one}
    | {"ProductUpdate", "CommandResponse", "arguments", "target", "mid", "dataType", "timestamp"}
    | {"accessToken", "refreshToken", "expiresIn", "observations", "measurements", "wasAccepted"}
    | {"value", "id", "ttl_s", "expires_at", "amps", "minutes", "phase1", "phase2", "phase3"}
    | {"charger/", "/set/", "/get/", "bridge/", "charger/reply/", ONE, STAMP, "\x1e"}
    | {"NaN", "Infinity", "-0", "1e400", "\\ud800", "\\u0000", "\x1b[2J", "\u202e", "null"}
    | {"connectionToken", "true"}
    | {"easee:", "mqtt:", "tls:", "allow:", "<<:", "&a", "*a", "!!", "---", "GMT"}
)  # fmt: skip


def dictionary() -> str:
    """Spell the words as libFuzzer reads them."""
    escaped = ("".join(f"\\x{byte:02x}" for byte in word.encode()) for word in (*WORDS,))
    return "\n".join(f'"{word}"' for word in (*escaped, "\\xff\\xfe")) + "\n"


def _bombs() -> Iterator[tuple[str, bytes]]:
    deep = 100_000
    yield "lists 100,000 deep", b"[" * deep + b"]" * deep
    yield "lists without an end", b"[" * deep
    yield "objects 100,000 deep", b'{"value":' * deep + b"1" + b"}" * deep
    yield "flow sections 100,000 deep", b"a: " + b"{a: " * deep
    yield "a number of a million digits", b"9" * 1_000_000
    yield "a fraction of a million digits", b"0." + b"3" * 1_000_000
    yield "a huge exponent", b"1e999999999"
    yield "a huge exponent in an object", b'{"value":1e999999999,"EnergyKwh":-1e999999999}'
    yield "not a number", b'{"value":NaN,"EnergyKwh":NaN,"expiresIn":Infinity}'
    yield "half a character", b'{"value":"\\ud800","Start":"\\udfff","\\ud800":1}'
    yield "half a character as bytes", b'"\xed\xa0\x80"'
    yield "a key twice", b'{"value":1,"value":2,"id":1,"id":"a"}'
    yield "10 MB of text", b'"' + b"a" * 10_000_000 + b'"'
    yield "10 MB without an end", b"x" * 10_000_000
    yield "a token of a megabyte", b'{"connectionToken":"' + b"a" * 1_000_000 + b'"}'
    yield "NUL", b"\0" * 70_000
    yield "65,535 levels", b"charger" + b"/a" * 32_764
    yield "a topic of 65,535 bytes", b"charger/" + b"E" * 65_500 + b"/set/start"
    yield "100,000 keys", b"{" + b",".join(b'"%d":1' % n for n in range(100_000)) + b"}"
    yield "1,000 requests", b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n" * 1000
    yield "a header without an end", b"GET / HTTP/1.1\r\nA: " + b"a" * 10_000_000
    yield "100,000 headers", b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 100_000
    yield "100,000 records", b'{"type":6}\x1e' * 100_000


BOMBS = dict(_bombs())

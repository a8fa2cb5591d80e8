"""MQTT 5 messages that are legal and that nobody expects."""

import random
import struct
from collections.abc import Iterator

from tests.scripted import text, varint

# MQTT 5 in 1.5.4: these are text, or should only "not be used"; a broker may let all of them pass.
ODD_TEXTS = (
    b"",
    b"\xef\xbb\xbf",  # U+FEFF
    b"\xef\xbb\xbfnote",
    "\u0001\u001f\u007f\u009f".encode(),
    "\ufdd0\ufffe\uffff\U0001ffff".encode(),
    "\u202e\u2066 \u200b".encode(),
    "e\u0301\U0001f50c".encode(),
    b" \t\n",
    b"../../etc/passwd",
    b"#/+/$SYS",
    b"a" * 65_535,
)
RESPONSES = (b"charger/reply/other", b"reply/x", *ODD_TEXTS[1:])


def odd_properties(draw: random.Random, *, most_pairs: int = 200) -> bytes:
    """Draw legal properties of a PUBLISH, any of them and in any order."""
    some = [
        b"\x01" + bytes([draw.randrange(2)]),
        b"\x02" + struct.pack("!I", draw.choice((60, 3_600, 2**32 - 1))),
        b"\x03" + text(draw.choice(ODD_TEXTS)),
        b"\x08" + text(draw.choice(RESPONSES)),
        b"\x09" + text(draw.choice((b"", b"\0", b"\xff\xfe", b"x" * 65_535))),
    ]
    some += [b"\x0b" + varint(draw.choice((1, 127, 128, 268_435_455)))] * draw.randrange(3)
    chosen = draw.sample(some, draw.randrange(len(some) + 1))
    pairs = draw.choice((0, 1, 2, 3, most_pairs))
    for _ in range(pairs):
        small = ODD_TEXTS[:-1] if pairs > 3 else ODD_TEXTS
        chosen.append(b"\x26" + text(draw.choice(small)) + text(draw.choice(small)))
    draw.shuffle(chosen)
    return b"".join(chosen)


def odd_topics(base: str = "charger", charger_id: str = "EH123456") -> tuple[bytes, ...]:
    """Return topics that our filters match, as bytes."""
    return (
        f"{base}/{charger_id}/set/start".encode(),
        f"{base}/{charger_id}/set/\ufeff".encode(),
        f"{base}/\ufeff/set/start".encode(),
        f"{base}/\u0001\u009f/set/\uffff".encode(),
        f"{base}/{charger_id}/get/sessions".encode(),
        f"{base}//set/".encode(),
        f"{base}/{'x' * 65_000}/get/y".encode(),
    )


def odd_messages(count: int, seed: int) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Yield topics, properties and payloads."""
    draw = random.Random(seed)
    for _ in range(count):
        payload = draw.choice((b"", b"\xef\xbb\xbf1", b"\xff", b"1", b"{" * 500, b"0" * 70_000))
        yield draw.choice(odd_topics()), odd_properties(draw), payload

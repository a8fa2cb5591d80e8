"""Cutting the hub's bytes: the library alone is the judge."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Opcode

from bridge.adapters.easee.websocket_frames import MAX_RARE_FRAMES, FrameSplitter
from tests.fuzz.hub import MAX_BYTES, Library, compare, cut, frame


@dataclass(frozen=True)
class Sent:
    """A frame of so many bytes: a large one is no use in a report of what went wrong."""

    opcode: Opcode
    size: int
    fin: bool = True

    def __bytes__(self) -> bytes:
        return frame(self.opcode, b"x" * self.size, fin=self.fin)


SIZE = st.sampled_from([0, 1, 2, 7, 125, 126, 65_535, 65_536, MAX_BYTES])
ANY_FRAME = st.builds(Sent, st.sampled_from(Opcode), SIZE, st.booleans())
LIKELY_FRAME = st.builds(Sent, st.sampled_from([Opcode.TEXT, Opcode.BINARY]), SIZE)
CUTS = st.lists(st.integers(0, 1 << 20), max_size=12)


@given(st.lists(LIKELY_FRAME | ANY_FRAME | st.binary(max_size=12), max_size=8), CUTS)
def test_payloads_and_ending_are_those_of_the_library(pieces, cuts):
    """Whatever comes, however cut: what the library alone would say, and no payload is missing."""
    found, expected = compare(b"".join(map(bytes, pieces)), cuts)

    assert found.startswith(expected)
    if not any(isinstance(piece, bytes) for piece in pieces):
        # Bytes that are no frame may begin one, and ours does not wait for its end.
        assert found == expected


@given(st.lists(LIKELY_FRAME, max_size=8), CUTS)
def test_the_library_sees_nothing_of_plain_frames(frames, cuts):
    """The stream itself passes in one go, and all of it."""
    ours = cut(b"".join(map(bytes, frames)), cuts)
    alone = Library()
    alone.take(b"".join(map(bytes, frames)))

    assert ours.given == []
    assert b"".join(ours.payloads) == b"".join(alone.payloads)


def test_a_large_frame_is_passed_on_as_it_arrives():
    """Nothing is kept of a payload, so memory does not grow with the frame."""
    library = Library()
    cutter = FrameSplitter(library.payloads, library.take, largest=MAX_BYTES)
    whole = frame(Opcode.TEXT, b"x" * MAX_BYTES)

    cutter.feed(whole[:1_000])
    assert sum(map(len, library.payloads)) == 990
    cutter.feed(whole[1_000:])
    assert sum(map(len, library.payloads)) == MAX_BYTES


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(Opcode.TEXT, b"x" * (MAX_BYTES + 1))[:10], 1009),
        (b"\x81\x7f" + b"\xff" * 8, 1009),
        (frame(Opcode.TEXT, b"x", mask=True)[:2], 1002),
        (b"\xc1\x01x", 1002),
        (b"\x83\x01", 1002),
        (b"\x83\x7f", 1002),
        (b"\x81\xff", 1002),
        (b"\x89\x7e\x01\x00" + b"x" * 256, 1002),
        (frame(Opcode.CONT, b"x"), 1002),
        (frame(Opcode.TEXT, b"x", fin=False) + frame(Opcode.TEXT, b"x"), 1002),
        (frame(Opcode.CLOSE, b"\x03\xe8\xff"), 1007),
    ],
    ids=[
        "too large", "endless", "masked", "compressed", "unknown", "unknown and long",
        "masked and long", "long ping", "continues nothing", "inside a message", "close reason",
    ],
)  # fmt: skip
def test_what_breaks_the_protocol_is_refused(data, code):
    """A frame that may not be ends the connection, and one that is too large at its header."""
    library = cut(data, [])

    assert library.protocol.close_sent is not None
    assert library.protocol.close_sent.code == code


def test_nothing_follows_an_end():
    """After a close frame nothing is a payload any more."""
    text = frame(Opcode.TEXT, b"x")
    library = cut(text + frame(Opcode.CLOSE, b"") + text, [])

    assert library.payloads == [b"x"]


def test_fragments_are_joined_with_what_comes_between_and_after():
    """A message in pieces, a ping among them, and a plain frame behind it keep their order."""
    data = (
        frame(Opcode.TEXT, b"1", fin=False)
        + frame(Opcode.PING, b"p")
        + frame(Opcode.CONT, b"2")
        + frame(Opcode.TEXT, b"3")
    )
    library = cut(data, list(range(len(data))))

    assert b"".join(library.payloads) == b"123"
    assert frame(Opcode.TEXT, b"3") not in b"".join(library.given)


@pytest.mark.parametrize("rare", [frame(Opcode.PING, b""), frame(Opcode.CONT, b"x", fin=False)])
def test_what_the_library_takes_its_time_for_is_taken_in_turns(rare):
    """However many frames arrive at once: a few each time, none is lost, and what follows waits."""
    given_to_it: list[bytes] = []
    payloads: list[bytes] = []
    begin = frame(Opcode.TEXT, b"x", fin=False) if rare[0] & 0xF == Opcode.CONT else rare
    last = frame(Opcode.CONT, b"x")
    cutter = FrameSplitter(
        payloads, lambda data: given_to_it.append(data) is None, largest=MAX_BYTES
    )

    turns, before = 1, 0
    is_more = cutter.feed(begin + rare * 1_000 + last + frame(Opcode.TEXT, b"end"))
    while is_more:
        assert len(given_to_it) - before <= MAX_RARE_FRAMES
        before = len(given_to_it)
        is_more = cutter.feed()
        turns += 1

    assert turns == 1_002 // MAX_RARE_FRAMES + 1
    assert b"".join(given_to_it) == begin + rare * 1_000 + last
    assert payloads == [b"end"]

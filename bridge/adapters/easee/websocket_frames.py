"""Splits the bytes of the hub's WebSocket into frames.

Nearly every frame is plain: whole, not masked, text or binary, of a size we take. One pass over
what arrived cuts their payloads out. Everything else (pings, closes, fragments, and whatever breaks
the protocol) is for the library, which knows the whole of RFC 6455 and takes its time. Rules:

1. The library gets whole frames, from the first byte of the header to the last of the payload, and
   never a byte of ours. So both agree at all times where a frame begins.
2. Between the fragments of a message every frame is the library's: only it knows whether one may
   stand there.
3. A payload is passed on as it arrives. Where frames begin and end means nothing to the records in
   them, so nothing waits for the end of a large frame, and nothing but a cut header is kept.
4. What the library takes its time for is taken a few frames at a time: a hub that sends pings and
   nothing else must not hold up the rest of the program.
"""

from collections.abc import Callable
from typing import Final

FIN: Final = 0x80
OPCODE: Final = 0x0F
FIRST_CONTROL: Final = 0x8
# Continuation, text, binary, close, ping, pong.
KNOWN: Final = frozenset({0x0, 0x1, 0x2, 0x8, 0x9, 0xA})
# A whole message in text, and one in binary.
WHOLE: Final = frozenset({0x81, 0x82})
MASKED: Final = 0x80
# What the seven bits of the length say when the length follows in two bytes, or in eight.
IN_TWO: Final = 126
IN_EIGHT: Final = 127
# Half a millisecond of the library's time; a hub sends one ping in many seconds.
MAX_RARE_FRAMES: Final = 64


class FrameSplitter:
    """Cuts one connection's bytes into payloads and what is not plain."""

    def __init__(
        self, payloads: list[bytes], rare: Callable[[bytes], bool], *, largest: int
    ) -> None:
        """Start at the beginning of a frame.

        Args:
            payloads: Takes the payloads of plain frames, in order; a large one in pieces.
            rare: Takes the bytes of other frames; False when nothing may follow them.
            largest: Bytes in a plain frame; a larger one is left to ``rare``.
        """
        self._payloads = payloads
        self._rare = rare
        self._largest = largest
        self._rest = b""  # the beginning of a header, or what was too much for one turn
        self._left = 0  # bytes that are still to come of a frame begun
        self._left_is_plain = False
        self._in_message = False
        self._ended = False

    def feed(self, data: bytes = b"") -> bool:
        """Process the next bytes. Never raises, as long as ``rare`` does not.

        Returns:
            Whether some of them are left for another turn: feed nothing, or what comes next.
        """
        if self._rest:
            data, self._rest = self._rest + data, b""
        at = self._go_on(data) if self._left else 0
        for _ in range(MAX_RARE_FRAMES):
            if self._ended:
                return False
            if not self._in_message:
                at = self._take_plain(data, at)
            end = _end(data, at)
            if end is None:
                self._rest = data[at:]
                return False
            self._hand_over(data, at, end)
            at = end
        self._rest = data[at:]
        return bool(self._rest) and not self._ended

    def _go_on(self, data: bytes) -> int:
        """Process the rest of a frame begun; return where the next one begins."""
        piece = data[: self._left]
        self._left -= len(piece)
        if self._left_is_plain:
            self._payloads.append(piece)
        else:
            self._ended = not self._rare(piece)
        return len(piece)

    def _take_plain(self, data: bytes, at: int) -> int:
        """Process plain frames; return where the first other frame begins, or the end.

        A function call for each frame would cost as much as all the rest.
        """
        size, largest, take = len(data), self._largest, self._payloads.append
        while at + 2 <= size:
            first, length = data[at], data[at + 1]
            begin = at + 2
            if length >= IN_TWO:
                if length > IN_EIGHT:
                    break
                begin = at + (4 if length == IN_TWO else 10)
                if begin > size:
                    break
                length = int.from_bytes(data[at + 2 : begin], "big")
            if first not in WHOLE or length > largest:
                break
            at = begin + length
            take(data[begin:at])
            if at > size:
                self._left, self._left_is_plain = at - size, True
                return size
        return at

    def _hand_over(self, data: bytes, at: int, end: int) -> None:
        """Pass a frame, or the part of it that has arrived, to the library."""
        if data[at] & OPCODE < FIRST_CONTROL:
            self._in_message = not data[at] & FIN
        self._left, self._left_is_plain = max(0, end - len(data)), False
        self._ended = not self._rare(data[at:end])


def _end(data: bytes, at: int) -> int | None:
    """Return where the frame that begins there ends; None when its header is not complete.

    One that is masked or of an unknown kind breaks the protocol: its end is not searched for.
    """
    if len(data) < at + 2:
        return None
    length = data[at + 1]
    if length & MASKED or data[at] & OPCODE not in KNOWN:
        return at + 2
    begin = at + {IN_TWO: 4, IN_EIGHT: 10}.get(length, 2)
    if len(data) < begin:
        return None
    return begin + (length if begin == at + 2 else int.from_bytes(data[at + 2 : begin], "big"))

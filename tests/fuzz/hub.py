"""The border below the hub's records: WebSocket frames, with the library alone as the judge."""

from collections.abc import Iterable
from itertools import pairwise

from websockets.client import ClientProtocol
from websockets.frames import DATA_OPCODES, Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from bridge.adapters.easee.websocket_frames import FrameSplitter

MAX_BYTES = 70_000


class Library:
    """The library's WebSocket, open, and everything it made of what it was given."""

    def __init__(self) -> None:
        uri = parse_uri("ws://127.0.0.1/")
        self.protocol = ClientProtocol(uri, state=State.OPEN, max_size=MAX_BYTES)
        self.given: list[bytes] = []
        self.payloads: list[bytes] = []

    def take(self, data: bytes) -> bool:
        """Take bytes; say whether more may follow."""
        self.given.append(data)
        self.protocol.receive_data(data)
        for event in self.protocol.events_received():
            assert isinstance(event, Frame)
            if event.opcode in DATA_OPCODES:
                self.payloads.append(bytes(event.data))
        return self.protocol.state is State.OPEN

    def ending(self) -> tuple[object, ...]:
        """Say where it stands, and how much it answered: masks are drawn, so not with what."""
        closes = self.protocol.close_rcvd, self.protocol.close_sent
        return self.protocol.state, *closes, len(b"".join(self.protocol.data_to_send()))


def frame(opcode: Opcode, payload: bytes, *, fin: bool = True, mask: bool = False) -> bytes:
    """Write one frame, also one that the library would not write."""
    size = len(payload)
    short = size if size < 126 else 126 if size < 1 << 16 else 127
    head = bytes((fin << 7 | opcode, mask << 7 | short))
    return head + (size.to_bytes({126: 2, 127: 8}[short], "big") if short > 125 else b"") + payload


def cut(data: bytes, cuts: Iterable[int]) -> Library:
    """Send bytes through a cutter, in pieces; plain payloads end up with the library's own."""
    library = Library()
    cutter = FrameSplitter(library.payloads, library.take, largest=MAX_BYTES)
    edges = [0, *sorted(edge % (len(data) + 1) for edge in cuts), len(data)]
    for start, end in pairwise(edges):
        is_more = cutter.feed(data[start:end])
        while is_more:
            is_more = cutter.feed()
    return library


def compare(data: bytes, cuts: Iterable[int]) -> tuple[bytes, bytes]:
    """Let both read; return what each found, when both ended alike."""
    alone, ours = Library(), cut(data, cuts)
    alone.take(data)
    assert ours.ending() == alone.ending()
    return b"".join(ours.payloads), b"".join(alone.payloads)


def websocket(data: bytes) -> None:
    """WebSocket frames: payloads, answers and endings of the library alone, cut anywhere."""
    head, body = data[:2], data[2:]
    found, expected = compare(body, [byte * len(body) // 256 for byte in head])
    # A frame that is not complete is begun by us, and waited for by the library.
    assert found.startswith(expected)

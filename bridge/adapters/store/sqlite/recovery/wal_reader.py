"""Reads the write-ahead log and detects committed frames that SQLite would ignore.

SQLite takes the log up to the first frame whose checksum is wrong, and no further. After a power
cut that is right: what follows is the one commit that was under way. After damage it is a loss
nobody hears of. So the log is read before SQLite sees it, and compared with what SQLite made of
it: two commits behind the last frame it took, or a word of the last owner about a later one, are
damage.
"""

import os
import struct
from pathlib import Path

import msgspec

from bridge.adapters.store.sqlite.schema import PAGE_BYTES, PAGE_SIZES

HEADER_BYTES = 32
# What a log begins with: sums by little or by big end. Zeros would sum up to zero, too.
MAGIC = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")
FRAME_HEADER_BYTES = 24
# Where the header says how large a page is.
PAGE_SIZE_AT = 8
# A log is copied into the file every 4 MiB; beyond this it is not ours.
MAX_WAL_BYTES = 256 * 1024 * 1024
# The shared index of the log: how many frames are committed, and the salts of their log.
INDEX_FRAMES_AT = 16
INDEX_SALTS_AT = 32
INDEX_BYTES = 40


class Frame(msgspec.Struct, frozen=True):
    """One page as it was written to the log.

    Attributes:
        place: Its place in the log, from 0.
        number: Which page of the file it is.
        commits: It is the last one of a commit.
        page: The content.
    """

    place: int
    number: int
    commits: bool
    page: bytes


class Log(msgspec.Struct, frozen=True):
    """What the log's file holds.

    Attributes:
        is_log: There is such a file, and it begins like a log.
        frames: In the order they were written, without those left from before it began anew.
        committed: How many its last owner knew to be committed; 0 when it left no word.
    """

    is_log: bool = False
    frames: tuple[Frame, ...] = ()
    committed: int = 0

    def lost(self, taken: int) -> tuple[Frame, ...]:
        """Return the frames that hold something committed which SQLite did not take.

        Args:
            taken: How many it took.
        """
        rest = tuple(frame for frame in self.frames if frame.place >= taken)
        is_damage = self.committed > taken or sum(frame.commits for frame in rest) > 1
        return rest if is_damage else ()


def read_log(path: Path) -> Log:
    """Read the log of a store that no process has open."""
    try:
        with Path(f"{path}-wal").open("rb") as stream:
            # Room is made for what is asked for, whether it is there or not.
            data = stream.read(min(MAX_WAL_BYTES, os.fstat(stream.fileno()).st_size))
    except FileNotFoundError:
        return Log()
    frames = []
    page_bytes, salts = _page_size_and_salts(data)
    frame_bytes = FRAME_HEADER_BYTES + page_bytes
    starts = range(HEADER_BYTES, len(data) - frame_bytes + 1, frame_bytes)
    for place, start in enumerate(starts):
        number, size_after, frame_salts = struct.unpack_from(">II8s", data, start)
        if frame_salts == salts:
            page = data[start + FRAME_HEADER_BYTES : start + frame_bytes]
            frames.append(Frame(place, number, size_after > 0, page))
    return Log(_is_sound(data[:HEADER_BYTES]), tuple(frames), _committed(path, salts))


def _page_size_and_salts(data: bytes) -> tuple[int, bytes]:
    """Return the size of this log's pages, and the salts that tell its frames from older ones.

    A sound header has both: it is written when the log begins anew, and what frames follow may
    all be old. Beside a damaged one the first two frames have them.
    """
    first_at = HEADER_BYTES + 8
    for page_bytes in () if _is_sound(data[:HEADER_BYTES]) else PAGE_SIZES:
        second_at = first_at + FRAME_HEADER_BYTES + page_bytes
        first, second = data[first_at : first_at + 8], data[second_at : second_at + 8]
        if first == second:
            return page_bytes, first
    said = int.from_bytes(data[PAGE_SIZE_AT : PAGE_SIZE_AT + 4], "big")
    return said if said in PAGE_SIZES else PAGE_BYTES, data[16:24]


def _is_sound(header: bytes) -> bool:
    """Check the header's own sum. Source: sqlite.org/fileformat2.html, section 4.2."""
    if len(header) < HEADER_BYTES or header[:4] not in MAGIC:
        return False
    order = ">" if header[3] & 1 else "<"
    one = other = 0
    for even, odd in struct.iter_unpack(f"{order}II", header[:24]):
        one = (one + even + other) & 0xFFFFFFFF
        other = (other + odd + one) & 0xFFFFFFFF
    return (one, other) == struct.unpack(">II", header[24:])


def _committed(path: Path, salts: bytes) -> int:
    try:
        with Path(f"{path}-shm").open("rb") as stream:
            index = stream.read(INDEX_BYTES)
    except OSError:
        return 0
    if len(index) < INDEX_BYTES or index[INDEX_SALTS_AT:INDEX_BYTES] != salts:
        return 0
    (frames,) = struct.unpack_from("=I", index, INDEX_FRAMES_AT)
    return int(frames)

"""Rows out of a damaged file, without SQLite: page by page, cell by cell, by their hashes.

SQLite refuses a file whose first page is torn, and stops at the first broken branch of a table. The
rows are still there. Each says by its own hash whether it is what was written, so nothing about the
pages around it need be believed.

Source: the SQLite file format, https://www.sqlite.org/fileformat2.html, sections 1.5, 1.6 and 2.1.
"""

import struct
from collections.abc import Callable, Iterator
from typing import Final

from bridge.adapters.store.schema import (
    COMMAND_WIDTH,
    PAGE_BYTES,
    REPORT_WIDTH,
    REPORT_WIDTH_1,
    Row,
    lenient_text,
)

LEAF_HEADER_BYTES = 8
# A payload longer than this goes on in overflow pages.
MOST_LOCAL = PAGE_BYTES - 35
LEAST_LOCAL = (PAGE_BYTES - 12) * 32 // 255 - 23
OVERFLOW_BYTES = PAGE_BYTES - 4
# A command's body and answer are a few KiB at most.
MOST_PAYLOAD = 1024 * 1024
WIDTHS = frozenset({REPORT_WIDTH_1, REPORT_WIDTH, COMMAND_WIDTH})
# The energies of a report: a whole number is stored as an integer, and is a float all the same.
REAL_PLACES = range(6, 9)
# Record format: what the serial types up to 9 are in bytes, and how whole numbers are read.
FIXED_BYTES: Final = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)
REAL_TYPE = 7
FALSE_TYPE, TRUE_TYPE = 8, 9
FIRST_BLOB_TYPE = 12

PageOf = Callable[[int], bytes]

# What reading beyond a page, or garbage as a number, raises.
GARBAGE = (IndexError, ValueError, struct.error, OverflowError)


def carve(image: bytes, page_of: PageOf) -> Iterator[Row]:
    """Yield every row in a page that has the width of one of ours, intact or not.

    Args:
        image: A page of any kind: what is no row of ours is passed over.
        page_of: Finds the page of a number, where a long row goes on; empty when there is none.
    """
    if len(image) < PAGE_BYTES:
        return
    (count,) = struct.unpack_from(">H", image, 3)
    last = min(LEAF_HEADER_BYTES + 2 * count, PAGE_BYTES - 1)
    for at in range(LEAF_HEADER_BYTES, last, 2):
        (cell,) = struct.unpack_from(">H", image, at)
        try:
            row = _record(_payload(image, cell, page_of))
        except GARBAGE:
            continue
        if row is not None:
            yield row


def _payload(image: bytes, cell: int, page_of: PageOf) -> bytes:
    length, at = _varint(image, cell)
    _, at = _varint(image, at)  # the row's number
    if length <= MOST_LOCAL:
        return image[at : at + length]
    if length > MOST_PAYLOAD:
        raise ValueError
    local = LEAST_LOCAL + (length - LEAST_LOCAL) % OVERFLOW_BYTES
    if local > MOST_LOCAL:
        local = LEAST_LOCAL
    payload = bytearray(image[at : at + local])
    (following,) = struct.unpack_from(">I", image, at + local)
    while len(payload) < length:
        page = page_of(following)
        (following,) = struct.unpack_from(">I", page)  # fails where there is no page
        payload += page[4:]
    return bytes(payload[:length])


def _record(payload: bytes) -> Row | None:
    header_end, at = _varint(payload, 0)
    types = []
    while at < header_end:
        serial_type, at = _varint(payload, at)
        types.append(serial_type)
    if len(types) not in WIDTHS:
        return None
    row: list[object] = []
    for serial_type in types:
        size = _size(serial_type)
        value = payload[at : at + size]
        if len(value) < size:
            raise IndexError
        row.append(_value(serial_type, value))
        at += size
    if len(row) != COMMAND_WIDTH:
        for place in REAL_PLACES:
            if isinstance(whole := row[place], int):
                row[place] = float(whole)
    return row


def _size(serial_type: int) -> int:
    if serial_type < len(FIXED_BYTES):
        return FIXED_BYTES[serial_type]
    return (serial_type - FIRST_BLOB_TYPE) // 2 if serial_type >= FIRST_BLOB_TYPE else 0


def _value(serial_type: int, data: bytes) -> object:
    if serial_type == 0:
        return None
    if serial_type == REAL_TYPE:
        (number,) = struct.unpack(">d", data)
        return number
    if serial_type in (FALSE_TYPE, TRUE_TYPE):
        return serial_type - FALSE_TYPE
    if serial_type < REAL_TYPE:
        return int.from_bytes(data, "big", signed=True)
    return lenient_text(data) if serial_type % 2 else data


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Read a variable-length number; return it and where it ends."""
    number = 0
    for place in range(at, at + 8):
        byte = data[place]
        number = number << 7 | byte & 0x7F
        if byte < 0x80:  # noqa: PLR2004 - the continuation bit
            return number, place + 1
    return number << 8 | data[at + 8], at + 9

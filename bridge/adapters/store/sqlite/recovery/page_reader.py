"""Reads rows from a damaged file without SQLite: page by page, verified by their hashes.

SQLite refuses a file whose first page is torn, and stops at the first broken branch of a table. The
rows are still there. Each says by its own hash whether it is what was written, so nothing about the
pages around it need be believed.

Source: the SQLite file format, https://www.sqlite.org/fileformat2.html, sections 1.5, 1.6 and 2.1.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from bridge.adapters.store.row_format.command_columns import COMMAND_WIDTH
from bridge.adapters.store.row_format.digest import Row
from bridge.adapters.store.row_format.report_columns import (
    DIGEST_PLACE,
    PUBLISHED_PLACE,
    REPORT_WIDTH,
    REPORT_WIDTH_1,
    REPORT_WIDTH_2,
)
from bridge.adapters.store.row_format.text_columns import TEXT_WIDTH
from bridge.adapters.store.sqlite.schema import PAGE_SIZES, lenient_text

# Inner pages and indices. A page that says it is anything else may be a damaged one of ours.
WITHOUT_ROWS = frozenset({0x02, 0x05, 0x0A})
LEAF_HEADER_BYTES = 8
# Of a number of several bytes all but the last have this bit.
CONTINUED = 0x80
MAX_VARINT_BYTES = 9
# A command's body and answer are a few KiB at most.
MAX_PAYLOAD_BYTES = 1024 * 1024
# Where a report says that it is settled; one of version 1 that was published is.
SETTLED_PLACES: Final = {
    REPORT_WIDTH_1: PUBLISHED_PLACE,
    REPORT_WIDTH_2: DIGEST_PLACE + 1,
    REPORT_WIDTH: DIGEST_PLACE + 1,
}
# How long the head of a row can be: a byte for each column, more for a few long ones.
HEADER_SIZES: Final = range(TEXT_WIDTH + 1, 2 * REPORT_WIDTH)
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


def read_rows_from_page(image: bytes, page_of: PageOf, *, settled: bool) -> Iterator[Row]:
    """Yield the rows in a page that have the width of one of ours, intact or not.

    Args:
        image: A page of any kind, whole: what is no row of ours is passed over.
        page_of: Finds the page of a number, where a long row goes on; empty when there is none.
        settled: Only settled reports, or only what is not one. Which is seen before the row is
            read and hashed: in a large store most rows are history.
    """
    if len(image) not in PAGE_SIZES or image[0] in WITHOUT_ROWS:
        return
    (count,) = struct.unpack_from(">H", image, 3)
    most = (len(image) - LEAF_HEADER_BYTES) // 2
    cells = struct.unpack_from(f">{min(count, most)}H", image, LEAF_HEADER_BYTES)
    for cell in dict.fromkeys(cells):  # where there is nothing but zeros they are all the same
        try:
            if _is_wanted(image, cell, settled=settled):
                yield _record(_payload(image, cell, page_of))
        except GARBAGE:
            continue


def _is_wanted(image: bytes, at: int, *, settled: bool) -> bool:
    """Return whether a row's column types match: their number, and settled or not."""
    for _ in range(2):  # its length and its number
        last = at + MAX_VARINT_BYTES - 1
        while at < last and image[at] >= CONTINUED:
            at += 1
        at += 1
    if image[at] not in HEADER_SIZES:
        return False
    types = _types(image[at + 1 : at + image[at]])
    place = SETTLED_PLACES.get(len(types))
    if place is None:
        return not settled and len(types) in (COMMAND_WIDTH, TEXT_WIDTH)
    return settled == (types[place] == TRUE_TYPE)


def _payload(image: bytes, cell: int, page_of: PageOf) -> bytes:
    length, at = _varint(image, cell)
    _, at = _varint(image, at)  # the row's number
    most, least = _local_bytes(len(image))
    if length <= most:
        return image[at : at + length]
    if length > MAX_PAYLOAD_BYTES:
        raise ValueError
    local = least + (length - least) % (len(image) - 4)
    if local > most:
        local = least
    payload = bytearray(image[at : at + local])
    (following,) = struct.unpack_from(">I", image, at + local)
    while len(payload) < length:
        page = page_of(following)
        (following,) = struct.unpack_from(">I", page)  # fails where there is no page
        payload += page[4:]
    return bytes(payload[:length])


def _local_bytes(page_bytes: int) -> tuple[int, int]:
    """Return the longest payload that lies in one page, and the least of a longer one there."""
    return page_bytes - 35, (page_bytes - 12) * 32 // 255 - 23


def _record(payload: bytes) -> Row:
    at = payload[0]
    if at > len(payload):
        raise IndexError  # its length and its head do not belong together
    types = _types(payload[1:at])
    row: list[object] = []
    for serial_type in types:
        size = _size(serial_type)
        value = payload[at : at + size]
        if len(value) < size:
            raise IndexError
        row.append(_value(serial_type, value))
        at += size
    if len(row) not in (COMMAND_WIDTH, TEXT_WIDTH):
        for place in REAL_PLACES:
            if isinstance(whole := row[place], int):
                row[place] = float(whole)
    return row


def _types(header: bytes) -> Sequence[int]:
    if header.isascii():
        return header  # each number is one byte
    types, at = [], 0
    while at < len(header):
        serial_type, at = _varint(header, at)
        types.append(serial_type)
    return types


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
        if byte < CONTINUED:
            return number, place + 1
    return number << 8 | data[at + 8], at + 9

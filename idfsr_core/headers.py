"""What the first bytes of an image file say: format, size, orientation, and whether the file is whole.

Read before anything is decoded, so that a picture of 20,000 pixels a side costs no memory, and that a file cut short is
refused where a decoder would fill the rest with grey.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

_ENTROPY_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)  # FF 00 is a stuffed byte, D0..D7 restart the coder
_SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0..SOF15, without DHT, JPG and DAC


@dataclass(frozen=True, kw_only=True)
class Header:
    """The little that is known of an image file without decoding it."""

    format: str  # "JPEG", "PNG", "WebP", "BMP" or "TIFF"
    size: tuple[int, int]  # (width, height) as OpenCV decodes it
    orientation: int  # 1..8, EXIF tag 274: what remains to be done to what OpenCV decodes
    whole: bool  # False when the file ends before its picture does


def read_header(data: bytes) -> Header | None:
    """The header of an image file, or None where the bytes are of no known format or end within the header."""
    readers = (
        (data.startswith(b"\xff\xd8\xff"), _jpeg),
        (data.startswith(b"\x89PNG\r\n\x1a\n"), _png),
        (data.startswith(b"RIFF") and data[8:12] == b"WEBP", _webp),
        (data.startswith(b"BM"), _bmp),
        (data.startswith((b"II*\0", b"MM\0*")), _tiff),
    )
    try:
        return next((reader(data) for found, reader in readers if found), None)
    except (struct.error, IndexError):
        return None


def _jpeg(data: bytes) -> Header | None:
    size, orientation, place = None, 1, 2
    while place + 4 <= len(data):
        if data[place] != 0xFF:
            return None
        marker = data[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        if marker == 0xD9:
            break
        length = struct.unpack_from(">H", data, place + 2)[0]
        body = data[place + 4 : place + 2 + length]
        if marker in _SIZE_MARKERS:
            height, width = struct.unpack_from(">HH", body, 1)
            size = (width, height)
        elif marker == 0xE1 and body.startswith(b"Exif\0\0"):
            orientation = _tags(body[6:]).get(274, 1)
        place += 2 + length
        if marker == 0xDA:
            end = _ENTROPY_END.search(data, place)
            place = end.start() if end else len(data)
    if size is None:
        return None
    whole = data[place : place + 2] == b"\xff\xd9"
    return Header(format="JPEG", size=size, orientation=_valid(orientation), whole=whole)


def _png(data: bytes) -> Header:
    width, height = struct.unpack_from(">II", data, 16)
    orientation, whole = 1, False
    for kind, start, length in _chunks(data):
        if kind == b"eXIf":
            orientation = _tags(data[start : start + length]).get(274, 1)
        whole = kind == b"IEND"
    return Header(format="PNG", size=(width, height), orientation=_valid(orientation), whole=whole)


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start of the body, length) of every PNG chunk that is there in full, up to the closing one."""
    place = 8
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        if place + 12 + length > len(data):
            return
        yield kind, place + 8, length
        if kind == b"IEND":
            return
        place += 12 + length


def _webp(data: bytes) -> Header | None:
    whole = struct.unpack_from("<I", data, 4)[0] + 8 <= len(data)
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(data[i : i + 3], "little") for i in (24, 27))
    elif kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif kind == b"VP8 ":
        width, height = (v & 0x3FFF for v in struct.unpack_from("<HH", data, 26))
    else:
        return None
    return Header(format="WebP", size=(width, height), orientation=_valid(_webp_orientation(data)), whole=whole)


def _webp_orientation(data: bytes) -> int:
    place = 12
    while place + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, place)
        if kind == b"EXIF":
            return _tags(data[place + 8 : place + 8 + length].removeprefix(b"Exif\0\0")).get(274, 1)
        place += 8 + length + length % 2
    return 1


def _bmp(data: bytes) -> Header:
    start, kind = struct.unpack_from("<I", data, 10)[0], struct.unpack_from("<I", data, 14)[0]
    if kind == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        packed = 0
    else:
        width, height, _, bits, packed = struct.unpack_from("<iiHHI", data, 18)
    row = (abs(width) * bits + 31) // 32 * 4
    whole = packed not in (0, 3) or start + row * abs(height) <= len(data)
    return Header(format="BMP", size=(abs(width), abs(height)), orientation=1, whole=whole)


def _tiff(data: bytes) -> Header | None:
    tags = _tags(data)
    if 256 not in tags or 257 not in tags:
        return None
    width, height = tags[256], tags[257]
    if _valid(tags.get(274, 1)) >= 5:  # OpenCV turns a TIFF upright by itself, whatever its flags say
        width, height = height, width
    return Header(format="TIFF", size=(width, height), orientation=1, whole=True)


def _tags(tiff: bytes) -> dict[int, int]:
    """The whole numbers in the first directory of a TIFF or EXIF block; {} where it is damaged."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return {}
    tags = {}
    try:
        place = struct.unpack_from(order + "I", tiff, 4)[0]
        for i in range(struct.unpack_from(order + "H", tiff, place)[0]):
            tag, kind, count = struct.unpack_from(order + "HHI", tiff, place + 2 + 12 * i)
            if count == 1 and kind in (3, 4):
                tags[tag] = struct.unpack_from(order + ("H" if kind == 3 else "I"), tiff, place + 10 + 12 * i)[0]
    except struct.error:
        return tags
    return tags


def _valid(orientation: int) -> int:
    return orientation if 1 <= orientation <= 8 else 1

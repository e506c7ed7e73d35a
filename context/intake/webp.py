"""WebP, stripped to the chunks that draw one picture.

https://www.rfc-editor.org/rfc/rfc9649
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from context.intake.exif import orientation_in
from context.intake.limits import MAX_SEGMENTS, Bare, Refused, measure


def strip_webp(data: bytes) -> Bare:
    """Keep the pixels; for an animation, the canvas and its first frame.  Raises `Refused`."""
    kept: list[bytes] = []
    size: tuple[int, int] | None = None
    orientation, drawn = 1, False
    for kind, chunk in _chunks(data):
        body = chunk[8:]
        if kind == b"VP8X" and not kept:
            if len(body) < 10:  # noqa: PLR2004 - its fixed length
                raise Refused("damaged", "header")
            size = 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
            flags = body[0] & 0b0001_0010  # alpha and animation; ICC, EXIF and XMP are removed
            kept.append(chunk[:8] + bytes((flags,)) + chunk[9:])
        elif kind in {b"VP8 ", b"VP8L"} and not drawn:
            size = size or (_vp8_size(body) if kind == b"VP8 " else _vp8l_size(body))
            kept.append(chunk)
            drawn = True
        elif kind in {b"ALPH", b"ANIM", b"ANMF"} and not drawn:
            kept.append(chunk)
            drawn = kind == b"ANMF"
        elif kind == b"EXIF":
            orientation = orientation_in(body.removeprefix(b"Exif\0\0"))
    if size is None or not drawn:
        raise Refused("damaged", "no picture in it")
    measure("WEBP", *size)
    body = b"".join(kept)
    return Bare("WEBP", *size, b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body, orientation)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise Refused("damaged", "cut off")
    at, chunks = 12, 0
    while at + 8 <= end:
        chunks += 1
        if chunks > MAX_SEGMENTS:
            raise Refused("too_complex", f"more than {MAX_SEGMENTS} chunks")
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        after = at + 8 + length + (length & 1)
        if after > end + 1:  # the padding of the last chunk is sometimes missing
            raise Refused("damaged", "cut off")
        yield data[at : at + 4], data[at:after].ljust(after - at, b"\0")
        at = after


def _vp8_size(body: bytes) -> tuple[int, int]:
    if len(body) < 10 or body[3:6] != b"\x9d\x01\x2a":  # noqa: PLR2004 - frame header
        raise Refused("damaged", "header")
    width, height = struct.unpack_from("<HH", body, 6)
    return width & 0x3FFF, height & 0x3FFF


def _vp8l_size(body: bytes) -> tuple[int, int]:
    if len(body) < 5 or body[0] != 0x2F:  # noqa: PLR2004 - signature
        raise Refused("damaged", "header")
    bits = int.from_bytes(body[1:5], "little")
    return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)

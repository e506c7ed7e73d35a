"""PNG, stripped to the chunks that draw one picture.

https://www.w3.org/TR/png-3/
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from context.intake.exif import orientation_in
from context.intake.limits import MAX_PIXEL_CHUNKS, MAX_SEGMENTS, Bare, Refused, measure

PNG = b"\x89PNG\r\n\x1a\n"
_PNG_DRAWING = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"))


def strip_png(data: bytes) -> Bare:
    """Keep what draws the picture, with checked checksums.  Raises `Refused`."""
    kept = [PNG]
    size: tuple[int, int] | None = None
    orientation = pixel_chunks = 0
    for kind, chunk in _chunks(data):
        if (size is None) != (kind == b"IHDR"):
            raise Refused("damaged", "header")
        if kind == b"IHDR":
            if len(chunk) != 25:  # noqa: PLR2004 - its fixed length
                raise Refused("damaged", "header")
            size = struct.unpack_from("!II", chunk, 8)
            measure("PNG", *size)
        pixel_chunks += kind == b"IDAT"
        if kind in _PNG_DRAWING:
            if zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
                raise Refused("damaged", "checksum")
            kept.append(chunk)
        elif kind == b"eXIf":
            orientation = orientation or orientation_in(chunk[8:-4])
    if size is None or not pixel_chunks:
        raise Refused("damaged", "no picture in it")
    return Bare("PNG", *size, b"".join(kept), orientation or 1)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and bytes of every chunk, with its length and checksum, up to and including the end marker."""
    at, pixel_chunks, others = len(PNG), 0, 0
    while at + 12 <= len(data):
        length, kind = struct.unpack_from("!I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            break
        if kind == b"IDAT":
            pixel_chunks += 1
        else:
            others += 1
        if others > MAX_SEGMENTS or pixel_chunks > MAX_PIXEL_CHUNKS:
            raise Refused("too_complex", f"{others + pixel_chunks} chunks")
        yield kind, data[at:end]
        if kind == b"IEND":
            return
        at = end
    raise Refused("damaged", "cut off")

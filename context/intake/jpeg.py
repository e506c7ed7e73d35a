"""JPEG, stripped to the frame header, tables and scans of one picture.

ITU T.81 annex B: https://www.w3.org/Graphics/JPEG/itu-t81.pdf
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from context.intake.exif import orientation_in
from context.intake.limits import MAX_COEFFICIENT_BYTES, MAX_SCANS, MAX_SEGMENTS, Bare, Refused, measure

_MARKER = re.compile(rb"\xff[^\x00\xff]")
_SCAN_END = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_FRAMES = frozenset((0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF))
_HUFFMAN_FRAMES = frozenset((0xC0, 0xC1, 0xC2))  # baseline, extended, progressive
_EOI, _SOS, _APP1 = 0xD9, 0xDA, 0xE1
_DRAWING = _FRAMES | {0xC4, 0xDB, 0xDD, _SOS}  # Huffman and quantisation tables, restart interval
_COLOUR_NOTES = frozenset((b"JFIF\0", b"Adobe"))  # say how to interpret the components


@dataclass(frozen=True, slots=True)
class _Frame:
    width: int
    height: int
    coefficient_bytes: int


def strip_jpeg(data: bytes) -> Bare:
    """Keep what draws the picture.  Raises `Refused`."""
    kept = [b"\xff\xd8"]
    frame: _Frame | None = None
    orientation = scans = 0
    for marker, segment in _segments(data):
        if marker in _FRAMES:
            if frame:
                raise Refused("damaged", "two frames")
            frame = _frame(marker, segment)
        elif marker == _SOS:
            scans += 1
            if frame is None:
                raise Refused("damaged", "scan before frame")
        elif marker == _APP1 and segment[4:10] == b"Exif\0\0":
            orientation = orientation or orientation_in(segment[10:])
        if marker in _DRAWING or segment[4:9] in _COLOUR_NOTES:
            kept.append(segment)
    if frame is None or not scans:
        raise Refused("damaged", "no picture in it")
    if scans > 1 and frame.coefficient_bytes > MAX_COEFFICIENT_BYTES:
        raise Refused("too_many_pixels", f"{frame.width}x{frame.height} in scans")
    kept.append(b"\xff\xd9")
    return Bare("JPEG", frame.width, frame.height, b"".join(kept), orientation or 1)


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and bytes of every segment up to the end marker; a scan includes its data.

    Reads as libjpeg does: bytes between segments are skipped, a scan ends at the next marker
    that is neither a stuffed byte nor a restart.
    """
    at, segments, scans = 2, 0, 0
    while found := _MARKER.search(data, at):
        start, at = found.span()
        marker = data[start + 1]
        if marker == _EOI:
            return
        if marker < 0xC0 or 0xD0 <= marker <= 0xD8:  # noqa: PLR2004 - these carry no length
            continue
        segments += 1
        scans += marker == _SOS
        if segments > MAX_SEGMENTS or scans > MAX_SCANS:
            raise Refused("too_complex", f"{segments} segments, {scans} scans")
        length = int.from_bytes(data[at : at + 2], "big")
        end = at + length
        if length < 2 or end > len(data):  # noqa: PLR2004 - the length counts itself
            break
        if marker == _SOS:
            after = _SCAN_END.search(data, end)
            if after is None:
                break
            end = after.start()
        yield marker, data[start:end]
        at = end
    raise Refused("damaged", "cut off")


def _frame(marker: int, segment: bytes) -> _Frame:
    if marker not in _HUFFMAN_FRAMES:
        raise Refused("unsupported", f"JPEG process {marker:x}")
    try:
        precision, height, width, count = struct.unpack_from("!BHHB", segment, 4)
        factors = [divmod(segment[10 + 3 * i + 1], 16) for i in range(count)]
    except (struct.error, IndexError):
        raise Refused("damaged", "frame header") from None
    if precision != 8:  # noqa: PLR2004 - bits
        raise Refused("unsupported", f"{precision}-bit JPEG")
    if count not in {1, 3, 4} or not all(1 <= h <= 4 and 1 <= v <= 4 for h, v in factors):  # noqa: PLR2004 - T.81 B.2.2
        raise Refused("damaged", "frame header")
    measure("JPEG", width, height)
    widest, tallest = max(h for h, _ in factors), max(v for _, v in factors)
    samples = sum(width * h * height * v // (widest * tallest) for h, v in factors)
    return _Frame(width, height, coefficient_bytes=2 * samples)

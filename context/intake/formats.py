"""Picture files before any decoder sees them: detected, measured, and stripped to their pixel data.

A decoder gets only a rebuilt file with frame header, tables and pixel data of one picture.  EXIF,
GPS, ICC profiles, XMP, comments, further frames and data after the end never reach it.
This reduces the attack surface and removes private data at the same time.  Everything here is linear in
the size of the file.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

MAX_BYTES = 20 * 1024 * 1024
"""The most that a bot may download from Telegram."""
MIN_SIDE = 16
MAX_SIDE = 16_000
MAX_ASPECT = 30
MAX_PIXELS = {"JPEG": 50_000_000, "PNG": 20_000_000, "WEBP": 12_500_000, "HEIC": 25_000_000}
"""What 200 MB can decode.  JPEG is decoded at reduced size, so that photos of 48-megapixel phones pass; PNG
takes 4 bytes a pixel, WebP 12.  HEIC with 24 megapixels takes 226 MB, and is allowed in spite of that: it is
what iPhones store by default."""
MAX_COEFFICIENT_BYTES = 160_000_000
"""libjpeg keeps all coefficients of a picture with several scans in memory."""
MAX_SCANS = 100
"""Real progressive files have about ten; 40,000 empty ones in a megabyte cost a minute of CPU."""
MAX_SEGMENTS = 2_000
"""JPEG segments, PNG chunks without pixels, WebP chunks.  260 were the most in 820 real files."""
MAX_PIXEL_CHUNKS = 10_000
"""PNG writers split pixel data into chunks as small as 8 KB."""


class Refused(Exception):
    """This file is refused.  `code` is one of `context.photos.REJECTIONS`."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code} {detail}".rstrip())
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Bare:
    """A picture reduced to its pixel data, with its size checked against the limits."""

    format: Literal["JPEG", "PNG", "WEBP"]
    width: int
    height: int
    """As stored: before the orientation is applied."""
    body: bytes
    orientation: int = 1
    """EXIF's 1 to 8."""


def strip(data: bytes) -> Bare:
    """Reduce a file to the pixels of one picture.  Raises `Refused`; trusts no name or declared type."""
    if not data:
        raise Refused("empty")
    if len(data) > MAX_BYTES:
        raise Refused("too_large", f"{len(data)} bytes")
    if data.startswith(b"\xff\xd8\xff"):
        return _strip_jpeg(data)
    if data.startswith(_PNG):
        return _strip_png(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _strip_webp(data)
    raise Refused(_refusal(data))


def is_clip(data: bytes) -> bool:
    """Whether it claims to be a video or an animation: MP4, MOV, WebM, GIF."""
    if data[4:8] == b"ftyp":
        return data[8:12] not in _HEIF_BRANDS
    return data.startswith((b"\x1a\x45\xdf\xa3", b"GIF8")) or data[4:8] in {b"moov", b"mdat", b"wide"}


def is_heic(data: bytes) -> bool:
    """Whether it claims to be a phone's own format: HEIC, not AVIF."""
    return data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS - _AVIF_BRANDS


_PNG = b"\x89PNG\r\n\x1a\n"
_OTHER_PICTURES = (
    b"GIF8",
    b"BM",
    b"II*\0",
    b"MM\0*",
    b"II+\0",
    b"MM\0+",
    b"\0\0\1\0",
    b"8BPS",
    b"\0\0\0\x0cjP  ",
    b"\xff\x4f\xff\x51",
    b"\0\0\0\x0cJXL ",
    b"\xff\x0a",
)
_HEIF_BRANDS = frozenset(
    (
        b"heic",
        b"heix",
        b"heim",
        b"heis",
        b"hevc",
        b"hevx",
        b"hevm",
        b"hevs",
        b"mif1",
        b"msf1",
        b"avif",
        b"avis",
    )
)


_AVIF_BRANDS = frozenset((b"avif", b"avis"))


def _refusal(data: bytes) -> str:
    if data[4:8] == b"ftyp":
        return "heic" if data[8:12] in _HEIF_BRANDS else "not_a_picture"
    if data.startswith(_OTHER_PICTURES) or b"<svg" in data[:1024].lower():
        return "unsupported"
    return "not_a_picture"


def measure(kind: Literal["JPEG", "PNG", "WEBP", "HEIC"], width: int, height: int) -> None:
    """Raise `Refused` for a size that is not accepted."""
    if width < 1 or height < 1:
        raise Refused("damaged", f"{width}x{height}")
    short, long = sorted((width, height))
    if short < MIN_SIDE:
        raise Refused("too_small", f"{width}x{height}")
    if long > MAX_SIDE or long > MAX_ASPECT * short:
        # A square that is far too large counts as large, not as oddly shaped.
        raise Refused(
            "too_many_pixels" if width * height > MAX_PIXELS[kind] else "bad_shape", f"{width}x{height}"
        )
    if width * height > MAX_PIXELS[kind]:
        raise Refused("too_many_pixels", f"{width}x{height}")


# JPEG: ITU T.81 annex B.  https://www.w3.org/Graphics/JPEG/itu-t81.pdf

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


def _strip_jpeg(data: bytes) -> Bare:
    kept = [b"\xff\xd8"]
    frame: _Frame | None = None
    orientation = scans = 0
    for marker, segment in _jpeg_segments(data):
        if marker in _FRAMES:
            if frame:
                raise Refused("damaged", "two frames")
            frame = _jpeg_frame(marker, segment)
        elif marker == _SOS:
            scans += 1
            if frame is None:
                raise Refused("damaged", "scan before frame")
        elif marker == _APP1 and segment[4:10] == b"Exif\0\0":
            orientation = orientation or _exif_orientation(segment[10:])
        if marker in _DRAWING or segment[4:9] in _COLOUR_NOTES:
            kept.append(segment)
    if frame is None or not scans:
        raise Refused("damaged", "no picture in it")
    if scans > 1 and frame.coefficient_bytes > MAX_COEFFICIENT_BYTES:
        raise Refused("too_many_pixels", f"{frame.width}x{frame.height} in scans")
    kept.append(b"\xff\xd9")
    return Bare("JPEG", frame.width, frame.height, b"".join(kept), orientation or 1)


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
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


def _jpeg_frame(marker: int, segment: bytes) -> _Frame:
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


def _exif_orientation(tiff: bytes) -> int:
    """Orientation from EXIF's TIFF structure; 1 if it says nothing valid.

    Parsed here, since Pillow's `exif_transpose` parses the whole block and fails on odd ones.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, directory)
        for entry in range(min(entries, 512)):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", tiff, directory + 2 + 12 * entry)
            if tag == 0x0112 and kind == 3:  # noqa: PLR2004 - Orientation, SHORT
                return int(value) if 1 <= value <= 8 else 1  # noqa: PLR2004 - EXIF's eight
    except struct.error:
        pass
    return 1


# PNG: https://www.w3.org/TR/png-3/


def _strip_png(data: bytes) -> Bare:
    kept = [_PNG]
    size: tuple[int, int] | None = None
    orientation = pixel_chunks = 0
    for kind, chunk in _png_chunks(data):
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
            orientation = orientation or _exif_orientation(chunk[8:-4])
    if size is None or not pixel_chunks:
        raise Refused("damaged", "no picture in it")
    return Bare("PNG", *size, b"".join(kept), orientation or 1)


_PNG_DRAWING = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"))


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and bytes of every chunk, with its length and checksum, up to and including the end marker."""
    at, pixel_chunks, others = len(_PNG), 0, 0
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


# WebP: https://www.rfc-editor.org/rfc/rfc9649


def _strip_webp(data: bytes) -> Bare:
    """Keep the pixels; for an animation, the canvas and its first frame."""
    kept: list[bytes] = []
    size: tuple[int, int] | None = None
    orientation, drawn = 1, False
    for kind, chunk in _webp_chunks(data):
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
            orientation = _exif_orientation(body.removeprefix(b"Exif\0\0"))
    if size is None or not drawn:
        raise Refused("damaged", "no picture in it")
    measure("WEBP", *size)
    body = b"".join(kept)
    return Bare("WEBP", *size, b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body, orientation)


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
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

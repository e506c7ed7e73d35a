"""Picture files before any decoder sees them: detected, measured, and stripped to their pixel data.

A decoder gets only a rebuilt file with frame header, tables and pixel data of one picture.  EXIF,
GPS, ICC profiles, XMP, comments, further frames and data after the end never reach it.
This reduces the attack surface and removes private data at the same time.  Everything here is linear in
the size of the file.
"""

from __future__ import annotations

from context.intake.jpeg import strip_jpeg
from context.intake.limits import MAX_BYTES, Bare, Refused
from context.intake.png import PNG, strip_png
from context.intake.webp import strip_webp

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
_HEIF_BRANDS = frozenset(b"heic heix heim heis hevc hevx hevm hevs mif1 msf1 avif avis".split())
_AVIF_BRANDS = frozenset((b"avif", b"avis"))


def strip(data: bytes) -> Bare:
    """Reduce a file to the pixels of one picture.  Raises `Refused`; trusts no name or declared type."""
    if not data:
        raise Refused("empty")
    if len(data) > MAX_BYTES:
        raise Refused("too_large", f"{len(data)} bytes")
    if data.startswith(b"\xff\xd8\xff"):
        return strip_jpeg(data)
    if data.startswith(PNG):
        return strip_png(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return strip_webp(data)
    raise Refused(_refusal(data))


def is_clip(data: bytes) -> bool:
    """Whether it claims to be a video or an animation: MP4, MOV, WebM, GIF."""
    if data[4:8] == b"ftyp":
        return data[8:12] not in _HEIF_BRANDS
    return data.startswith((b"\x1a\x45\xdf\xa3", b"GIF8")) or data[4:8] in {b"moov", b"mdat", b"wide"}


def is_heic(data: bytes) -> bool:
    """Whether it claims to be a phone's own format: HEIC, not AVIF."""
    return data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS - _AVIF_BRANDS


def _refusal(data: bytes) -> str:
    if data[4:8] == b"ftyp":
        return "heic" if data[8:12] in _HEIF_BRANDS else "not_a_picture"
    if data.startswith(_OTHER_PICTURES) or b"<svg" in data[:1024].lower():
        return "unsupported"
    return "not_a_picture"

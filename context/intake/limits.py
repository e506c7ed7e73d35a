"""What a picture may be: limits on its size and its structure, and how one is refused."""

from __future__ import annotations

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

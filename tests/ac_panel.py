"""Draws the photos that the tests send: an air conditioner whose display shows a code, a rating plate."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache

from PIL import Image, ImageDraw, ImageFilter

_SEGMENTS = {
    "0": "abcdef",
    "1": "bc",
    "2": "abged",
    "3": "abgcd",
    "4": "fgbc",
    "5": "afgcd",
    "6": "afgedc",
    "7": "abc",
    "8": "abcdefg",
    "9": "abcdfg",
    "E": "afged",
    "F": "afge",
    "H": "fbgec",
    "P": "abfge",
}


@cache
def draw_panel(code: str = "E4") -> Image.Image:
    """A wall unit, slightly tilted as in a real photo, with `code` on its red display.

    It takes half a second: drawn once, when a test asks for it.  Whoever changes it takes a copy.
    """
    width, height, scale = 1200, 900, 2
    picture = Image.new("RGB", (width * scale, height * scale), "#cfc6b8")
    draw = ImageDraw.Draw(picture)
    for y in range(height * scale):  # light falls from above
        shade = 1 - 0.22 * y / (height * scale)
        draw.line([(0, y), (width * scale, y)], fill=tuple(int(c * shade) for c in (214, 205, 190)))
    x0, y0, x1, y1 = (int(v * scale) for v in (width * 0.06, height * 0.26, width * 0.94, height * 0.68))
    draw.rounded_rectangle((x0 + 18, y0 + 34, x1 + 26, y1 + 46), 60, fill="#8d8375")
    picture = picture.filter(ImageFilter.GaussianBlur(14))
    draw = ImageDraw.Draw(picture)
    draw.rounded_rectangle((x0, y0, x1, y1), 56, fill="#f4f4f1")
    draw.rounded_rectangle((x0, y0, x1, y0 + 90), 56, fill="#fdfdfb")
    for slat in range(5):
        y = y1 - 190 + slat * 32
        draw.rounded_rectangle((x0 + 90, y, x1 - 90, y + 15), 7, fill="#c9cac6")
        draw.rounded_rectangle((x0 + 90, y + 9, x1 - 90, y + 15), 5, fill="#9b9c98")
    dw, dh = 330, 190
    dx, dy = x1 - dw - 130, y0 + 130
    draw.rounded_rectangle((dx - 10, dy - 10, dx + dw + 10, dy + dh + 10), 30, fill="#d9d9d5")
    draw.rounded_rectangle((dx, dy, dx + dw, dy + dh), 24, fill="#120d0d")
    glow = Image.new("RGB", picture.size, "black")
    _draw_code(ImageDraw.Draw(glow), code, dx + 62, dy + 30, 78, 130, "#ff3b2a")
    halo = glow.filter(ImageFilter.GaussianBlur(22))
    for layer in (halo, glow):
        picture = Image.composite(layer, picture, layer.convert("L").point(lambda v: min(255, v * 3)))
    draw = ImageDraw.Draw(picture)
    draw.ellipse((dx - 90, dy + 80, dx - 62, dy + 108), fill="#e23424")
    picture = picture.rotate(-2.2, resample=Image.Resampling.BICUBIC, fillcolor="#b3aa9c")
    crop = (30 * scale, 30 * scale, (width - 30) * scale, (height - 30) * scale)
    return picture.crop(crop).resize((width, height), Image.Resampling.LANCZOS)


PLATE = (
    "ROOM AIR CONDITIONER",
    "MODEL   KFR-35GW",
    "220 V ~ 50 Hz   1080 W",
    "R32   0.68 kg",
    "S/N   8K2207M1194",
)


def draw_plate(lines: Sequence[str] = PLATE) -> Image.Image:
    """A rating plate, as the second photo of a case."""
    width, height = 900, 1200
    picture = Image.new("RGB", (width, height), "#b9bcbf")
    draw = ImageDraw.Draw(picture)
    draw.rounded_rectangle(
        (90, 220, width - 90, height - 240), 20, fill="#eceeee", outline="#6b6f73", width=4
    )
    for number, line in enumerate(lines):
        draw.text((130, 270 + number * 130), line, fill="#23282c", font_size=46)
    return picture.rotate(1.5, resample=Image.Resampling.BICUBIC, fillcolor="#a5a8ab")


def as_jpeg(picture: Image.Image) -> bytes:
    """The picture as a file."""
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=90)
    return out.getvalue()


def _draw_code(
    draw: ImageDraw.ImageDraw, code: str, x: int, y: int, width: int, height: int, colour: str
) -> None:
    thick = 19
    for place, sign in enumerate(code):
        left, top = x + place * (width + 46), y
        middle, bottom, right = top + height // 2, top + height, left + width
        bars = {
            "a": (left, top, right, top + thick),
            "b": (right - thick, top, right, middle),
            "c": (right - thick, middle, right, bottom),
            "d": (left, bottom - thick, right, bottom),
            "e": (left, middle, left + thick, bottom),
            "f": (left, top, left + thick, middle),
            "g": (left, middle - thick // 2, right, middle + thick // 2),
        }
        for name in _SEGMENTS[sign]:
            draw.rounded_rectangle(bars[name], 7, fill=colour)

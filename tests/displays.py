"""Draws what the fallback reads on photos: panels with a code, and 红灯常亮 without any Chinese font."""

from __future__ import annotations

import hashlib
import io

from PIL import Image, ImageDraw, ImageFont

from context.turns import Photo
from prompts.prompt import PromptImage

INK = (255, 90, 70)
STROKES = {
    "红": (
        ((32, 8), (12, 36), (36, 32)),
        ((40, 26), (12, 62), (40, 56)),
        ((8, 88), (42, 76)),
        ((50, 20), (94, 20)),
        ((72, 20), (72, 84)),
        ((46, 84), (98, 84)),
    ),
    "灯": (
        ((10, 34), (16, 50)),
        ((40, 28), (32, 44)),
        ((26, 10), (26, 50), (6, 92)),
        ((27, 54), (44, 78)),
        ((52, 20), (98, 20)),
        ((76, 20), (76, 90), (62, 80)),
    ),
    "常": (
        ((50, 4), (50, 20)),
        ((28, 8), (34, 20)),
        ((72, 8), (64, 20)),
        ((12, 24), (8, 38)),
        ((12, 26), (90, 26), (84, 38)),
        ((34, 36), (68, 36), (68, 50), (34, 50), (34, 36)),
        ((20, 60), (20, 88)),
        ((20, 60), (82, 60), (82, 86), (72, 82)),
        ((50, 50), (50, 98)),
    ),
    "亮": (
        ((50, 2), (50, 12)),
        ((8, 16), (92, 16)),
        ((30, 26), (70, 26), (70, 42), (30, 42), (30, 26)),
        ((10, 50), (6, 64)),
        ((10, 52), (92, 52), (86, 64)),
        ((36, 66), (34, 84), (14, 98)),
        ((36, 66), (64, 66), (64, 90), (70, 95), (92, 95), (92, 84)),
    ),
}
"""Each character as lines on a field of 100 x 100."""


def draw_display(text: str, *, turned: int = 0) -> Image.Image:
    """A dark panel on a light device; `text` in Pillow's own font, or in the strokes above."""
    picture = Image.new("RGB", (900, 600), (235, 235, 230))
    draw = ImageDraw.Draw(picture)
    draw.rounded_rectangle((150, 120, 750, 480), 30, fill=(20, 20, 22))
    if set(text) <= set(STROKES):
        _draw_strokes(draw, text)
    else:
        draw.text((450, 300), text, fill=INK, font=ImageFont.load_default(120), anchor="mm")
    return picture.rotate(turned, expand=True)


def _draw_strokes(draw: ImageDraw.ImageDraw, text: str, size: int = 60) -> None:
    left = 450 - len(text) * size * 0.56
    for number, character in enumerate(text):
        for line in STROKES[character]:
            points = [(left + number * size * 1.12 + x * size / 100, 270 + y * size / 100) for x, y in line]
            draw.line(points, fill=INK, width=4, joint="curve")


def as_jpeg(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=90)
    return file.getvalue()


def shown(picture: Image.Image, *, number: int = 1) -> PromptImage:
    """The picture as a photo of a prompt."""
    jpeg = as_jpeg(picture)
    photo = Photo(hashlib.sha256(jpeg).hexdigest(), picture.width, picture.height, number)
    return PromptImage(photo, jpeg)

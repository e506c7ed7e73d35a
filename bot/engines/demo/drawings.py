"""Drawings of a device with one indicator light: colour, steady or blinking, everything else at random."""

from __future__ import annotations

import io
import math
import random
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFilter

COLOURS = {
    "red": (225, 35, 30),
    "green": (40, 190, 60),
    "blue": (40, 90, 235),
    "yellow": (240, 205, 30),
}
PATTERNS = ("steady", "blinking")
SIDE = 96


@dataclass(frozen=True, slots=True)
class Light:
    """What a drawing shows."""

    colour: str
    pattern: str


def any_light(dice: random.Random) -> Light:
    """One of the eight."""
    return Light(dice.choice(list(COLOURS)), dice.choice(PATTERNS))


def draw(light: Light, dice: random.Random, *, scale: int = 1) -> Image.Image:
    """A device of random body, place, size and background with this light; a blinking one has rays."""
    side = SIDE * scale
    ground = tuple(dice.randrange(90, 235) for _ in range(3))
    picture = Image.new("RGB", (side, side), ground)
    pen = ImageDraw.Draw(picture)
    for _ in range(dice.randrange(4)):
        x, y = dice.randrange(side), dice.randrange(side)
        shade = tuple(max(0, min(255, value + dice.randrange(-25, 26))) for value in ground)
        pen.rectangle(
            (x, y, x + dice.randrange(10, 50) * scale, y + dice.randrange(4, 30) * scale), fill=shade
        )
    left, top = (dice.randrange(2, 14) * scale for _ in range(2))
    right, bottom = (side - dice.randrange(2, 14) * scale for _ in range(2))
    grey = dice.randrange(20, 80)
    body = tuple(grey + dice.randrange(-8, 9) for _ in range(3))
    pen.rounded_rectangle((left, top, right, bottom), radius=dice.randrange(2, 12) * scale, fill=body)
    radius = dice.randrange(7, 11) * scale
    reach = radius * 2 + 3 * scale
    x = dice.randrange(left + reach, max(left + reach + 1, right - reach))
    y = dice.randrange(top + reach, max(top + reach + 1, bottom - reach))
    hue = tuple(max(0, min(255, value + dice.randrange(-18, 19))) for value in COLOURS[light.colour])
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=hue)
    if light.pattern == "blinking":
        turn = dice.random() * math.pi
        for ray in range(8):
            angle = turn + ray * math.pi / 4
            dx, dy = math.cos(angle), math.sin(angle)
            inner, outer = radius + 3 * scale, reach
            pen.line(
                (x + dx * inner, y + dy * inner, x + dx * outer, y + dy * outer), fill=hue, width=3 * scale
            )
    if dice.random() < 0.3:  # noqa: PLR2004  # a third of all photos are a little out of focus
        picture = picture.filter(ImageFilter.GaussianBlur(dice.random() * 0.8 * scale))
    return picture


def jpeg(picture: Image.Image, *, quality: int = 90) -> bytes:
    """The drawing as a customer's app would send it."""
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return out.getvalue()

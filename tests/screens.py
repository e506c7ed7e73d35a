"""Draws what customers send in place of a photo, and photos that could be taken for it: each with a seed."""

from __future__ import annotations

import io
import random

from PIL import Image, ImageChops, ImageDraw, ImageFilter

SCREENS = ((1080, 1920), (1080, 2340), (1179, 2556), (1170, 2532), (1920, 1080), (1440, 900), (720, 1600))
THEMES = (
    ("#ffffff", "#f2f2f7", "#0a84ff", "#1c1c1e"),
    ("#ededed", "#ffffff", "#95ec69", "#191919"),
    ("#121212", "#1e1e1e", "#bb86fc", "#e6e6e6"),
    ("#f6f8fa", "#ffffff", "#1677ff", "#24292f"),
)
WORDS = ("Error", "E4", "Indoor", "unit", "offline,", "retry.", "Filter", "72", "%", "08:30", "Help", "Cool")


def draw_screenshot(dice: random.Random) -> Image.Image:
    """An app's page: status bar, title, cards with text, buttons."""
    width, height = dice.choice(SCREENS)
    ground, card, accent, ink = dice.choice(THEMES)
    unit = max(width, height) // 40
    picture = Image.new("RGB", (width, height), ground)
    pen = ImageDraw.Draw(picture)

    def write(x: int, y: int, size: int, words: int, colour: str = ink) -> None:
        text = " ".join(dice.choice(WORDS) for _ in range(words))
        pen.text((x, y), text, fill=colour, font_size=size)

    write(unit, unit // 4, unit // 2, 1)
    write(width - 3 * unit, unit // 4, unit // 2, 1)
    pen.rectangle((0, unit, width, 3 * unit), fill=dice.choice((card, accent)))
    write(unit, int(1.5 * unit), unit, 2)
    top = 4 * unit
    while top < height - 6 * unit:
        tall = dice.randrange(3, 7) * unit
        left = dice.choice((unit // 2, unit // 2, width // 4))
        pen.rounded_rectangle((left, top, width - unit // 2, top + tall), unit // 2, fill=card)
        for line in range(dice.randrange(1, max(2, tall // unit))):
            write(left + unit // 2, top + unit // 3 + line * unit, int(0.6 * unit), dice.randrange(2, 6))
        top += tall + unit // 2
    pen.rounded_rectangle((unit, height - 4 * unit, width - unit, height - 2 * unit), unit, fill=accent)
    write(width // 3, height - int(3.4 * unit), unit, 2, ground)
    return picture


def draw_photo(dice: random.Random) -> Image.Image:
    """A device as a camera sees it, in the shape of a screen: soft light, lens, noise; sometimes blinded."""
    width, height = dice.choice(
        ((1280, 720), (1600, 900), (960, 1280), (720, 1280), (1080, 1920), (1500, 1000))
    )
    wall = tuple(dice.randrange(40, 250) for _ in range(3))
    body = dice.choice(((245, 245, 242), (30, 30, 34), (200, 200, 205), (120, 90, 60)))
    picture = Image.new("RGB", (width, height), wall)
    pen = ImageDraw.Draw(picture)
    left, top = width // dice.randrange(6, 14), height // dice.randrange(5, 12)
    pen.rounded_rectangle((left, top, width - left, height - top), 30, fill=body)
    shade = (20, 20, 22) if sum(body) > 300 else (225, 225, 225)
    for line in range(dice.randrange(2, 8)):
        text = " ".join(dice.choice(WORDS) for _ in range(3))
        pen.text((2 * left, 2 * top + line * height // 14), text, fill=shade, font_size=height // 24)
    pen.rectangle((width // 2, height // 2, width - 2 * left, height - 2 * top), fill=(12, 10, 10))
    pen.text((width // 2 + 20, height // 2 + 20), "E4", fill=(255, 60, 40), font_size=height // 6)
    light = Image.linear_gradient("L").rotate(dice.choice((0, 90, 180)), expand=True).resize(picture.size)
    gain = dice.choice((0.15, 0.6, 1.0, 1.0, 1.6, 2.4))  # in the dark ... overexposed
    lit = ImageChops.multiply(picture, Image.merge("RGB", [light.point(lambda v: 150 + v * 105 // 255)] * 3))
    lit = lit.filter(ImageFilter.GaussianBlur(dice.choice((0.8, 1.2, 1.6))))
    lit = lit.rotate(dice.uniform(-3, 3), resample=Image.Resampling.BICUBIC, fillcolor=wall)
    noise = Image.effect_noise(picture.size, dice.choice((3, 6, 12)))
    noisy = ImageChops.add(lit, Image.merge("RGB", (noise, noise, noise)), 1, -128)
    return noisy.point(lambda value: min(255, int(value * gain)))


def sent(picture: Image.Image, quality: int) -> bytes:
    """As a messenger passes it on: at most 1280 pixels, compressed; with quality 0 as a PNG file, whole."""
    out = io.BytesIO()
    if not quality:
        picture.save(out, "PNG")
        return out.getvalue()
    scale = min(1.0, 1280 / max(picture.size))
    small = picture.resize([round(side * scale) for side in picture.size], Image.Resampling.LANCZOS)
    small.save(out, "JPEG", quality=quality)
    return out.getvalue()

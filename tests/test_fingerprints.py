"""Fingerprints: what looks alike belongs together, what only has the same outline does not."""

from __future__ import annotations

import io
import random

import pytest
from PIL import Image, ImageDraw, ImageEnhance

from context.fingerprints import Fingerprint, fingerprint


def scene(seed: int, *, lamp: str = "red") -> Image.Image:
    """A device of random colours and shapes, with a small lamp."""
    dice = random.Random(seed)
    image = Image.new("RGB", (640, 480), tuple(dice.randrange(256) for _ in range(3)))
    draw = ImageDraw.Draw(image)
    for _ in range(9):
        x, y = dice.randrange(560), dice.randrange(400)
        box = (x, y, x + dice.randrange(60, 260), y + dice.randrange(60, 200))
        draw.rounded_rectangle(box, 12, fill=tuple(dice.randrange(256) for _ in range(3)))
    draw.ellipse((320, 240, 336, 256), fill=lamp)
    return image


def print_of(image: Image.Image, *, quality: int = 90) -> Fingerprint:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return fingerprint(file.getvalue())


@pytest.mark.parametrize("seed", range(12))
def test_the_same_picture_stored_anew_is_near(seed: int) -> None:
    image = scene(seed)
    smaller = image.resize((512, 384), Image.Resampling.LANCZOS)
    brighter = ImageEnhance.Brightness(image).enhance(1.05)
    for other in (print_of(image, quality=60), print_of(smaller), print_of(brighter)):
        assert print_of(image).is_near(other)


@pytest.mark.parametrize("seed", range(12))
def test_a_lamp_that_changes_keeps_the_series(seed: int) -> None:
    assert print_of(scene(seed)).is_near(print_of(scene(seed, lamp="green")))


def test_strangers_are_apart() -> None:
    prints = [print_of(scene(seed)) for seed in range(40)]
    assert [(one, two) for one in range(40) for two in range(one) if prints[one].is_near(prints[two])] == []


def test_the_same_outline_in_other_colours_is_apart() -> None:
    plain = [print_of(Image.new("RGB", (64, 64), colour)) for colour in ("white", "blue", "red", "green")]
    assert not any(one.is_near(two) for one in plain for two in plain if one is not two)


def test_a_fingerprint_survives_being_written_down() -> None:
    one = print_of(scene(3))
    assert Fingerprint.parse(str(one)) == one
    for text in ("", "00", str(one)[:-2], "x" * 112):
        with pytest.raises(ValueError):
            Fingerprint.parse(text)

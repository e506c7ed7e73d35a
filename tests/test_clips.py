"""Clips: what blinks is counted when it is certain, and asked for when it is not."""

from __future__ import annotations

import asyncio
import io
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from PIL import Image, ImageFilter

from bot.engines.fallback import FallbackEngine
from context.facts import facts_from, written
from context.intake.blinks import find_lamps
from context.photos import Intake, Photos
from context.turns import Clip, Lamp, Photo, Rejection
from prompts.prompt import PromptImage
from tests.ac_panel import draw_panel
from tests.asked import asked
from tests.clips import DrawnClip, DrawnLamp, draw, drawn_clips, encode, film
from tests.screens import draw_photo, draw_screenshot, sent
from tests.world import world

pytestmark = pytest.mark.asyncio(loop_scope="module")

HELD_OUT = 90_210
SHORT = DrawnClip((DrawnLamp("red", 2),), seconds=4, rate=24, size=(160, 120))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def photos(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Photos]:
    photos = Photos(tmp_path_factory.mktemp("photos"), intake=Intake())
    await photos.start()
    yield photos
    await photos.close()


async def taken(photos: Photos, data: bytes) -> Photo:
    photo = await photos.take_in(data)
    assert isinstance(photo, Photo), photo
    return photo


async def clip_of(photos: Photos, drawn: DrawnClip) -> Clip:
    clip = (await taken(photos, await asyncio.to_thread(film, drawn))).clip
    assert clip is not None
    return clip


@pytest.mark.parametrize("number", range(9))
async def test_no_count_is_ever_wrong(photos: Photos, number: int) -> None:
    """Of the clips that `benchmarks/clips.py` measures by the dozen, nine that nobody has tuned for."""
    drawn = drawn_clips(9, seed=HELD_OUT)[number]
    clip = await clip_of(photos, drawn)
    counted = {(lamp.colour, lamp.blinks) for lamp in clip.lamps if lamp.blinks}
    assert counted <= {(lamp.colour, lamp.blinks) for lamp in drawn.lamps}


@pytest.mark.parametrize(("blinks", "colour"), [(1, "green"), (3, "red"), (7, "yellow")])
async def test_blinks_are_counted_with_their_colour_and_their_pauses(
    photos: Photos, blinks: int, colour: str
) -> None:
    lamp = DrawnLamp(colour, blinks, x=0.2, y=0.8, on_s=0.2, gap_s=0.2, pause_s=1.5)
    clip = await clip_of(photos, DrawnClip((lamp,), seconds=10, shake=0.5))
    (found,) = clip.lamps
    assert (found.colour, found.blinks, found.place) == (colour, blinks, "bottom left")
    assert found.pause_s == pytest.approx(1.5, abs=0.11)
    assert found.on_s == pytest.approx(0.2, abs=0.05)


@pytest.mark.parametrize(("edge_s", "blinks"), [(0.02, 2), (0.4, 0)])
async def test_light_that_swells_and_fades_is_not_counted(edge_s: float, blinks: int) -> None:
    """Twice two reflections that pass by were taken for a lamp with a count of two."""
    times = (np.arange(362) * 0.04).astype(np.float32)
    apart = np.abs(times[:, None] - np.array([0.9, 2.8, 7.7, 9.6, 14.1])).min(axis=1)
    level = np.interp(apart, (0.45 - edge_s / 2, 0.45 + edge_s / 2), (1, 0))
    dice = np.random.default_rng(1)
    panel = dice.uniform(60, 120, (12, 16, 1)).repeat(10, 0).repeat(10, 1)
    frames = panel + dice.normal(0, 1, (len(times), 120, 160, 3))
    frames[:, 58:64, 78:84] += 60 * level[:, None, None, None]
    found = find_lamps(frames.clip(0, 255).astype(np.uint8), times)
    assert [finding.lamp.blinks for finding in found] == ([blinks] if blinks else [0])


async def test_two_lamps_are_told_apart(photos: Photos) -> None:
    lamps = (DrawnLamp("red", 3, x=0.25), DrawnLamp("green", 2, x=0.75))
    clip = await clip_of(photos, DrawnClip(lamps, seconds=9))
    found = {(lamp.colour, lamp.blinks, lamp.place) for lamp in clip.lamps}
    assert found == {("red", 3, "left"), ("green", 2, "right")}


@pytest.mark.parametrize("seconds", [1.8, 2.6])
async def test_a_clip_that_ends_before_the_second_pause_has_no_count(photos: Photos, seconds: float) -> None:
    clip = await clip_of(photos, DrawnClip((DrawnLamp("red", 6),), seconds=seconds))
    assert [lamp.blinks for lamp in clip.lamps] in ([], [0])


async def test_a_light_that_never_pauses_has_nothing_to_count(photos: Photos) -> None:
    clip = await clip_of(photos, DrawnClip((DrawnLamp("blue", 0, on_s=0.3, gap_s=0.3),), seconds=9))
    assert [(lamp.blinks, lamp.regular) for lamp in clip.lamps] == [(0, True)]


@pytest.mark.parametrize("lamps", [(), (DrawnLamp("red", -1),)])
async def test_nothing_blinks_where_nothing_changes(photos: Photos, lamps: tuple[DrawnLamp, ...]) -> None:
    clip = await clip_of(photos, DrawnClip(lamps, seconds=3, shake=1, noise=6))
    assert clip.lamps == ()


@pytest.mark.parametrize(("codec", "container"), [("libvpx-vp9", "webm"), ("libx264", "mov"), ("gif", "gif")])
async def test_a_clip_in_any_usual_container_becomes_one_photo(
    photos: Photos, codec: str, container: str
) -> None:
    frames = draw(replace(SHORT, rate=10))
    photo = await taken(photos, encode(frames, rate=10, codec=codec, format=container))
    assert photo.clip is not None
    jpeg = await photos.read(photo.sha256)
    assert jpeg is not None
    assert Image.open(io.BytesIO(jpeg)).size == (photo.width, photo.height) == (160, 248)


async def test_the_photo_shows_the_lamp_lit_and_dark(photos: Photos) -> None:
    photo = await taken(photos, film(replace(SHORT, lamps=(DrawnLamp("red", 3, radius=8),), seconds=8)))
    jpeg = await photos.read(photo.sha256)
    assert jpeg is not None
    pixels = Image.open(io.BytesIO(jpeg)).convert("RGB")
    lit, dark = pixels.getpixel((80, 60)), pixels.getpixel((80, 188))
    assert isinstance(lit, tuple)
    assert isinstance(dark, tuple)
    assert lit[0] > dark[0] + 80


async def test_an_animation_of_one_frame_is_a_picture(photos: Photos) -> None:
    file = io.BytesIO()
    Image.new("RGB", (320, 240), "red").save(file, "GIF")
    photo = await taken(photos, file.getvalue())
    assert photo.clip is None
    assert (photo.width, photo.height) == (320, 240)


MP4 = film(SHORT)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty"),
        (MP4[:2000], "damaged"),
        (b"\0\0\0\x18ftypmp42" + bytes(1000), "damaged"),
        (b"\x1a\x45\xdf\xa3" + bytes(1000), "damaged"),
        (b"GIF89a" + bytes(100), "damaged"),
        (MP4[:40] + bytes(21 * 1024 * 1024), "too_large"),
        (encode(draw(replace(SHORT, size=(160, 8), seconds=0.5, lamps=())), rate=24), "too_small"),
    ],
    ids=["empty", "cut", "hollow mp4", "hollow webm", "hollow gif", "too large", "strip"],
)
async def test_a_clip_that_cannot_be_used_has_a_code(photos: Photos, data: bytes, code: str) -> None:
    refused = await photos.take_in(data)
    assert isinstance(refused, Rejection)
    assert refused.code == code


async def test_photos_go_on_while_a_clip_is_watched(photos: Photos) -> None:
    watching = asyncio.create_task(photos.take_in(film(replace(SHORT, size=(640, 480), seconds=8))))
    await asyncio.sleep(0)
    for shade in range(3):
        file = io.BytesIO()
        Image.new("RGB", (300, 200), (shade, 9, 9)).save(file, "PNG")
        await taken(photos, file.getvalue())
    assert not watching.done()
    await watching


# Flaws


@cache
def panel(blur: float = 0, light: float = 1, longest: int = 1024) -> bytes:
    picture = draw_panel().copy()
    picture.thumbnail((longest, longest))
    picture = picture.filter(ImageFilter.GaussianBlur(blur)).point(lambda value: int(value * light))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=92)
    return file.getvalue()


@pytest.mark.parametrize(
    ("changed", "flaw"),
    [
        ({}, ""),
        ({"blur": 1}, ""),
        ({"light": 0.5}, ""),
        ({"blur": 7}, "blurred"),
        ({"light": 0.12}, "dark"),
        ({"longest": 110}, "small"),
    ],
    ids=["sharp", "a little soft", "dim", "blurred", "dark", "small"],
)
async def test_a_photo_that_shows_little_says_why(
    photos: Photos, changed: dict[str, float], flaw: str
) -> None:
    assert (await taken(photos, panel(**changed))).flaw == flaw


@pytest.mark.parametrize("quality", [0, 80])
async def test_a_screenshot_is_told_from_a_photo_in_the_shape_of_a_screen(
    photos: Photos, quality: int
) -> None:
    """As a file, and as a messenger passes it on.  A photo is never taken for a screenshot."""
    dice = random.Random(f"screens {quality}")
    screens = [await taken(photos, sent(draw_screenshot(dice), quality)) for _ in range(2)]
    assert [screen.flaw for screen in screens] == ["screenshot"] * 2
    others = [await taken(photos, sent(draw_photo(dice), quality or 95)) for _ in range(3)]
    assert "screenshot" not in [photo.flaw for photo in others]


# What is written down, and what becomes of it


@pytest.mark.parametrize(
    "facts", ['{"flaw":"ugly"}', "[]", "{", '{"clip":{"seconds":1}}', '{"clip":{"seconds":1,"lamps":[{}]}}']
)
async def test_facts_that_we_did_not_write_are_refused(facts: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        facts_from(facts)


THREE_RED = Clip(8.0, (Lamp("red", "middle", 3, on_s=0.25, gap_s=0.3, pause_s=1.6),))
UNSURE = Clip(8.0, (Lamp("green", "left", 0),))
REGULAR_WHITE = Clip(8.0, (Lamp("white", "middle", 0, regular=True),))


async def test_facts_come_back_as_they_were_written() -> None:
    assert facts_from(written(THREE_RED, "dark")) == (THREE_RED, "dark")
    assert facts_from(None) == (None, "")


@pytest.mark.parametrize(
    ("photo", "words"),
    [
        (Photo("a" * 64, 640, 480, 1, THREE_RED), "communication module"),
        (Photo("b" * 64, 640, 480, 1, UNSURE), "How many blinks, then how long a pause?"),
        (Photo("9" * 64, 640, 480, 1, REGULAR_WHITE), "A blinking white light usually means"),
        (Photo("c" * 64, 640, 480, 1, flaw="dark"), "The photo is very dark."),
        (Photo("d" * 64, 640, 480, 1, flaw="blurred"), "The photo is blurred."),
        (Photo("e" * 64, 473, 1024, 1, flaw="screenshot"), "Please also send a photo of the device itself"),
    ],
    ids=["counted", "uncertain", "regular", "dark", "blurred", "screenshot"],
)
async def test_without_a_model_the_measured_facts_decide(photo: Photo, words: str) -> None:
    draft = await FallbackEngine(reader=None).draft(asked("what is this?", PromptImage(photo, panel())))
    assert words in draft.text


async def test_a_clip_sent_in_telegram_reaches_the_model_as_a_photo_and_measured_facts(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as w:
        li = w.telegram.customer(77)
        clip = film(DrawnClip((DrawnLamp("red", 3),), seconds=8))
        li.sends_file(clip, name="fault.mp4", mime="video/mp4", caption="what does it say? c1t1")
        await w.telegram.replies(li.room.id)
        (request,) = [each for each in w.model.requests if "c1t1" in each.last_text]
        assert len(request.images) == 1
        assert "a red light (middle) blinks 3 times before each pause of 1.6 s" in request.last_text

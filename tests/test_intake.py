"""What becomes of every kind of file a stranger may send: an upright JPEG or the code of a refusal."""

from __future__ import annotations

import asyncio
import io
import random
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from PIL import Image

from context.intake.client import Intake
from context.intake.wire import Normalised
from context.turns import Rejection
from tests import pictures
from tests.mutations import MUTATIONS, parts_of
from tests.pictures import HOSTILE, QUARTERS, UPRIGHT, Hostile, Picture

SMALL_SCENE = pictures.scene(160, 120)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def intake() -> AsyncIterator[Intake]:
    intake = Intake(opens_heic=False)
    await intake.start()
    yield intake
    await intake.close()


async def taken(intake: Intake, data: bytes) -> Normalised:
    answer = await intake.normalise(data)
    assert isinstance(answer, Normalised), answer
    return answer


def assert_upright_scene(jpeg: bytes) -> None:
    found = pictures.quarters(jpeg)
    for quarter, colour in (QUARTERS | {"bottom right": (255, 255, 255)}).items():
        off = max(abs(a - b) for a, b in zip(found[quarter], colour, strict=True))
        assert off <= 12, f"{quarter} is {found[quarter]}, should be {colour}"


@pytest.mark.parametrize("picture", UPRIGHT, ids=lambda picture: picture.name)
async def test_every_honest_picture_becomes_the_same_upright_jpeg(intake: Intake, picture: Picture) -> None:
    clean = await taken(intake, picture.make())
    assert_upright_scene(clean.jpeg)
    with Image.open(io.BytesIO(clean.jpeg)) as opened:
        assert (opened.format, opened.mode, opened.size) == ("JPEG", "RGB", (clean.width, clean.height))
        assert max(opened.size) <= 1024


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.name)
async def test_every_hostile_file_gets_its_code(intake: Intake, hostile: Hostile) -> None:
    answer = await intake.normalise(hostile.make())
    assert isinstance(answer, Rejection)
    assert answer.code == hostile.code, answer


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
async def test_every_orientation_comes_out_upright(intake: Intake, orientation: int, kind: str) -> None:
    clean = await taken(intake, pictures.turned(orientation, kind))
    assert (clean.width, clean.height) == (320, 200)
    assert_upright_scene(clean.jpeg)


async def test_with_the_extra_a_heic_file_is_a_picture_as_any(intake: Intake) -> None:
    """Without it, it is refused with a hint; see the hostile ones."""
    pytest.importorskip("pi_heif")
    opens, refuses = Intake(at_once=1), intake
    await opens.start()
    try:
        clean = await taken(opens, pictures.HEIC)
        assert_upright_scene(clean.jpeg)
        assert b"heic" not in clean.jpeg
        broken = [pictures.HEIC[:size] for size in (30, 400, 700)] + [pictures.HEIC[:480] + b"\0" * 400]
        answers = [await opens.normalise(data) for data in broken]
        assert [getattr(answer, "code", "") for answer in answers] == ["damaged"] * len(broken)
        assert isinstance(hint := await refuses.normalise(pictures.HEIC), Rejection)
        assert hint.code == "heic"
    finally:
        await opens.close()


async def test_nothing_is_left_of_metadata_and_trailers(intake: Intake) -> None:
    sent = pictures.with_position() + b"PK\x03\x04<?php system($_GET['c']); ?>"
    for mark in (b"Exif", b"SYSTEM", b"SpyCam", b"<script", b"PK\x03\x04", b"<?php"):
        assert mark in sent
        assert mark not in (await taken(intake, sent)).jpeg


async def test_the_same_picture_gives_the_same_bytes_whatever_hangs_on_it(intake: Intake) -> None:
    plain = await taken(intake, pictures.jpeg())
    assert (await taken(intake, pictures.jpeg() + b"trailer")).jpeg == plain.jpeg
    assert (await taken(intake, pictures.jpeg(comment=b"words"))).jpeg == plain.jpeg


@pytest.mark.parametrize(
    ("mode", "left", "right"),
    [("1", 0, 255), ("L", 40, 200), ("LA", 40, 200), ("I;16", 0, 128), ("CMYK", 40, 200)],
)
async def test_grey_stays_the_grey_it_was(intake: Intake, mode: str, left: int, right: int) -> None:
    if mode == "I;16":
        sent = pictures.sixteen_bit_grey()
    else:
        grey = Image.new("L", (64, 64), left)
        grey.paste(right, (32, 0, 64, 64))
        sent = pictures.jpeg(grey.convert("CMYK")) if mode == "CMYK" else pictures.png(grey.convert(mode))
    found = pictures.quarters((await taken(intake, sent)).jpeg)
    assert found["top left"] == pytest.approx((left,) * 3, abs=3)
    assert found["bottom right"] == pytest.approx((right,) * 3, abs=3)


async def test_a_grey_jpeg_comes_out_as_rgb(intake: Intake) -> None:
    clean = await taken(intake, pictures.jpeg(pictures.scene().convert("L")))
    with Image.open(io.BytesIO(clean.jpeg)) as opened:
        assert opened.mode == "RGB"


async def test_what_is_transparent_is_white_and_not_black(intake: Intake) -> None:
    assert pictures.quarters((await taken(intake, pictures.clear_png())).jpeg)["top left"] == (255, 255, 255)


@pytest.mark.parametrize(
    ("size", "kept"),
    [
        ((320, 200), (320, 200)),
        ((1280, 960), (1024, 768)),
        ((3000, 4000), (768, 1024)),
        ((1025, 40), (1024, 40)),
    ],
)
async def test_the_longest_side_is_at_most_1024(
    intake: Intake, size: tuple[int, int], kept: tuple[int, int]
) -> None:
    clean = await taken(intake, pictures.jpeg(pictures.scene(*size)))
    assert (clean.width, clean.height) == kept


async def test_shrinking_keeps_what_a_photo_shows(intake: Intake) -> None:
    """Against exact averages of 4 x 4 pixels; q90 alone costs most of the difference."""
    data = pictures.photo(4096, 3072)
    with Image.open(io.BytesIO(data)) as opened:
        ideal = opened.convert("RGB").reduce(4)
    with Image.open(io.BytesIO((await taken(intake, data)).jpeg)) as clean:
        off = [abs(a - b) for a, b in zip(ideal.tobytes(), clean.tobytes(), strict=True)]
    assert sum(off) / len(off) < 2.0


async def test_an_album_of_ten_comes_back_in_its_order(intake: Intake) -> None:
    sizes = [(100 + 10 * n, 100) for n in range(10)]
    sent = [pictures.jpeg(pictures.scene(*size)) for size in sizes]
    answers = await asyncio.gather(*(taken(intake, data) for data in sent))
    assert [(clean.width, clean.height) for clean in answers] == sizes


SEEDS: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: pictures.jpeg(SMALL_SCENE),
    "progressive jpeg": lambda: pictures.jpeg(SMALL_SCENE, progressive=True, restart_marker_blocks=4),
    "jpeg with exif": pictures.with_position,
    "png": lambda: pictures.png(SMALL_SCENE),
    "palette png": lambda: pictures.png(SMALL_SCENE.convert("P"), transparency=0),
    "webp": lambda: pictures.webp(SMALL_SCENE),
    "lossless webp": lambda: pictures.webp(SMALL_SCENE.convert("RGBA"), lossless=True),
}
BROKEN = {
    "damaged",
    "not_a_picture",
    "too_small",
    "bad_shape",
    "too_many_pixels",
    "unsupported",
    "too_complex",
}


@pytest.mark.parametrize("kind", SEEDS)
async def test_mutated_files_are_taken_or_refused_and_nothing_else(intake: Intake, kind: str) -> None:
    """A file that ever breaks us goes into the table of hostile ones."""
    dice, whole = random.Random(f"mutated {kind}"), SEEDS[kind]()
    assert b"".join(parts_of(whole)) == whole
    mutated = [mutate(whole, dice) for mutate in MUTATIONS for _ in range(7)]
    answers = await asyncio.gather(*(intake.normalise(data) for data in mutated))
    refusals = [answer for answer in answers if isinstance(answer, Rejection)]
    assert {refusal.code for refusal in refusals} <= BROKEN
    assert not [refusal for refusal in refusals if refusal.detail.startswith("the decoder")]
    assert 0 < len(refusals) < len(answers)
    assert "replaced" not in (await intake.health()).detail

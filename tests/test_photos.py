"""The photo store: what was taken in is there for good, and nothing else is."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from context.photos import REJECTIONS, Intake, Photos
from context.turns import Photo, Rejection
from tests import pictures


@pytest.fixture
async def photos(tmp_path: Path) -> AsyncIterator[Photos]:
    photos = Photos(tmp_path / "photos", intake=Intake())
    await photos.start()
    yield photos
    await photos.close()


def stored_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("??/*"))


async def taken(photos: Photos, data: bytes) -> Photo:
    answer = await photos.take_in(data)
    assert isinstance(answer, Photo), answer
    return answer


async def test_what_was_taken_in_can_be_read(photos: Photos) -> None:
    photo = await taken(photos, pictures.jpeg(pictures.scene(2048, 1000)))
    jpeg = await photos.read(photo.sha256)
    assert jpeg is not None
    assert hashlib.sha256(jpeg).hexdigest() == photo.sha256
    assert (photo.width, photo.height, photo.number) == (1024, 500, 0)


async def test_the_same_picture_is_stored_once(photos: Photos, tmp_path: Path) -> None:
    data = pictures.jpeg()
    answers = await asyncio.gather(*(taken(photos, data) for _ in range(5)))
    assert len({photo.sha256 for photo in answers}) == 1
    assert len(stored_in(tmp_path / "photos")) == 1


async def test_what_was_refused_leaves_nothing_behind(photos: Photos, tmp_path: Path) -> None:
    answer = await photos.take_in(b"<html>")
    assert answer == Rejection("not_a_picture")
    assert stored_in(tmp_path / "photos") == []


async def test_photos_are_there_after_a_restart(photos: Photos, tmp_path: Path) -> None:
    photo = await taken(photos, pictures.jpeg())
    await photos.close()
    again = Photos(tmp_path / "photos", intake=Intake())
    assert await again.read(photo.sha256)
    await again.close()


async def test_a_forgotten_photo_is_gone(photos: Photos, tmp_path: Path) -> None:
    photo = await taken(photos, pictures.jpeg())
    await photos.forget(photo.sha256)
    await photos.forget(photo.sha256)
    assert await photos.read(photo.sha256) is None
    assert stored_in(tmp_path / "photos") == []


@pytest.mark.parametrize(
    "name",
    [
        "",
        "../secret",
        "../../etc/passwd",
        "ab/../../secret",
        "0" * 63,
        "0" * 64 + "\n",
        "A" * 64,
        "a\0b",
        "x" * 300,
    ],
)
async def test_a_name_that_is_no_hash_reaches_no_file(photos: Photos, tmp_path: Path, name: str) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"keep")
    assert await photos.read(name) is None
    await photos.forget(name)
    assert secret.read_bytes() == b"keep"


async def test_a_photo_damaged_on_disk_is_not_handed_out_and_heals(photos: Photos, tmp_path: Path) -> None:
    photo = await taken(photos, pictures.jpeg())
    (path,) = stored_in(tmp_path / "photos")
    path.write_bytes(path.read_bytes()[:100])
    assert await photos.read(photo.sha256) is None
    assert await taken(photos, pictures.jpeg()) == photo
    assert await photos.read(photo.sha256)


async def test_a_disk_that_fails_asks_the_customer_to_try_again(photos: Photos, tmp_path: Path) -> None:
    unfinished = tmp_path / "photos" / "unfinished"
    unfinished.rmdir()
    answer = await photos.take_in(pictures.jpeg())
    assert isinstance(answer, Rejection)
    assert answer.code == "try_again"
    assert (await photos.health()).state == "down"
    unfinished.mkdir()
    await taken(photos, pictures.jpeg())
    assert (await photos.health()).state == "ok"


STORING = """
import asyncio, sys
from pathlib import Path
from context.photos import Intake, Photos
from tests import pictures

async def main():
    photos = Photos(Path(sys.argv[1]), intake=Intake())
    await photos.start()
    for n in range(10_000):
        sent = [pictures.jpeg(pictures.scene(64 + 4 * n + k, 64)) for k in range(4)]
        await asyncio.gather(*map(photos.take_in, sent))
        print(n, flush=True)

asyncio.run(main())
"""


async def test_a_bot_that_is_killed_leaves_no_half_photo(tmp_path: Path) -> None:
    for rounds in (3, 5, 8):
        bot = await asyncio.create_subprocess_exec(
            sys.executable, "-c", STORING, str(tmp_path), stdout=subprocess.PIPE
        )
        assert bot.stdout
        for _ in range(rounds):
            await bot.stdout.readline()
        bot.kill()
        await bot.wait()
        files = stored_in(tmp_path)
        assert len(files) >= 4 * rounds
        for path in files:
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.stem


async def test_what_a_crash_left_unfinished_is_cleared_away_when_it_is_old(tmp_path: Path) -> None:
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "old").write_bytes(b"half")
    (unfinished / "young").write_bytes(b"half")
    os.utime(unfinished / "old", (0, 0))
    photos = Photos(tmp_path, intake=Intake())
    await photos.start()
    await photos.close()
    assert [path.name for path in unfinished.iterdir()] == ["young"]


def test_every_expected_refusal_is_a_known_one() -> None:
    assert {hostile.code for hostile in pictures.HOSTILE} <= set(REJECTIONS)

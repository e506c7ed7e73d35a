"""Albums through the whole bot: however slowly they come, one answer, and none before it is settled."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from context.arrivals import Quiet
from tests.model_server import ModelServer
from tests.until import until
from tests.world import asked, noted, picture, world


async def test_one_answer_covers_an_album_however_slowly_it_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late_s = 4.0  # far above what a loaded machine needs from one photo to the next
    monkeypatch.setattr("context.inbox.Quiet", lambda: Quiet(album_s=0.15, album_late_s=late_s))
    photos = [picture((40 * number, 90, 90)) for number in range(4)]
    async with world(tmp_path, model=ModelServer(answer=noted)) as w:

        async def together(number: int) -> None:
            await w.telegram.customer(number).sends_album(photos, caption=f"c{number}t0")

        async def apart(number: int) -> None:
            await w.telegram.customer(number).sends_album(photos, caption=f"c{number}t0", gap=0.1)

        async def slowly(number: int) -> None:
            """The second when an answer to the first has been written, the others half a second apart."""
            customer, mark = w.telegram.customer(number), f"c{number}t0"
            for place, photo in enumerate(photos):
                last_at = time.monotonic()
                customer.sends_photo(photo, caption="" if place else mark, media_group_id="a")
                await w.telegram.until(lambda: bool(asked(w, mark)))
                await asyncio.sleep(0.5)
            await w.telegram.replies(number)
            assert time.monotonic() - last_at >= late_s

        await asyncio.gather(together(1), apart(2), slowly(3))
        for number in (1, 2):
            await w.telegram.replies(number)

        async def is_at_rest() -> bool:
            return await w.app.stores.inbox.depth() == 0

        await until(is_at_rest)
        for number in (1, 2, 3):
            assert [sent.text for sent in w.telegram.sent_to(number)] == [f"Noted: c{number}t0."]
            assert len(asked(w, f"c{number}t0")[-1].images) == len(photos)


async def test_a_photo_that_comes_after_the_answer_is_answered_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("context.inbox.Quiet", lambda: Quiet(album_s=0.15, album_late_s=0.6))
    async with world(tmp_path, model=ModelServer(answer=noted)) as w:
        customer = w.telegram.customer(1)
        customer.sends_photo(picture((9, 9, 9)), caption="c1t0", media_group_id="a")
        await w.telegram.replies(1)
        customer.sends_photo(picture((90, 9, 9)), caption="c1t1", media_group_id="a")
        (reply,) = await w.telegram.replies(1)
        assert reply.text == "Noted: c1t1."


async def test_a_full_album_is_answered_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("context.inbox.Quiet", lambda: Quiet(album_s=3600, album_late_s=3600))
    async with world(tmp_path, model=ModelServer(answer=noted)) as w:
        photos = [picture((20 * number, 9, 9), size=(64, 48)) for number in range(10)]
        await w.telegram.customer(1).sends_album(photos, caption="c1t0")
        await w.telegram.replies(1)
        assert w.model.received == 1

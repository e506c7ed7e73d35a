"""Albums through the whole bot: however slowly they come, one answer, and none before it is settled."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from context.arrivals import Quiet
from tests.model_server import ModelServer
from tests.world import noted, picture, world

QUICK = Quiet(album_s=0.15, album_late_s=0.6, lone_photo_s=0.2)
"""The same rules, five times as fast."""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("context.inbox.Quiet", lambda: QUICK)


@pytest.mark.parametrize("gap_s", [0.0, 0.1, 0.5], ids=["together", "apart", "slowly"])
async def test_one_answer_covers_an_album_however_slowly_it_comes(tmp_path: Path, gap_s: float) -> None:
    photos = [picture((40 * number, 90, 90)) for number in range(4)]
    async with world(tmp_path, model=ModelServer(answer=noted)) as w:
        await w.telegram.customer(1).sends_album(photos, caption="c1t0", gap=gap_s)
        (reply,) = await w.telegram.replies(1)
        assert reply.text == "Noted: c1t0."
        assert len(w.model.requests[-1].images) == 4
        await asyncio.sleep(QUICK.album_late_s)
        assert len(w.telegram.sent_to(1)) == 1


async def test_the_answer_to_an_album_is_written_early_and_said_when_it_is_settled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late_s = 2.0  # far above what a loaded machine needs to begin
    monkeypatch.setattr("context.inbox.Quiet", lambda: Quiet(album_s=0.15, album_late_s=late_s))
    async with world(tmp_path, model=ModelServer(answer=noted)) as w:
        began = time.monotonic()
        await w.telegram.customer(1).sends_album([picture((9, 9, 9)), picture((90, 9, 9))], caption="c1t0")
        await w.telegram.until(lambda: w.model.received == 1)
        assert time.monotonic() - began < late_s
        await w.telegram.replies(1)
        assert time.monotonic() - began >= late_s


async def test_a_photo_that_comes_after_the_answer_is_answered_by_itself(tmp_path: Path) -> None:
    async with world(tmp_path, model=ModelServer(answer=noted)) as w:
        customer = w.telegram.customer(1)
        customer.sends_photo(picture((9, 9, 9)), caption="c1t0", media_group_id="a")
        await w.telegram.replies(1)
        customer.sends_photo(picture((90, 9, 9)), caption="c1t1", media_group_id="a")
        (reply,) = await w.telegram.replies(1)
        assert reply.text == "Noted: c1t1."


async def test_a_full_album_is_answered_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("context.inbox.Quiet", lambda: Quiet(album_s=60, album_late_s=60))
    async with world(tmp_path, model=ModelServer(answer=noted)) as w:
        photos = [picture((20 * number, 9, 9), size=(64, 48)) for number in range(10)]
        await w.telegram.customer(1).sends_album(photos, caption="c1t0")
        await w.telegram.replies(1)
        assert w.model.received == 1

"""Collecting: the pictures of many customers at once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

from bot.collect import PICTURES_AT_ONCE, Collector
from bot.metrics import Metrics
from context.db import Database
from context.turns import Attachment, Chat, Rejection
from tests.ledger import ANNA, BEN, Ledger, says, shows


class Scales:
    """A channel and a photo store that count the pictures between the two."""

    def __init__(self) -> None:
        self.held = 0
        self.most = 0

    async def fetch(self, _attachment: Attachment) -> bytes:
        self.held += 1
        self.most = max(self.most, self.held)
        await asyncio.sleep(0)
        return b"no picture"

    async def take_in(self, _data: bytes) -> Rejection:
        await asyncio.sleep(0)
        self.held -= 1
        return Rejection("not_a_picture", "")


async def test_words_that_nobody_can_see_are_no_words(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/bot.db")
    ledger, unused = Ledger(db), cast("Any", None)
    collector = Collector(channels={}, inbox=ledger.inbox, photos=unused, metrics=Metrics())
    await ledger.inbox.put([says(ANNA, "\u200b\ufeff\u3164\u2800 \u00ad")])
    await ledger.inbox.put([says(BEN, "\u200b❤️")])
    messages = [await collector.collect(batch) for batch in await ledger.claim()]
    assert [message.text for message in messages] == ["", "\u200b❤️"]
    await db.close()


async def test_few_pictures_are_held_at_a_time_however_many_came(tmp_path: Path) -> None:
    """Of 20 albums with 5 MB a picture, all were in memory at once: 740 MB."""
    db, scales = Database(f"sqlite:///{tmp_path}/bot.db"), Scales()
    ledger, both = Ledger(db), cast("Any", scales)
    collector = Collector(channels={"telegram": both}, inbox=ledger.inbox, photos=both, metrics=Metrics())
    await ledger.inbox.put(
        [shows(Chat("telegram", str(n)), album=f"a{n}") for n in range(3) for _ in range(10)]
    )
    messages = await asyncio.gather(*map(collector.collect, await ledger.claim()))
    assert [len(message.rejections) for message in messages] == [10, 10, 10]
    assert scales.most == PICTURES_AT_ONCE
    await db.close()

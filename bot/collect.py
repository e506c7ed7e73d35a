"""Collecting: a batch of messages becomes one question with its photos, checked and numbered."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from bot.channel import Channel
from bot.errors import Again, FileUnavailable
from bot.language import language_of
from bot.mentions import MOST, photos_mentioned
from bot.metrics import Metrics
from context.inbox import ChatErased, Inbox
from context.photos import Photos
from context.turns import Arrival, Batch, Kind, Language, Message, Photo, Rejection

DOWNLOAD_ATTEMPTS = 3
"""Claims of a batch after which a picture that cannot be downloaded is refused instead of waited for."""

TAKE_IN_AGAIN_S = 2.0

UNOPENED = frozenset({Kind.VOICE, Kind.DOCUMENT})
"""Kinds that may hold what the question is about, and that we cannot open."""


class Collector:
    """Turns batches into messages.  What one claim has downloaded and checked, the next one finds."""

    def __init__(
        self, *, channels: Mapping[str, Channel], inbox: Inbox, photos: Photos, metrics: Metrics
    ) -> None:
        self._channels = channels
        self._inbox = inbox
        self._photos = photos
        self._metrics = metrics

    async def collect(self, batch: Batch) -> Message:
        """Put the words together and take the pictures in.

        A picture that cannot be used becomes a `Rejection`, numbered within the message; the rest goes
        on.  Raises `Again` while a download may still work.
        """
        pictures = [arrival for arrival in batch.arrivals if arrival.attachment is not None]
        taken = await asyncio.gather(*(self._take_in(batch, arrival) for arrival in pictures))
        results = await self._record(list(zip(pictures, taken, strict=True)))
        text = "\n".join(arrival.text for arrival in batch.arrivals if arrival.text.strip())
        photos = tuple(dict.fromkeys(result for result in results if isinstance(result, Photo)))
        return Message(
            chat=batch.chat,
            text=text,
            language=_language(batch, text),
            photos=photos,
            recalled=await self._recall(batch, text, photos),
            rejections=tuple(
                replace(result, number=number)
                for number, result in enumerate(results, start=1)
                if isinstance(result, Rejection)
            ),
            kind=_kind(batch, text),
            command=batch.arrivals[0].command,
            sent_at=min(arrival.sent_at for arrival in batch.arrivals),
        )

    async def _recall(self, batch: Batch, text: str, own: Sequence[Photo]) -> tuple[Photo, ...]:
        """Photos that the customer replies to or names, but for those that came with this very message."""
        quoted = [arrival.reply_to for arrival in batch.arrivals if arrival.reply_to][:MOST]
        numbers = photos_mentioned(text, has_own=bool(own))
        shown = {photo.number for photo in own}
        recalled = await self._inbox.recall(batch.chat, numbers=numbers, message_ids=quoted)
        return tuple(photo for photo in recalled if photo.number not in shown)[:MOST]

    async def _take_in(self, batch: Batch, arrival: Arrival) -> Photo | Rejection:
        if arrival.taken is not None:
            return arrival.taken
        assert arrival.attachment is not None
        may_wait = batch.attempts + 1 < DOWNLOAD_ATTEMPTS
        try:
            data = await self._channels[batch.chat.channel].fetch(arrival.attachment)
            taken = await self._photos.take_in(data)
        except FileUnavailable as error:
            taken = Rejection(error.code, str(error))
        except Again as error:
            if may_wait:
                raise
            taken = Rejection("download_failed", str(error))
        if isinstance(taken, Rejection) and taken.code == "try_again" and may_wait:
            raise Again(f"a picture could not be taken in: {taken.detail}", after_s=TAKE_IN_AGAIN_S)
        self._metrics.photo(taken.code if isinstance(taken, Rejection) else "ok")
        return taken

    async def _record(self, pictures: list[tuple[Arrival, Photo | Rejection]]) -> list[Photo | Rejection]:
        """Write down what is new; photos come back numbered."""
        fresh = [(arrival, taken) for arrival, taken in pictures if arrival.taken is None]
        try:
            numbered = iter(await self._inbox.attach(fresh))
        except ChatErased as error:  # meanwhile: what was just stored goes with the rest
            for sha256 in error.photos:
                await self._photos.forget(sha256)
            raise
        return [taken if arrival.taken is not None else next(numbered) for arrival, taken in pictures]


def _kind(batch: Batch, text: str) -> Kind:
    """What the message as a whole is: words and pictures win over a sticker that came along.

    They do not win over a file that we cannot open: whoever adds a recording to the words should be told.
    """
    first, last = batch.arrivals[0], batch.arrivals[-1]
    if first.kind is Kind.COMMAND:
        return Kind.COMMAND
    for arrival in batch.arrivals:
        if arrival.kind in UNOPENED:
            return arrival.kind
    if text.strip() or any(arrival.attachment for arrival in batch.arrivals):
        return Kind.TEXT
    return last.kind


def _language(batch: Batch, text: str) -> Language:
    if batch.language is not None and batch.language_chosen:
        return batch.language
    if batch.arrivals[0].kind is Kind.COMMAND:  # "/language en" is not English
        text = ""
    return language_of(text, known=batch.language, hint=batch.arrivals[-1].hint)

"""Turn a batch of messages into one question, with its photos checked and numbered."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from bot.channel import Channel
from bot.errors import Again, FileUnavailable
from bot.language import language_of
from bot.metrics import Metrics
from bot.photos.mentions import MOST, photos_mentioned
from context.inbox import ChatErased, Inbox
from context.photos import Photos
from context.turns import Arrival, Batch, Kind, Language, Message, Photo, Rejection
from prompts.neutral import is_blank

DOWNLOAD_ATTEMPTS = 3
"""How often a batch is claimed before a picture that cannot be downloaded is refused instead of waited
for."""

TAKE_IN_AGAIN_S = 2.0
PICTURES_AT_ONCE = 8
"""Downloads and checks at a time, over all chats: each may hold 20 MB, and only a few are checked at once."""

UNOPENED = frozenset({Kind.VOICE, Kind.DOCUMENT})
"""Kinds of message that may contain the question but cannot be opened by the bot."""


class Collector:
    """Turns batches into messages.  Downloads and checks of one claim are reused by the next."""

    def __init__(
        self, *, channels: Mapping[str, Channel], inbox: Inbox, photos: Photos, metrics: Metrics
    ) -> None:
        self._channels = channels
        self._inbox = inbox
        self._photos = photos
        self._metrics = metrics
        self._hands = asyncio.Semaphore(PICTURES_AT_ONCE)

    async def collect(self, batch: Batch) -> Message:
        """Join the texts and process the pictures.

        A picture that cannot be used becomes a `Rejection`, numbered by its place in the message; the others
        are kept.  Raises `Again` while a download may still succeed.
        """
        pictures = [arrival for arrival in batch.arrivals if arrival.attachment is not None]
        taken = await asyncio.gather(*(self._take_in(batch, arrival) for arrival in pictures))
        results = await self._record(list(zip(pictures, taken, strict=True)))
        text = "\n".join(arrival.text for arrival in batch.arrivals if not is_blank(arrival.text))
        photos = tuple(dict.fromkeys(result for result in results if isinstance(result, Photo)))
        return Message(
            chat=batch.chat,
            text=text,
            language=_language(batch, text),
            photos=photos,
            recalled=await self._recall(batch, text, photos),
            rejections=tuple(
                replace(result, number=number, of=len(results))
                for number, result in enumerate(results, start=1)
                if isinstance(result, Rejection)
            ),
            kind=_kind(batch, text),
            command=batch.arrivals[0].command,
            sent_at=min(arrival.sent_at for arrival in batch.arrivals),
        )

    async def _recall(self, batch: Batch, text: str, own: Sequence[Photo]) -> tuple[Photo, ...]:
        """Earlier photos that the customer replies to or names, except those that came with this message."""
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
            async with self._hands:
                taken = await self._photos.take_in(
                    await self._channels[batch.chat.channel].fetch(arrival.attachment)
                )
        except FileUnavailable as error:
            taken = Rejection(error.code, str(error))
        except Again as error:
            if may_wait:
                raise
            taken = Rejection("download_failed", str(error))
        if isinstance(taken, Rejection) and arrival.kind is Kind.VIDEO:
            taken = replace(taken, is_clip=True)
        if isinstance(taken, Rejection) and taken.code == "try_again" and may_wait:
            raise Again(f"a picture could not be taken in: {taken.detail}", after_s=TAKE_IN_AGAIN_S)
        self._metrics.photo(taken.code if isinstance(taken, Rejection) else "ok")
        return taken

    async def _record(self, pictures: list[tuple[Arrival, Photo | Rejection]]) -> list[Photo | Rejection]:
        """Record what became of new pictures; photos come back with their numbers."""
        fresh = [(arrival, taken) for arrival, taken in pictures if arrival.taken is None]
        try:
            numbered = iter(await self._inbox.attach(fresh))
        except ChatErased as error:  # meanwhile: what was just stored goes with the rest
            for sha256 in error.photos:
                await self._photos.forget(sha256)
            raise
        return [taken if arrival.taken is not None else next(numbered) for arrival, taken in pictures]


def _kind(batch: Batch, text: str) -> Kind:
    """The kind of the whole message: text and pictures win over a sticker that came along.

    They do not win over a file that cannot be opened: a customer who adds a voice message to their text
    should be told that nobody heard it.
    """
    first, last = batch.arrivals[0], batch.arrivals[-1]
    if first.kind is Kind.COMMAND:
        return Kind.COMMAND
    for arrival in batch.arrivals:
        if arrival.kind in UNOPENED:
            return arrival.kind
    if text or any(arrival.attachment for arrival in batch.arrivals):
        return Kind.TEXT
    return last.kind


def _language(batch: Batch, text: str) -> Language:
    if batch.language is not None and batch.language_chosen:
        return batch.language
    if batch.arrivals[0].kind is Kind.COMMAND:  # "/language en" is not English
        text = ""
    return language_of(text, known=batch.language, hint=batch.arrivals[-1].hint)

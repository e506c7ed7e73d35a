"""Deeds: what staff did in a chat, and the words that the customer gets for it.

A deed is an `Arrival` of `Kind.STAFF` whose command names it.  `Desk` puts deeds into the inbox.  Each is a
turn of its own in the chat's lane, so it is said once, and in its place in the conversation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bot.hours import Hours
from bot.markup import parts_of, plain_parts
from context.console.held import HeldReplies
from context.handoffs import Handoffs
from context.transcripts import Transcripts
from context.turns import Arrival, Batch, Chat, Language, Message, Part, Photo, Reply
from prompts.prompts import Prompts

SAY, RELEASE, JOINED, HANDED_BACK, ASKED, FOLLOW_UP = (
    "say",
    "release",
    "joined",
    "handed_back",
    "asked",
    "follow_up",
)
_FOR_NOBODY_ELSE = {HANDED_BACK, ASKED, FOLLOW_UP}
"""Deeds of the bot itself."""


@dataclass(frozen=True, slots=True)
class Said:
    """What the customer is told of a deed."""

    message: Message
    reply: Reply
    parts: Sequence[Part]


class Deeds:
    """Turns deeds into replies.  It sends nothing and decides nothing: that happened before."""

    def __init__(
        self,
        *,
        held: HeldReplies,
        transcripts: Transcripts,
        handoffs: Handoffs,
        prompts: Prompts,
        hours: Hours | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._held = held
        self._transcripts = transcripts
        self._handoffs = handoffs
        self._prompts = prompts
        self._hours = hours or Hours()
        self._clock = clock

    async def said(self, batch: Batch) -> Said | None:
        """What the customer is told of the deed in this batch; None if nothing any more."""
        deed = batch.arrivals[0]
        if deed.command in _FOR_NOBODY_ELSE and batch.holder is not None:  # a person has the chat by now
            return None
        match deed.command:
            case "say":
                return await self._say(batch, deed)
            case "release":
                return await self._release(batch, deed)
            case "joined":
                # Announced in the name of whoever came: a bot says nothing in a chat that a person holds.
                return self._announce(batch, "staff_joined", by=deed.staff)
            case "asked":
                return await self._asked(batch, deed)
            case name:  # handed_back, follow_up
                return self._announce(batch, name, answers=int(deed.reply_to or 0))

    async def when(self, chat: Chat, language: Language) -> str:
        """How long a waiting customer may have to wait, in words; empty if not long."""
        place, opens = await self._handoffs.place(chat), self._hours.opens_at(self._clock())
        if not place and opens is None:
            return ""
        day = opens.strftime("%Y-%m-%d %H:%M") if opens else ""
        weekday = opens.weekday() if opens else 0
        return self._prompts.notice("person_when", language, place=place, opens=day, weekday=weekday)

    async def _say(self, batch: Batch, deed: Arrival) -> Said:
        heard = await self._transcripts.heard(batch.chat)
        language = batch.language or "en"
        message = Message(batch.chat, heard.text, language, photos=heard.photos)
        photo = deed.taken if isinstance(deed.taken, Photo) else None
        reply = Reply(
            deed.text or self._prompts.notice("staff_photo", language),
            language,
            f"staff:{deed.staff}",
            answers=heard.turn_id,
        )
        parts = (Part("", photo=photo),) if photo else plain_parts(deed.text)
        return Said(message, reply, parts)

    async def _release(self, batch: Batch, deed: Arrival) -> Said | None:
        held = await self._held.one(int(deed.reply_to or 0))
        if held is None:  # forgotten meanwhile
            return None
        message = Message(
            batch.chat,
            held.question,
            held.language,
            photos=await self._transcripts.photos_of_turn(held.turn_id),
        )
        record: dict[str, object] = {"released": held.turn_id, "edited": bool(held.words), "why": held.why}
        reply = Reply(deed.text, held.language, f"staff:{deed.staff}", answers=held.turn_id, record=record)
        return Said(message, reply, parts_of(deed.text))

    def _announce(self, batch: Batch, name: str, *, by: str = "", answers: int = 0) -> Said:
        language = batch.language or "en"
        text = self._prompts.notice(name, language)
        origin = f"staff:{by}" if by else f"notice:{name}"
        reply = Reply(text, language, origin, remembered=False, answers=answers)
        return Said(Message(batch.chat, "", language), reply, plain_parts(text))

    async def _asked(self, batch: Batch, deed: Arrival) -> Said:
        language = batch.language or "en"
        texts = [self._prompts.notice("human_asked", language), await self.when(batch.chat, language)]
        text = "\n\n".join(filter(None, texts))
        reply = Reply(text, language, "notice:human_asked", handoff=deed.text or "asked", remembered=False)
        return Said(Message(batch.chat, "", language), reply, plain_parts(text))

"""The desk: everything that staff can do with a chat, from the console or from the staff's group.

Each action is one transaction: it checks who may do it, changes the state, and puts what the customer is told
into the chat's inbox; or it does nothing and raises a typed error that says why.  So if two people act at
once, or somebody clicks twice, only one action succeeds.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bot.guard import Action, Guard
from bot.staff.canned import Canned
from bot.staff.deeds import ASKED, HANDED_BACK, JOINED, RELEASE, SAY
from bot.staff.pack import Packs
from bot.staff.suggest import Suggestions
from context.console.held import Held, HeldReplies, NoSuchReply, releasing
from context.handoffs import Handoffs, NotWaiting, asking, closing, taking
from context.inbox import First, Inbox
from context.photos import Photos
from context.turns import Arrival, Chat, Kind, Language, Photo, Rejection

log = logging.getLogger(__name__)

MAX_WORDS = 8000
"""Longest message of staff in characters: two Telegram messages."""
MAX_PHOTOS = 10


class NothingToSay(Exception):
    """A message that is empty or too large.  `code` says which."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code
        """`empty`, `too_long` or `too_many_photos`."""


@dataclass(frozen=True, slots=True)
class Objection:
    """An objection of the guard's rules to a text of staff.  They see it, but it does not stop them."""

    rule: str
    """`promise.refund`."""
    category: str
    quote: str
    """The words in question; empty if it is about the whole text."""


class Desk:
    """What staff can do.  `who` is always the account that does it.

    Everything that says something raises `NoSuchChat` for a chat that was never there, or was erased.
    """

    def __init__(
        self,
        *,
        inbox: Inbox,
        handoffs: Handoffs,
        held: HeldReplies,
        photos: Photos,
        guard: Guard,
        packs: Packs,
        canned: Canned,
        suggestions: Suggestions,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._inbox = inbox
        self._handoffs = handoffs
        self._photos = photos
        self._guard = guard
        self._clock = clock
        self.held = held
        self.packs = packs
        """Summaries of chats for staff."""
        self.canned = canned
        self.suggestions = suggestions

    async def take(self, chat: Chat, who: str) -> None:
        """Take the chat: the bot becomes silent in it, and the customer is told that somebody is there.

        Repeating it is harmless.  Raises `NotWaiting` (with the holder's name) if somebody else has it.
        """
        await self._put(chat, who, JOINED, first=taking(chat, who))
        self._handoffs.note(chat, held=True)
        log.info("a person took a chat", extra={"chat": chat.key})

    async def hand_back(self, chat: Chat, who: str, *, over: bool = False) -> bool:
        """Hand the chat back to the bot, or end a wait for a person; the customer is told.

        False if the bot had it already.  Raises `NotWaiting` if somebody else has it, unless `over` is set.
        """
        if not await self._put(chat, who, HANDED_BACK, first=closing(chat, who, over=over)):
            return False
        self._handoffs.note(chat, held=False)
        log.info("a chat is the bot's again", extra={"chat": chat.key})
        return True

    async def say(
        self, chat: Chat, who: str, text: str, photos: Sequence[bytes] = (), *, once: str = ""
    ) -> tuple[Rejection, ...]:
        """Write to the customer: text, then pictures.  Whoever writes takes the chat.

        `once` identifies the message (a form's id, an update): sent again with the same name, it is stored
        once.  Returns the pictures that could not be used; the others are sent.  Raises `NothingToSay`, and
        `NotWaiting` if somebody else has the chat.
        """
        text = text.strip()
        if not text and not photos:
            raise NothingToSay("empty")
        if len(text) > MAX_WORDS:
            raise NothingToSay("too_long")
        if len(photos) > MAX_PHOTOS:
            raise NothingToSay("too_many_photos")
        taken = await asyncio.gather(*(self._photos.take_in(data) for data in photos))
        good = [one for one in taken if isinstance(one, Photo)]
        name = once or str(uuid.uuid4())
        arrivals = [self._deed(chat, who, SAY, text=text, name=name)] if text else []
        arrivals += [
            self._deed(chat, who, SAY, photo=photo, name=f"{name}:{number}")
            for number, photo in enumerate(good, start=1)
        ]

        if arrivals:
            await self._inbox.put(arrivals, first=taking(chat, who, is_enough=True))
            self._handoffs.note(chat, held=True)
        return tuple(one for one in taken if isinstance(one, Rejection))

    async def release(self, turn_id: int, who: str, *, words: str | None = None, why: str = "") -> None:
        """Send a held reply after all, as drafted or with `words` instead.

        The guard does not stop it again: a person has read it and is responsible for it.  `objections` shows
        beforehand what the rules think of other words.  Raises `NoSuchReply`, `DecidedAlready`, `MovedOn` or
        `InOtherHands` (all `NotDecided`), and `NothingToSay`.
        """
        held = await self.held.one(turn_id)
        if held is None:
            raise NoSuchReply(f"no reply is held under {turn_id}")
        text = (held.draft if words is None else words).strip()
        if not text:
            raise NothingToSay("empty")
        if len(text) > MAX_WORDS:
            raise NothingToSay("too_long")
        is_edited = text != held.draft.strip()
        deed = self._deed(held.chat, who, RELEASE, text=text, name=f"release:{turn_id}", about=turn_id)
        decide = releasing(turn_id, who, why=why, words=text if is_edited else None)
        await self._inbox.put([deed], first=decide)
        log.info("a held reply was released", extra={"chat": held.chat.key, "turn": turn_id})

    async def refuse(self, turn_id: int, who: str, *, why: str = "") -> Held:
        """Decide never to send a held reply; the customer keeps waiting for a person.

        Raises `NoSuchReply` or `DecidedAlready`.
        """
        return await self.held.refuse(turn_id, who, why)

    async def ask(self, chat: Chat, reason: str) -> None:
        """Request a person for another reason than a message, and tell the customer.

        Repeating it is harmless.
        """
        await self._put(chat, "", ASKED, text=reason, first=asking(chat, reason))

    def objections(self, words: str, *, asked: str, language: Language) -> tuple[Objection, ...]:
        """Objections of the guard's rules to a text that staff want to send.  They do not stop it."""
        verdict = self._guard.review(words, asked=asked, language=language)
        return tuple(
            Objection(one.rule, one.category, verdict.checked[slice(*one.span)] if one.span else "")
            for one in verdict.reasons
            if one.source == "reply" and one.action is not Action.ALLOW
        )

    async def _put(
        self,
        chat: Chat,
        who: str,
        deed: str,
        *,
        text: str = "",
        first: First | None = None,
    ) -> int:
        return await self._inbox.put(
            [self._deed(chat, who, deed, text=text, name=str(uuid.uuid4()))], first=first
        )

    def _deed(
        self,
        chat: Chat,
        who: str,
        deed: str,
        *,
        name: str,
        text: str = "",
        about: int = 0,
        photo: Photo | None = None,
    ) -> Arrival:
        return Arrival(
            chat,
            f"staff:{name}",
            f"staff:{name}",
            Kind.STAFF,
            text=text,
            command=deed,
            reply_to=str(about) if about else "",
            sent_at=self._clock(),
            staff=who,
            taken=photo,
        )


__all__ = ["Desk", "NotWaiting", "NothingToSay", "Objection"]

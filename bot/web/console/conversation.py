"""The conversation pane: what was said and by whom, what was not sent, and who has the chat."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import asdict

from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from bot.photos.second_look import SecondLook
from bot.staff.pack import Pack, Packs
from bot.web.console.door import Door, Visit
from bot.web.console.list_pane import chat_of
from bot.web.console.pages import NO_STORE, Pages, page
from bot.web.console.thread import items_of, origin_of, with_photos
from bot.web.console.words import N_, translator
from bot.web.refused import Refused
from context.console.accounts import Staff
from context.console.conversations import Conversation, Conversations
from context.console.held import HeldReplies
from context.console.listing import Listing
from context.console.reviews import Reason, Reviews
from context.feedback import Feedback, Feedbacks
from context.handoffs import Handoffs
from context.photos import Photos
from context.transcripts import Transcripts
from context.turns import Chat, FactKind, Language

STATE_WORDS = {
    "waiting": N_("not answered yet"),
    "dead": N_("given up"),
    "ignored": N_("edit that changed nothing"),
    "pending": N_("waits to be sent"),
    "sending": N_("being sent"),
    "sent": N_("delivered"),
    "ambiguous": N_("perhaps delivered"),
}
FLAW_WORDS = {"dark": N_("too dark"), "blurred": N_("blurred"), "small": N_("too small")}
FACT_WORDS: dict[FactKind, str] = {
    "code": N_("code"),
    "brand": N_("brand"),
    "model": N_("model number"),
    "serial": N_("serial number"),
}
"""Kinds of facts that are read on a photo."""
MOVED_WORDS = {
    "answered": N_("The customer was told something else since."),
    "reset": N_("The customer has begun a new case."),
    "withdrawn": N_("The customer wrote more before it was decided."),
    "closed": N_("The customer has blocked the bot."),
}
"""Why a held reply can no longer be released."""
CUSTOMER_WORDS = {
    "helpful": {"up": N_("the customer found it helpful"), "down": N_("the customer found it no help")},
    "fixed": {
        "up": N_("the customer says that it is fixed"),
        "down": N_("the customer says that it is not fixed"),
    },
    "words": {
        "up": N_("the customer wrote that it helped"),
        "down": N_("the customer wrote that it did not help"),
    },
}
"""What customers say of an answer: by its buttons, the next day, in words."""
CUSTOMER_WHY_WORDS = {
    "wrong": N_("it is wrong"),
    "unclear": N_("it is not clear"),
    "unsafe": N_("it is dangerous"),
    "off_topic": N_("it is about something else"),
    "did_not_help": N_("it did not help"),
}
"""Why customers call an answer bad, as their buttons have it."""
WHY_WORDS: dict[Reason, str] = {
    "wrong_code": N_("wrong code"),
    "wrong": N_("wrong"),
    "unsafe": N_("unsafe"),
    "missed_photo": N_("missed something on a photo"),
    "tone": N_("tone"),
    "off_topic": N_("off topic"),
    "language": N_("wrong language"),
    "too_long": N_("too long"),
}
"""Why staff call an answer bad."""

AT_ONCE, MOST_OPEN, CONTEXT = 80, 1000, 20
"""Messages that are read at once; that are read again on a page that stays open; before a turn looked for."""
SMALLEST_SIDE = 64
"""Pixels, of a photo that is asked for smaller than it is stored."""


class ConversationPane:
    """`/staff/c/...`: the pane, its thread alone, and photos."""

    def __init__(
        self,
        *,
        door: Door,
        pages: Pages,
        conversations: Conversations,
        listing: Listing,
        transcripts: Transcripts,
        photos: Photos,
        staff: Staff,
        handoffs: Handoffs,
        reviews: Reviews,
        held: HeldReplies,
        feedbacks: Feedbacks,
        packs: Packs,
        canned: Sequence[str],
        second_look: SecondLook,
    ) -> None:
        self._door = door
        self._pages = pages
        self._conversations = conversations
        self._listing = listing
        self._transcripts = transcripts
        self._photos = photos
        self._staff = staff
        self._handoffs = handoffs
        self._reviews = reviews
        self._held = held
        self._feedbacks = feedbacks
        self._packs = packs
        self._canned = canned
        self._second_look = second_look

    def routes(self) -> list[BaseRoute]:
        """Everything below one conversation's address."""
        return [
            self._door.get("/staff/c/{chat}/pane", self.pane),
            self._door.get("/staff/c/{chat}/thread", self.thread),
            self._door.get("/staff/c/{chat}/head", self.show_head),
            self._door.get("/staff/c/{chat}/photos/{sha256}.jpg", self.photo),
            self._door.get("/staff/c/{chat}/photos/{sha256}/text", self.text_on_photo),
        ]

    async def pane(self, visit: Visit) -> Response:
        """The pane, for a page that is open; with `?turn=` it begins shortly before that turn."""
        return page(await self.render(visit, chat_of(visit)))

    async def thread(self, visit: Visit) -> Response:
        """The messages alone: those `before` one, or `since` one; `live` renews the end of an open page."""
        chat, asked = chat_of(visit), visit.request.query_params
        before, since = _number(asked.get("before", "")), _number(asked.get("since", ""))
        limit = MOST_OPEN if asked.get("live") else AT_ONCE
        conversation = await self._read(chat, before=before, since=since, limit=limit)
        shown = await self._shown(conversation)
        return page(
            self._pages.render("thread.html", visit.language, visit=visit, is_older=before > 0, **shown)
        )

    async def photo(self, visit: Visit) -> Response:
        """A photo of this chat, with `?longest=` as small as a prompt had it; who opened it is on record."""
        longest = _number(visit.request.query_params.get("longest", ""))
        jpeg = await self._jpeg(visit, longest=longest if longest >= SMALLEST_SIDE else 0)
        sha256 = visit.request.path_params["sha256"]
        await self._staff.note(visit.name, "photo", chat_of(visit).key, sha256)
        # Named by its content, it never changes; kept by this browser, it is on record once.
        return Response(
            jpeg, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600, immutable"}
        )

    async def text_on_photo(self, visit: Visit) -> Response:
        """What can be read on a photo, what of it means something, and where: corners in its pixels."""
        reading = await self._second_look.of(visit.request.path_params["sha256"], await self._jpeg(visit))
        if reading.lines is None:
            raise Refused(503, "not_read")
        name = translator(visit.language)
        facts = [asdict(fact) | {"name": name(FACT_WORDS[fact.kind])} for fact in reading.facts]
        return JSONResponse(
            {"lines": [asdict(line) for line in reading.lines], "facts": facts}, headers=NO_STORE
        )

    async def _jpeg(self, visit: Visit, *, longest: int = 0) -> bytes:
        chat, sha256 = chat_of(visit), visit.request.path_params["sha256"]
        is_theirs = await self._transcripts.has_photo(chat, sha256)
        jpeg = await self._photos.read(sha256, longest=longest) if is_theirs else None
        if jpeg is None:
            raise Refused(404, "not_here")
        return jpeg

    async def show_head(self, visit: Visit) -> Response:
        """The pane's head alone, as it now is."""
        return page(await self.head(visit, chat_of(visit)))

    async def head(self, visit: Visit, chat: Chat) -> str:
        """Whose conversation it is, who has it, and what can be done with it; as HTML."""
        conversation = await self._read(chat, limit=1)
        return self._pages.render(
            "head.html",
            visit.language,
            visit=visit,
            conversation=conversation,
            chat=chat,
            **await self._standing(chat),
        )

    async def _pack(self, visit: Visit, chat: Chat) -> Pack | None:
        """What somebody who takes the chat should know; None where nobody is wanted."""
        if await self._handoffs.current(chat) is None:
            return None
        return await self._packs.pack(chat, language=visit.language)

    async def language(self, chat: Chat) -> Language:
        """What the customer is answered in.  Raises `Refused` for a chat that is not there."""
        return (await self._read(chat, limit=1)).language or "en"

    async def check(self, chat: Chat) -> None:
        """Raises `Refused` for a chat that is not there."""
        await self._read(chat, limit=1)

    async def _standing(self, chat: Chat) -> dict[str, object]:
        return {
            "handoff": await self._handoffs.current(chat),
            "flagged_by": await self._listing.flagged_by(chat),
        }

    async def render(self, visit: Visit, chat: Chat) -> str:
        """The pane as HTML; opening it is on record.  Raises `Refused` for a chat that is not there."""
        turn = _number(visit.request.query_params.get("turn", ""))
        since = await self._conversations.shortly_before(chat, turn, CONTEXT) if turn else 0
        conversation = await self._read(chat, since=since)
        await self._staff.note(visit.name, "opened", chat.key)
        return self._pages.render(
            "conversation.html",
            visit.language,
            visit=visit,
            pack=await self._pack(visit, chat),
            canned=self._canned,
            text="",
            once=uuid.uuid4().hex,
            objections=(),
            trouble="",
            is_older=False,
            sent=False,
            **await self._standing(chat),
            **await self._shown(conversation),
        )

    async def _shown(self, conversation: Conversation) -> dict[str, object]:
        return {
            "conversation": conversation,
            "chat": conversation.chat,
            "items": list(items_of(conversation)),
            "state_words": STATE_WORDS,
            "flaw_words": FLAW_WORDS,
            "origin_of": origin_of,
            "with_photos": with_photos,
            "reviews": await self._reviews.of(list(conversation.exchanges)),
            "why_words": WHY_WORDS,
            "feedback": _by_turn(await self._feedbacks.of_chat(conversation.chat)),
            "customer_words": CUSTOMER_WORDS,
            "customer_why_words": CUSTOMER_WHY_WORDS,
            "held": {held.turn_id: held for held in await self._held.of_chat(conversation.chat)},
            "moved_words": MOVED_WORDS,
        }

    async def _read(
        self, chat: Chat, *, before: int = 0, since: int = 0, limit: int = AT_ONCE
    ) -> Conversation:
        conversation = await self._conversations.read(chat, before=before, since=since, limit=limit)
        if conversation is None:
            raise Refused(404, "not_here")
        return conversation


def _by_turn(feedback: Sequence[Feedback]) -> dict[int, list[Feedback]]:
    found: dict[int, list[Feedback]] = {}
    for one in feedback:
        found.setdefault(one.turn_id, []).append(one)
    return found


def _number(text: str) -> int:
    """The number of a message or a turn from an address; 0 if it is not a number."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 18 else 0  # noqa: PLR2004 - 64 bits

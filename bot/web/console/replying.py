"""Writing to customers, and deciding about replies that the guard holds.

Words that the guard's rules would stop are shown to whoever writes them, and go out when they say so:
a person answers for them.  A form that comes twice is one message.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from starlette.responses import Response
from starlette.routing import BaseRoute

from bot.errors import FileUnavailable
from bot.staff import Desk
from bot.staff.desk import NothingToSay, Objection
from bot.staff.pack import Packs
from bot.web.console.conversation import MOVED_WORDS, ConversationPane
from bot.web.console.door import Door, Visit
from bot.web.console.list_pane import chat_of
from bot.web.console.pages import Pages, page
from bot.web.console.words import N_, translator
from bot.web.refused import Refused
from bot.web.uploads import MAX_FORM_BYTES, Spool
from context.console.accounts import Staff
from context.console.held import DecidedAlready, InOtherHands, MovedOn, NoSuchReply
from context.handoffs import NotWaiting
from context.turns import Chat

TROUBLE_WORDS = {
    "empty": N_("There was nothing in it."),
    "too_long": N_("That is too long."),
    "too_many_photos": N_("At most ten photos in one message."),
}


class Replying:
    """`say`, `release`, `refuse`."""

    def __init__(
        self,
        *,
        door: Door,
        pages: Pages,
        pane: ConversationPane,
        desk: Desk,
        packs: Packs,
        spool: Spool,
        staff: Staff,
    ) -> None:
        self._door = door
        self._pages = pages
        self._pane = pane
        self._desk = desk
        self._packs = packs
        self._spool = spool
        self._staff = staff

    def routes(self) -> list[BaseRoute]:
        """What is written to a customer."""
        return [
            self._door.post("/staff/c/{chat}/say", self.say, role="agent", most_bytes=MAX_FORM_BYTES),
            self._door.post("/staff/c/{chat}/canned", self.fill_in, role="agent"),
            self._door.post("/staff/c/{chat}/suggest", self.suggest, role="agent"),
            self._door.post("/staff/turn/{turn:int}/release", self.release, role="agent"),
            self._door.post("/staff/turn/{turn:int}/refuse", self.refuse, role="agent"),
        ]

    async def say(self, visit: Visit) -> Response:
        """Write to the customer: words, pictures or both.  Whoever writes takes the chat."""
        chat = chat_of(visit)
        language = await self._pane.language(chat)
        form = await self._spool.receive(
            visit.request.headers.get("content-type", ""), visit.request.stream()
        )
        try:
            photos = [await self._spool.read(photo.file_id) for photo in form.photos if photo.size]
        except FileUnavailable:
            raise Refused(503, "bad_form") from None
        finally:
            await self._spool.discard(form)
        text, once = form.fields.get("text", ""), form.fields.get("once", "")[:64]
        objections = self._desk.objections(text, asked="", language=language) if text.strip() else ()
        if objections and not form.fields.get("anyway"):
            return self._composer(visit, chat, text=text, once=once, objections=objections)
        try:
            rejected = await self._desk.say(chat, visit.name, text, photos, once=f"{visit.name}:{once}")
        except NothingToSay as error:
            words = TROUBLE_WORDS.get(error.code, error.code)
            return self._composer(visit, chat, text=text, once=once, trouble=words)
        except NotWaiting:
            words = N_("Somebody else has this conversation. Your words are still here.")
            return self._composer(visit, chat, text=text, once=once, trouble=words, status=409)
        await self._staff.note(visit.name, "wrote", chat.key)
        trouble = N_("A picture could not be used; the rest is on its way.") if rejected else ""
        head = await self._pane.head(visit, chat)
        return self._composer(visit, chat, trouble=trouble, head=head, is_sent=True)

    async def fill_in(self, visit: Visit) -> Response:
        """A canned reply, filled from the case, below what is written already."""
        chat = chat_of(visit)
        pack = await self._packs.pack(chat)
        words = self._desk.canned.filled(visit.said("canned"), pack, staff=visit.name)
        return self._composer(
            visit, chat, text=_below(visit.said("text"), words or ""), once=visit.said("once")[:64]
        )

    async def suggest(self, visit: Visit) -> Response:
        """What the assistant would answer, to be read and changed; nothing is sent."""
        chat = chat_of(visit)
        await self._pane.check(chat)
        suggestion = await self._desk.suggestions.suggest(chat)
        trouble = ""
        if suggestion is None:
            trouble = N_("There is nothing to suggest.")
        elif suggestion.stopped:
            trouble = N_("The guard would not have let this out: read it with care.")
        text = _below(visit.said("text"), suggestion.text if suggestion else "")
        return self._composer(visit, chat, text=text, once=visit.said("once")[:64], trouble=trouble)

    async def release(self, visit: Visit) -> Response:
        """Say a held reply after all, as it is or with other words."""
        turn: int = visit.request.path_params["turn"]
        held = await self._desk.held.one(turn) if turn < 2**63 else None
        if held is None:
            raise Refused(404, "not_here")
        words = visit.form.get("words", held.draft).replace("\r\n", "\n")
        is_edited = words.strip() != held.draft.strip()
        if is_edited and not visit.said("anyway"):
            objections = self._desk.objections(words, asked=held.question, language=held.language)
            if objections:
                return page(
                    self._pages.render(
                        "held.html",
                        visit.language,
                        visit=visit,
                        held=held,
                        words=words,
                        objections=objections,
                        moved_words=MOVED_WORDS,
                    )
                )
        try:
            await self._desk.release(
                turn, visit.name, words=words if is_edited else None, why=visit.said("why")[:500]
            )
        except NoSuchReply:
            raise Refused(404, "not_here") from None
        except (DecidedAlready, MovedOn, InOtherHands) as error:
            return await self._decided(visit, turn, _problem(error))
        except NothingToSay as error:
            return await self._decided(visit, turn, TROUBLE_WORDS.get(error.code, error.code))
        await self._staff.note(visit.name, "released", held.chat.key, str(turn))
        return await self._decided(visit, turn)

    async def refuse(self, visit: Visit) -> Response:
        """Decide that a held reply is never said."""
        turn: int = visit.request.path_params["turn"]
        try:
            held = await self._desk.refuse(turn, visit.name, why=visit.said("why")[:500])
        except NoSuchReply:
            raise Refused(404, "not_here") from None
        except DecidedAlready as error:
            return await self._decided(visit, turn, _problem(error))
        await self._staff.note(visit.name, "refused", held.chat.key, str(turn))
        return await self._decided(visit, turn)

    async def _decided(self, visit: Visit, turn: int, problem: str = "") -> Response:
        """The card as it now is, with a notice where it went otherwise than asked."""
        held = await self._desk.held.one(turn)
        if held is None:
            raise Refused(404, "not_here")
        html = self._pages.render(
            "held.html",
            visit.language,
            visit=visit,
            held=held,
            words=held.draft,
            objections=(),
            moved_words=MOVED_WORDS,
        )
        if not problem:
            return page(html)
        notice = self._pages.render(
            "notice.html", visit.language, kind="bad", text=translator(visit.language)(problem)
        )
        return page(
            f'{html}<hx-partial hx-target="#notices" hx-swap="beforeend">{notice}</hx-partial>', status=409
        )

    def _composer(
        self,
        visit: Visit,
        chat: Chat,
        *,
        text: str = "",
        once: str = "",
        objections: Sequence[Objection] = (),
        trouble: str = "",
        head: str = "",
        is_sent: bool = False,
        status: int = 200,
    ) -> Response:
        html = self._pages.render(
            "composer.html",
            visit.language,
            visit=visit,
            chat=chat,
            text=text,
            once=once or uuid.uuid4().hex,
            sent=is_sent,
            canned=list(self._desk.canned.replies),
            objections=objections,
            trouble=translator(visit.language)(trouble) if trouble else "",
        )
        if head:
            html += f'<hx-partial hx-target="#head" hx-swap="outerMorph">{head}</hx-partial>'
        return page(html, status=status)


def _below(text: str, more: str) -> str:
    return "\n".join(part for part in (text.replace("\r\n", "\n"), more) if part)


def _problem(error: DecidedAlready | MovedOn | InOtherHands) -> str:
    if isinstance(error, MovedOn):
        return MOVED_WORDS.get(error.why, N_("The conversation has moved on."))
    if isinstance(error, InOtherHands):
        return N_("Somebody else has this conversation.")
    return N_("Somebody was faster: it is decided already.")

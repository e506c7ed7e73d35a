"""Erasing a customer, by admins: found by number or name, shown what goes, confirmed by typing the number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from starlette.responses import Response
from starlette.routing import BaseRoute

from bot.web.console.door import Door, Visit, theme_of
from bot.web.console.pages import Pages, cleared
from bot.web.console.words import N_, translator
from context.console.accounts import Staff
from context.console.listing import Line, Listing
from context.handoffs import Handoffs
from context.turns import Chat
from context.upkeep.erasure import Erasure, Receipt

MOST_FOUND = 20
KIND_WORDS = {
    "messages": N_("Messages, either way"),
    "photos": N_("Photos that no other customer sent"),
    "turns": N_("Answers and drafts, with what is known of them"),
    "verdicts": N_("Verdicts of the guard; the proof that none was changed stays whole"),
    "reviews": N_("Reviews and notes of colleagues"),
    "feedback": N_("Thumbs and words on our answers"),
    "handoffs": N_("Handoffs to a person"),
    "staff_access": N_("Lines of the access log: that somebody looked stays, at whom does not"),
}
"""What is counted, by the name that a receipt gives it."""
OTHER = N_("Other records")
LEFT_WORDS = {
    "context": N_("the last turns in Redis"),
    "drafts": N_("kept drafts in Redis"),
    "photos": N_("photo files"),
    "uploads": N_("uploads of the chat page"),
}
"""Where copies may be out of reach."""


class ForgetPage:
    """`/staff/forget`."""

    def __init__(
        self,
        *,
        door: Door,
        pages: Pages,
        erasure: Erasure,
        handoffs: Handoffs,
        listing: Listing,
        staff: Staff,
    ) -> None:
        self._door = door
        self._pages = pages
        self._erasure = erasure
        self._handoffs = handoffs
        self._listing = listing
        self._staff = staff

    def routes(self) -> list[BaseRoute]:
        """The page, and the form that erases."""
        return [
            self._door.get("/staff/forget", self.show, role="admin"),
            self._door.post("/staff/forget", self.forget, role="admin"),
        ]

    async def show(self, visit: Visit) -> Response:
        """Whom to erase: one conversation with what there is of it, or those of that name."""
        asked = cleared(visit.request.query_params.get("chat", "")).strip()[:200]
        return await self._shown(visit, asked)

    async def forget(self, visit: Visit) -> Response:
        """Erase, if the number was typed, and show the receipt.  Twice is harmless."""
        chat = _chat(visit.said("chat"))
        if chat is None or visit.said("number") not in {chat.key, number_of(chat)}:
            complaint = N_("That is not the number of this conversation. Nothing was erased.")
            return await self._shown(visit, visit.said("chat"), complaint, status=400)
        receipt = await self._erasure.forget(chat, wish="operator")
        self._handoffs.note(chat, held=False)
        await self._staff.note(visit.name, "erased")  # whom is what is to be forgotten
        return self._answer(visit, receipt=receipt)

    async def _shown(self, visit: Visit, asked: str, complaint: str = "", *, status: int = 200) -> Response:
        chat = _chat(asked)
        counts = await self._erasure.look(chat) if chat is not None else {}
        found = [] if counts or not asked else await self._listing.named(asked, MOST_FOUND)
        if chat is not None and counts:
            await self._staff.note(visit.name, "about to erase", chat.key)
        return self._answer(
            visit,
            asked=asked,
            chat=chat if counts else None,
            line=await self._listing.line(chat) if chat is not None and counts else None,
            counts=counts,
            found=found,
            complaint=complaint,
            status=status,
        )

    def _answer(
        self,
        visit: Visit,
        *,
        asked: str = "",
        chat: Chat | None = None,
        line: Line | None = None,
        counts: Mapping[str, int] | None = None,
        found: Iterable[Line] = (),
        receipt: Receipt | None = None,
        complaint: str = "",
        status: int = 200,
    ) -> Response:
        return self._pages.answer(
            "forget.html",
            visit.language,
            status=status,
            visit=visit,
            theme=theme_of(visit.request),
            asked=asked,
            chat=chat,
            number=number_of(chat) if chat else "",
            line=line,
            kinds=_kinds(receipt.counts if receipt else counts or {}),
            found=found,
            receipt=receipt,
            left_words=LEFT_WORDS,
            complaint=translator(visit.language)(complaint) if complaint else "",
        )


def number_of(chat: Chat) -> str:
    """What its channel calls the chat."""
    return chat.key.partition(":")[2]


def _chat(asked: str) -> Chat | None:
    """The chat that is meant by a key (`telegram:42`), or by a number alone; None by anything else."""
    try:
        return Chat.parse(f"telegram:{asked}" if asked.lstrip("-").isdecimal() else asked)
    except ValueError:
        return None


def _kinds(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Words and a number for each kind of record, the small ones together."""
    kinds = [(words, counts[name]) for name, words in KIND_WORDS.items() if counts.get(name)]
    others = sum(count for name, count in counts.items() if name not in KIND_WORDS)
    return [*kinds, (OTHER, others)] if others else kinds

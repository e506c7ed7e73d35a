"""What staff do with a whole conversation: take it over, hand it back, flag it, mark it as done.

Each action tells what became of it: if two colleagues take a chat at once, one has it and the other is told
who that is.
"""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import BaseRoute

from bot.staff import Desk
from bot.web.console.conversation import ConversationPane
from bot.web.console.door import Door, Visit
from bot.web.console.list_pane import chat_of
from bot.web.console.pages import Pages, page
from bot.web.console.words import N_, translator
from context.console.accounts import Staff
from context.console.listing import Listing
from context.handoffs import NotWaiting


class Actions:
    """POSTs below a conversation's address; each answers with its head as it now is, and a notice."""

    def __init__(
        self,
        *,
        door: Door,
        pages: Pages,
        pane: ConversationPane,
        desk: Desk,
        listing: Listing,
        staff: Staff,
    ) -> None:
        self._door = door
        self._pages = pages
        self._pane = pane
        self._desk = desk
        self._listing = listing
        self._staff = staff

    def routes(self) -> list[BaseRoute]:
        """Take over, hand back, flag, done."""
        return [
            self._door.post("/staff/c/{chat}/take", self.take, role="agent"),
            self._door.post("/staff/c/{chat}/back", self.hand_back, role="agent"),
            self._door.post("/staff/c/{chat}/flag", self.flag, role="agent"),
            self._door.post("/staff/c/{chat}/done", self.done, role="agent"),
        ]

    async def take(self, visit: Visit) -> Response:
        """Hold the chat: from here on the assistant says nothing in it."""
        chat = chat_of(visit)
        await self._pane.check(chat)
        try:
            await self._desk.take(chat, visit.name)
        except NotWaiting:
            return await self._told(visit, N_("Somebody else has this conversation."), kind="bad", status=409)
        await self._staff.note(visit.name, "took over", chat.key)
        return await self._told(visit, N_("It is yours. The assistant is silent here."))

    async def hand_back(self, visit: Visit) -> Response:
        """Give the chat back to the assistant."""
        chat = chat_of(visit)
        await self._pane.check(chat)
        try:
            is_ours = await self._desk.hand_back(chat, visit.name, over=visit.account.may("admin"))
        except NotWaiting:
            return await self._told(visit, N_("Somebody else has this conversation."), kind="bad", status=409)
        if not is_ours:
            return await self._told(visit, N_("The assistant has it already."), kind="bad", status=409)
        await self._staff.note(visit.name, "handed back", chat.key)
        return await self._told(visit, N_("The assistant answers again."))

    async def flag(self, visit: Visit) -> Response:
        """Flag the conversation by hand, or take such a flag off."""
        chat = chat_of(visit)
        await self._pane.check(chat)
        flagged_by = await self._listing.flagged_by(chat)
        await self._listing.flag(chat, visit.name, flagged=flagged_by is None)
        return await self._told(visit, N_("The flag is off.") if flagged_by else N_("Flagged."))

    async def done(self, visit: Visit) -> Response:
        """Nothing in it wants attention any more, until something new happens."""
        chat = chat_of(visit)
        await self._pane.check(chat)
        await self._listing.done(chat, visit.name)
        await self._staff.note(visit.name, "done", chat.key)
        return await self._told(visit, N_("Done. It comes back when something new happens."))

    async def _told(self, visit: Visit, words: str, *, kind: str = "", status: int = 200) -> Response:
        notice = self._pages.render(
            "notice.html", visit.language, kind=kind, text=translator(visit.language)(words)
        )
        partial = f'<hx-partial hx-target="#notices" hx-swap="beforeend">{notice}</hx-partial>'
        return page(await self._pane.head(visit, chat_of(visit)) + partial, status=status)

"""The access log: who opened which conversation, photo or turn, and who did what."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import BaseRoute

from bot.web.console.door import Door, Visit, theme_of
from bot.web.console.pages import Pages
from bot.web.console.words import N_
from context.console.accounts import Staff

SHOWN = 300
ACTION_WORDS = {
    "signed in": N_("signed in"),
    "opened": N_("opened the conversation"),
    "photo": N_("opened a photo"),
    "why": N_("looked at why"),
    "took over": N_("took over"),
    "handed back": N_("handed back"),
    "wrote": N_("wrote to the customer"),
    "released": N_("released a held reply"),
    "refused": N_("refused a held reply"),
    "done": N_("done with it"),
    "exported": N_("exported, masked"),
    "exported unmasked": N_("exported, not masked"),
    "about to erase": N_("looked at what erasing would take"),
    "erased": N_("erased a customer"),
}


class AccessPage:
    """`/staff/access`, for admins."""

    def __init__(self, *, door: Door, pages: Pages, staff: Staff) -> None:
        self._door = door
        self._pages = pages
        self._staff = staff

    def routes(self) -> list[BaseRoute]:
        """The page."""
        return [self._door.get("/staff/access", self.show, role="admin")]

    async def show(self, visit: Visit) -> Response:
        """The newest lines, of one chat or of all."""
        chat = visit.request.query_params.get("chat") or None
        return self._pages.answer(
            "access.html",
            visit.language,
            visit=visit,
            theme=theme_of(visit.request),
            chat=chat,
            action_words=ACTION_WORDS,
            accesses=await self._staff.accesses(chat, limit=SHOWN),
        )

"""The list of conversations: filters, search, saved views, and the page around all three panes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.datastructures import QueryParams
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from bot.web.console.door import Door, Visit, theme_of
from bot.web.console.filters import CHIP_WORDS, VERDICT_WORDS, Filter
from bot.web.console.pages import NO_STORE, Pages
from bot.web.refused import Refused
from context.console.accounts import Staff, View
from context.console.listing import Chip, Line, Listing
from context.console.search import Hit, Search, words_of
from context.turns import Chat

PAGE = 25
"""Rows at a time."""
COUNTED: tuple[Chip, ...] = ("waiting", "held", "flagged", "failed", "mine")
"""Chips that say how many there are: what somebody should do something about."""
_PLACE = re.compile(r"(\d{1,12}(?:\.\d{1,9})?) (\S{1,200})")
_MOST_VIEWS = 30

Pane = Callable[[Visit, Chat], Awaitable[str]]
"""The conversation pane of a chat, as HTML.  Raises `Refused` for a chat that is not there."""


@dataclass(frozen=True, slots=True)
class Rows:
    """A page of the list, or of what was found."""

    lines: list[Line]
    hits: list[Hit]
    more: str
    """What the next page is asked for with; empty at the end."""


class ListPane:
    """`/staff` and the pieces of its list."""

    def __init__(
        self, *, door: Door, pages: Pages, listing: Listing, search: Search, staff: Staff, pane: Pane
    ) -> None:
        self._door = door
        self._pages = pages
        self._listing = listing
        self._search = search
        self._staff = staff
        self._pane = pane

    def routes(self) -> list[BaseRoute]:
        """The page with and without a conversation, its rows, saved views."""
        return [
            self._door.get("/staff", self.desk),
            self._door.get("/staff/c/{chat}", self.desk),
            self._door.get("/staff/list", self.rows),
            self._door.post("/staff/views", self.save_view),
            self._door.post("/staff/views/drop", self.drop_view),
        ]

    async def desk(self, visit: Visit) -> Response:
        """The whole page: the list, and a conversation where the address names one."""
        shown = Filter.read(visit.request.query_params)
        chat = chat_of(visit) if "chat" in visit.request.path_params else None
        # Before the rows: what changes in between is told again, and not lost.
        told = f"{await self._listing.revision()}.{await self._listing.erasures()}"
        rows, counts, views = await asyncio.gather(
            self._rows(visit, shown, ""),
            self._listing.counts(visit.name, COUNTED),
            self._staff.views(visit.name),
        )
        return self._pages.answer(
            "desk.html",
            visit.language,
            visit=visit,
            shown=shown,
            rows=rows,
            words=words_of(shown.q),
            counts=counts,
            views=views,
            told=told,
            chat=chat,
            pane=await self._pane(visit, chat) if chat else "",
            chip_words=CHIP_WORDS,
            verdict_words=VERDICT_WORDS,
            theme=theme_of(visit.request),
        )

    async def rows(self, visit: Visit) -> Response:
        """The list alone: for another filter, or the next page of the same."""
        shown = Filter.read(visit.request.query_params)
        after = visit.request.query_params.get("after", "")
        rows = await self._rows(visit, shown, after)
        return self._pages.answer(
            "rows.html", visit.language, visit=visit, shown=shown, rows=rows, words=words_of(shown.q)
        )

    async def _rows(self, visit: Visit, shown: Filter, after: str) -> Rows:
        if shown.is_search:
            before = int(after) if after.isascii() and after.isdecimal() and len(after) < 18 else 0  # noqa: PLR2004 - 64 bits
            hits = await self._search.find(
                shown.query, chips=_columns(shown.chip, visit.name), before=before, limit=PAGE + 1
            )
            return Rows([], hits[:PAGE], str(hits[PAGE - 1].turn_id) if len(hits) > PAGE else "")
        asked = _PLACE.fullmatch(after)
        lines = await self._listing.lines(
            shown.chip,
            name=visit.name,
            before=(float(asked[1]), asked[2]) if asked else None,
            limit=PAGE + 1,
        )
        last = lines[PAGE - 1] if len(lines) > PAGE else None
        place = (last.waiting_since if shown.chip == "waiting" else last.at) if last else None
        return Rows(lines[:PAGE], [], f"{place!r} {last.chat.key}" if last else "")

    async def save_view(self, visit: Visit) -> Response:
        """Keep the present filter under a name."""
        title = visit.said("title")[:60]
        if not title:
            raise Refused(400, "empty")
        shown = Filter.read(QueryParams(visit.said("query")))
        if len(await self._staff.views(visit.name)) < _MOST_VIEWS:
            await self._staff.save_view(visit.name, View(title, shown.url))
        return RedirectResponse(f"/staff?{shown.url}", 303, headers=NO_STORE)

    async def drop_view(self, visit: Visit) -> Response:
        """Remove a saved view."""
        await self._staff.drop_view(visit.name, visit.said("title"))
        return RedirectResponse("/staff", 303, headers=NO_STORE)


def chat_of(visit: Visit) -> Chat:
    """The chat that the address names.  Raises `Refused` for what is no chat's name."""
    try:
        return Chat.parse(visit.request.path_params["chat"])
    except ValueError:
        raise Refused(404, "not_here") from None


def _columns(chip: Chip, name: str) -> dict[str, str | int]:
    if chip == "all":
        return {}
    return {"holder": name} if chip == "mine" else {chip: 1}

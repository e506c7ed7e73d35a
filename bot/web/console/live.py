"""Live updates: changes of the list reach every open console by server-sent events.

One task brings the list up to date and tells the open consoles; each of them knows the revision up to
which it has been told, and after a broken connection asks for what came after (`Last-Event-ID`).  A row
is rendered once a language, an event once for all consoles that look at the same filter.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute

from bot.web.console.door import Door, Visit
from bot.web.console.filters import Filter
from bot.web.console.list_pane import COUNTED
from bot.web.console.pages import Pages
from bot.web.refused import Refused
from context.background import BackgroundTask
from context.console.keeper import Keeper
from context.console.listing import Chip, Line, Listing
from context.db import StoreDown
from context.turns import Language

log = logging.getLogger(__name__)

LOOK_EVERY_S, LOOK_EVERY_AT_MOST_S = 0.2, 0.4
"""While consoles are open, longer for many; a row is to be seen half a second after its event."""
LOOK_SELDOM_S = 2.0
"""While none is open."""
LOOK_BUSY_S = 2.0
"""While many are open and more changes than anybody reads: telling all of them must not slow the answers."""
MANY_STREAMS, MANY_ROWS = 50, 12
"""Rows beyond these of one event are only counted; the page offers them behind its pill."""
RETRY_S = 5.0
KEPT = 500
"""Changed lines that are kept; a page that has missed more loads the whole list again."""
NOTHING = -1
"""Told to a stream that has to load its list again: older than every revision."""
PING_S = 15.0
MOST_STREAMS = 500
_PLACE = re.compile(r"(\d{1,17})\.(\d{1,17})")
"""What a console has been told: a revision of the list, and how many were erased until then."""


@dataclass(slots=True, eq=False)
class _Stream:
    """An open console."""

    name: str
    chip: Chip
    language: Language
    told: int
    """The newest revision it knows."""
    news: asyncio.Event = field(default_factory=asyncio.Event)


class Live:
    """Keeps the list, and tells of it."""

    def __init__(self, *, door: Door, pages: Pages, listing: Listing, keeper: Keeper) -> None:
        self._door = door
        self._pages = pages
        self._listing = listing
        self._keeper = keeper
        self._streams: set[_Stream] = set()
        self._recent: deque[Line] = deque(maxlen=KEPT)
        self._revision = 0
        self._since = 0
        """Of all that came after this revision, `_recent` has the lines."""
        self._erased = 0
        self._events: dict[tuple[object, ...], str] = {}
        self._changes = 0
        """Lines that were new at the last look."""
        self._counting = asyncio.Lock()
        self._counted = -1
        self._counts = ""
        self._holders: dict[str, int] = {}
        self._look = asyncio.Event()
        self._closed = False
        self._background = BackgroundTask("list of conversations", self._run)

    def routes(self) -> list[BaseRoute]:
        """`/staff/live`."""
        return [self._door.get("/staff/live", self.stream)]

    def start(self) -> None:
        """Begin to keep the list."""
        self._background.start()

    async def close(self) -> None:
        """End all streams, and stop.  Calling twice is harmless."""
        self._closed = True
        for stream in self._streams:
            stream.news.set()
        await self._background.stop()

    async def stream(self, visit: Visit) -> Response:
        """Rows as they change, after `Last-Event-ID`, else after `?after=`."""
        if len(self._streams) >= MOST_STREAMS:
            raise Refused(429, "bad_form")
        asked = visit.request.headers.get("last-event-id") or visit.request.query_params.get("after", "")
        place = _PLACE.fullmatch(asked)
        told = int(place[1]) if place else self._revision
        if place and int(place[2]) < self._erased:  # it may show somebody who was erased since
            told = NOTHING
        stream = _Stream(visit.name, Filter.read(visit.request.query_params).chip, visit.language, told)
        return StreamingResponse(
            self._tell(stream),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    async def _tell(self, stream: _Stream) -> AsyncIterator[str]:
        self._streams.add(stream)
        self._look.set()
        try:
            yield ": here\n\n"
            while not self._closed:
                if stream.told < self._revision:
                    revision = self._revision
                    yield await self._event(stream, revision)
                    stream.told = revision
                    continue
                stream.news.clear()
                try:
                    async with asyncio.timeout(PING_S):
                        await stream.news.wait()
                except TimeoutError:
                    yield ": ping\n\n"
        finally:
            self._streams.discard(stream)

    async def _event(self, stream: _Stream, revision: int) -> str:
        """All that the stream has not been told: rows that its filter lets through, and what is gone."""
        place = f"{revision}.{self._erased}"
        if stream.told < self._since:
            return f"id: {place}\nevent: reload\ndata: 1\n\n"
        owner = stream.name if stream.chip == "mine" else ""
        key = (stream.told, revision, stream.chip, stream.language, owner)
        if (rows := self._events.get(key)) is None:
            rows = self._events[key] = self._changed(stream, revision)
        async with self._counting:  # once for all streams that are told the same
            if self._counted != revision:
                counts, self._holders = await asyncio.gather(
                    self._listing.counts("", [chip for chip in COUNTED if chip != "mine"]),
                    self._listing.holders(),
                )
                self._counts, self._counted = _json(counts)[1:-1], revision
        mine = self._holders.get(stream.name, 0)
        return f'id: {place}\nevent: rows\ndata: {{{rows},"counts":{{{self._counts},"mine":{mine}}}}}\n\n'

    def _changed(self, stream: _Stream, revision: int) -> str:
        newest = {line.chat: line for line in self._recent if stream.told < line.revision <= revision}
        shown = sorted((line for line in newest.values() if _shows(stream, line)), key=lambda line: line.at)
        newest_rows = shown[-MANY_ROWS:]
        rows = [{"id": line.chat.key, "html": self._row(line, stream.language)} for line in newest_rows]
        more = [line.chat.key for line in shown[:-MANY_ROWS]]
        gone = [line.chat.key for line in newest.values() if not _shows(stream, line)]
        return _json({"rows": rows, "more": more, "gone": gone})[1:-1]

    def _row(self, line: Line, language: Language) -> str:
        key = (line.chat, line.revision, language)
        if (html := self._events.get(key)) is None:
            html = self._events[key] = self._pages.render("row.html", language, line=line)
        return html

    async def _run(self) -> None:
        trouble = ""
        while True:
            pause_s = self._pause_s()
            try:
                await self._keeper.catch_up()
                if self._keeper.is_behind:
                    pause_s = 0.0
                await self._hear()
                trouble = ""
            except StoreDown as error:
                if str(error) != trouble:
                    log.warning("the list of conversations is not kept up", extra={"reason": str(error)})
                trouble, pause_s = str(error), RETRY_S
            try:
                async with asyncio.timeout(pause_s):
                    await self._look.wait()
            except TimeoutError:
                pass
            self._look.clear()

    def _pause_s(self) -> float:
        if not self._streams:
            return LOOK_SELDOM_S
        if self._changes > MANY_ROWS and len(self._streams) > MANY_STREAMS:
            return LOOK_BUSY_S
        return min(LOOK_EVERY_AT_MOST_S, LOOK_EVERY_S + len(self._streams) / 500)

    async def _hear(self) -> None:
        """Take in what is new in the list, from this process or another one, and wake the streams."""
        erased, self._erased = self._erased, await self._listing.erasures()
        if not self._streams:
            self._revision = self._since = await self._listing.revision()
            self._recent.clear()
            return
        if self._erased != erased:  # nobody knows which rows are gone: every list is loaded again
            self._recent.clear()
            self._events.clear()
            self._since = self._revision
            for stream in self._streams:
                stream.told = NOTHING
                stream.news.set()
        lines = await self._listing.since(self._revision, KEPT)
        self._changes = len(lines)
        if not lines:
            return
        self._events.clear()
        dropped = len(self._recent) + len(lines) - KEPT
        if dropped > 0:
            known = [*self._recent, *lines]
            self._since = known[dropped - 1].revision
        self._recent.extend(lines)
        self._revision = lines[-1].revision
        for stream in self._streams:
            stream.news.set()


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _shows(stream: _Stream, line: Line) -> bool:
    if stream.chip == "all":
        return True
    if stream.chip == "mine":
        return line.holder == stream.name
    return bool(getattr(line, stream.chip))

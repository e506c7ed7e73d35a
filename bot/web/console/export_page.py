"""The export page, for admins: conversations as a file, masked unless they choose otherwise."""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from starlette.background import BackgroundTask
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute

from bot.export import Exporter, Wanted
from bot.web.console.door import Door, Visit, theme_of
from bot.web.console.pages import NO_STORE, Pages
from bot.web.refused import Refused
from context.console.accounts import Staff
from context.turns import Chat
from context.upkeep.extracts import Selection

EXPORT_TIMEOUT_S = 600.0
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


class ExportPage:
    """`/staff/export`."""

    def __init__(self, *, door: Door, pages: Pages, exporter: Exporter, folder: Path, staff: Staff) -> None:
        self._door = door
        self._pages = pages
        self._exporter = exporter
        self._folder = folder
        self._staff = staff

    def routes(self) -> list[BaseRoute]:
        """The page, and the file."""
        return [
            self._door.get("/staff/export", self.show, role="admin"),
            self._door.post("/staff/export", self.export, role="admin"),
        ]

    async def show(self, visit: Visit) -> Response:
        """What to export: one conversation, or all of some days."""
        return self._pages.answer(
            "export.html",
            visit.language,
            visit=visit,
            theme=theme_of(visit.request),
            chat=visit.request.query_params.get("chat", "")[:200],
        )

    async def export(self, visit: Visit) -> Response:
        """One zip file, made in a folder of its own and gone once it is sent."""
        chat = _chat(visit.said("chat"))
        until = _day(visit.said("until"))
        wanted = Wanted(
            Selection(chat, "", _day(visit.said("since")), until + 86_400 if until is not None else None),
            masked=not visit.said("plain"),
            photos=bool(visit.said("photos")),
        )
        await self._staff.note(
            visit.name, "exported" if wanted.masked else "exported unmasked", chat.key if chat else None
        )
        await asyncio.to_thread(self._folder.mkdir, mode=0o700, parents=True, exist_ok=True)
        folder = Path(await asyncio.to_thread(tempfile.mkdtemp, dir=self._folder, prefix="staff-"))
        clear = BackgroundTask(shutil.rmtree, folder, ignore_errors=True)
        try:
            async with asyncio.timeout(EXPORT_TIMEOUT_S):
                await self._exporter.to_zip(wanted, folder / "export.zip")
        except BaseException:
            await clear()
            raise
        name = f"export-{datetime.now(UTC):%Y%m%d-%H%M%S}.zip"
        return FileResponse(
            folder / "export.zip",
            media_type="application/zip",
            filename=name,
            headers=NO_STORE,
            background=clear,
        )


def _chat(key: str) -> Chat | None:
    """The chat of this name; None for an empty one.  Raises `Refused`."""
    if not key:
        return None
    try:
        return Chat.parse(key)
    except ValueError:
        raise Refused(404, "not_here") from None


def _day(date: str) -> float | None:
    if not _DATE.fullmatch(date):
        return None
    try:
        return datetime.strptime(date, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None

"""`python -m bot export`: conversations as files.  Safe beside a running bot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bot.cli.database import open_database
from bot.errors import BotError
from bot.export import Exporter, Wanted
from context.console.reviews import Reviews
from context.photos import Intake, Photos
from context.turns import Chat
from context.upkeep.extracts import Extracts, Selection


async def run(database_url: str, photos: Path, wanted: Wanted, out: Path) -> int:
    """Write the export to the folder `out`, or to one file where `out` ends in .zip.  Raises BotError."""
    store = Photos(photos, intake=Intake())
    try:
        async with open_database(database_url) as db:
            exporter = Exporter(extracts=Extracts(db), reviews=Reviews(db), read_photo=store.read)
            write = exporter.to_zip if out.suffix == ".zip" else exporter.to_folder
            exported = await write(wanted, out)
    except OSError as error:
        raise BotError(f"--out {out}: {error.strerror or error}") from error
    finally:
        await store.close()
    for file in exported:
        print(f"{file.name:20} {file.rows:>9} rows {file.bytes:>12} bytes")
    print(f"in {out}, {'masked' if wanted.masked else 'NOT masked: as customers wrote it'}")
    return 0


def selected(
    chat: str | None, *, channel: str = "", since: float | None = None, until: float | None = None
) -> Selection:
    """What the command line selects.  Raises BotError for an invalid chat."""
    if chat is None:
        return Selection(None, channel, since, until)
    try:
        return replace(Selection(None, channel, since, until), chat=Chat.parse(chat))
    except ValueError as error:
        raise BotError(f"{error}; for example telegram:42") from error

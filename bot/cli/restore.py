"""`python -m bot restore BACKUP`: replace the data with a backup, while no bot is running.

The whole backup is read and checked before anything is changed.  From the first change to the last the data
folder is marked, and no bot starts in it: an interrupted restore has to be repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from bot.cli.backup import (
    BESIDE,
    PHOTOS,
    Manifest,
    backups,
    copy_file,
    copy_photo,
    in_words,
    photos_of,
    problems_of,
    read_manifest,
)
from bot.errors import BotError
from context.migrations import MIGRATIONS
from context.photos import photo_in, sync_folder
from context.upkeep import lock, snapshots


async def run(
    url: str, data: Path, backup: Path, *, replace: bool, clear: Callable[[], Awaitable[bool]]
) -> int:
    """Restore a backup, or the newest in a folder, and print what it contained.  Raises BotError.

    `replace` allows existing data to be overwritten; `clear` empties Redis.
    """
    path = _chosen(backup)
    with in_words(data, busy="stop the bot first"):
        manifest = await asyncio.to_thread(_restore, url, data, path, replace=replace)
        if not await clear():
            raise BotError("Redis does not answer and may remember turns that are gone: run it again")
        await asyncio.to_thread(_end, data)
    print(f"as of {manifest.at}: {manifest.counts}, {manifest.snapshot.tables.get('staff', 0)} accounts")
    print("customers who were erased since then are back: erase them again (python -m bot forget CHAT)")
    return 0


def _chosen(path: Path) -> Path:
    if (path / "manifest.json").is_file():
        return path
    if not (found := backups(path)):
        raise BotError(f"{path}: no backup is there")
    return found[-1]


def _restore(url: str, data: Path, path: Path, *, replace: bool) -> Manifest:
    manifest = read_manifest(path)
    _check(url, data, manifest, replace=replace)
    if problems := problems_of(path, {}):
        raise BotError("\n".join([f"{path} is not whole, nothing was changed:", *problems]))
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    with lock.hold(data):
        lock.begin_restore(data)
        sync_folder(data)
        for sha256 in photos_of(path):
            copy_photo(photo_in(path.parent / PHOTOS, sha256), photo_in(data / PHOTOS, sha256), sha256)
        snapshots.load(url, path, manifest.snapshot)
        for file in sorted((path / BESIDE).rglob("*")):
            if file.is_file():
                copy_file(file, data / file.relative_to(path / BESIDE))
        _drop_strangers(data / PHOTOS, photos_of(path))
    return manifest


def _check(url: str, data: Path, manifest: Manifest, *, replace: bool) -> None:
    """Raise BotError if the restore cannot succeed; nothing has been changed yet."""
    kind = snapshots.kind_of(url)
    if kind != manifest.snapshot.kind:
        raise BotError(f"the backup is of {manifest.snapshot.kind}, DATABASE_URL names {kind}")
    if manifest.snapshot.schema > len(MIGRATIONS):
        raise BotError(
            f"the backup was made by a newer version ({manifest.version}): restore it with that one"
        )
    if others := snapshots.others_at(url):
        raise BotError(f"{others} are connected to the database: stop every bot first")
    if replace or lock.is_restore_unfinished(data):
        return
    if rows := snapshots.rows_in(url):
        raise BotError(f"the database holds {rows} rows already: --replace gives them up")
    if next((data / PHOTOS).glob("*/*.jpg"), None):
        raise BotError(f"{data / PHOTOS} holds photos already: --replace gives them up")


def _drop_strangers(folder: Path, photos: list[str]) -> None:
    """Delete photos that the backup does not name: no erasure would ever find them."""
    named = set(photos)
    for photo in folder.glob("*/*.jpg"):
        if photo.stem not in named:
            photo.unlink()


def _end(data: Path) -> None:
    lock.end_restore(data)
    sync_folder(data)

"""`python -m bot backup FOLDER`: back up database, photos and other files, also while the bot is running.

    FOLDER/photos/ab/<sha256>.jpg     shared by all backups: only missing photos are copied
    FOLDER/2026-01-31T030000Z/        one backup: manifest.json, the database, photos.sha256, beside/

A backup gets its name only when it is complete and on disk; the next one removes the remains of one that was
interrupted.  Redis is left out: everything in it is rebuilt from the database.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from bot import __version__
from bot.errors import BotError
from context.db import StoreDown
from context.photos import photo_in, sync_folder
from context.upkeep import lock, snapshots
from context.upkeep.snapshots import Snapshot
from prompts.prompts import COMPANY

MANIFEST, PHOTOS, BESIDE = "manifest.json", "photos", "beside"
SUMS = "photos.sha256"
"""In the format of sha256sum: `sha256sum -c photos.sha256` in a backup checks its photos without the bot."""
KEPT_BESIDE = ("audit.key", COMPANY, "policy.yaml", "canned.yaml", "releases", "uploads")
"""Other files of the data folder: the key of the verdicts, what the operator wrote, pictures that no turn has
taken yet."""
FORMAT = 1
_UNFINISHED = ".unfinished-"
_BLOCK = 1 << 20
_NAME = re.compile(r"\d{4}-\d\d-\d\dT\d{6}Z(-\d+)?")
_SUM = re.compile(r"([0-9a-f]{64})  \.\./photos/\S+")


@dataclass(frozen=True, slots=True)
class Manifest:
    """The description of a backup, stored inside it."""

    at: str
    version: str
    snapshot: Snapshot
    files: dict[str, str]
    """SHA-256 by path, of all files except the photos."""
    photos: int
    lost: tuple[str, ...]
    """Photos that the database names but that were missing or damaged on disk."""
    format: int = FORMAT

    @property
    def counts(self) -> str:
        """The amount of data, for people."""
        rows = self.snapshot.tables
        return f"{rows.get('messages', 0)} messages of {rows.get('chats', 0)} chats, {self.photos} photos"


async def run(url: str, data: Path, folder: Path, *, keep: int = 0) -> int:
    """Make a backup and print what it contains; returns 1 if photos were missing.  Raises BotError."""
    with in_words(folder, busy="another backup is being made"):
        path, manifest, gone = await asyncio.to_thread(make, url, data, folder, keep=keep)
    print(f"{path}: {manifest.counts}")
    if gone:
        print(f"{gone} older backups deleted")
    for sha256 in manifest.lost:
        print(f"photo {sha256} is not on disk, or damaged there", flush=True)
    return int(bool(manifest.lost))


async def verify(folder: Path) -> int:
    """Read all backups in a folder completely; returns 1 if something is wrong.  Raises BotError."""
    paths = backups(folder)
    if not paths:
        raise BotError(f"{folder}: no backup is there")
    sound: dict[str, bool] = {}
    found = 0
    for path in paths:
        with in_words(folder, busy="a backup is being made"):
            problems = await asyncio.to_thread(problems_of, path, sound)
        print(f"{path}: {'whole' if not problems else f'{len(problems)} problems'}")
        print(*(f"  {problem}" for problem in problems), sep="\n", end="\n" if problems else "")
        found += len(problems)
    return int(bool(found))


def make(url: str, data: Path, folder: Path, *, keep: int) -> tuple[Path, Manifest, int]:
    """Write a backup, then delete all but the newest `keep` (0 keeps all).

    Raises OSError, StoreDown, lock.Busy.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with lock.hold(folder):
        for leftover in [*folder.glob(f"{_UNFINISHED}*"), *(folder / PHOTOS).glob(f"{_UNFINISHED}*")]:
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        now = datetime.now(UTC)
        unfinished = folder / f"{_UNFINISHED}{uuid4().hex}"
        unfinished.mkdir(mode=0o700)
        try:
            manifest = _write(url, data, folder, unfinished, now)
            path = _free_name(folder, now)
            unfinished.rename(path)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        sync_folder(folder)
        return path, manifest, _delete_older(folder, keep) if keep else 0


def backups(folder: Path) -> list[Path]:
    """The backups in a folder, oldest first."""
    return sorted(path.parent for path in folder.glob(f"*/{MANIFEST}") if _NAME.fullmatch(path.parent.name))


def read_manifest(path: Path) -> Manifest:
    """Raises BotError for what this version did not write."""
    try:
        raw: dict[str, Any] = json.loads((path / MANIFEST).read_text("utf-8"))
        if raw["format"] != FORMAT:
            raise BotError(f"{path}: written by version {raw['version']} in another format")
        return Manifest(**raw | {"snapshot": Snapshot(**raw["snapshot"]), "lost": tuple(raw["lost"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BotError(f"{path}: no backup of ours: {type(error).__name__}") from error


def photos_of(path: Path) -> list[str]:
    """The photos of a backup."""
    lines = (path / SUMS).read_text("ascii").splitlines()
    return [found[1] for line in lines if (found := _SUM.fullmatch(line))]


def problems_of(path: Path, sound: dict[str, bool]) -> list[str]:
    """What is wrong with a backup; `sound` caches the checks of photos that several backups share."""
    manifest = read_manifest(path)
    problems = []
    for name, sha256 in manifest.files.items():
        if not (path / name).is_file():
            problems.append(f"{name} is missing")
        elif sum_of(path / name) != sha256:
            problems.append(f"{name} is not what was written")
    if problems:
        return problems  # what it names is not to be believed
    for sha256 in photos_of(path):
        if sha256 not in sound:
            photo = photo_in(path.parent / PHOTOS, sha256)
            sound[sha256] = photo.is_file() and sum_of(photo) == sha256
        if not sound[sha256]:
            problems.append(f"photo {sha256} is missing or damaged")
    return problems + snapshots.inspect(path, manifest.snapshot)


def copy_photo(source: Path, target: Path, sha256: str) -> bool:
    """Copy a photo if it is missing; False if the source does not match its name.  Raises OSError."""
    try:
        if target.is_file() and target.stat().st_size == source.stat().st_size:
            return True
        data = source.read_bytes()
    except FileNotFoundError:
        return target.is_file() and sum_of(target) == sha256
    if hashlib.sha256(data).hexdigest() != sha256:
        return target.is_file() and sum_of(target) == sha256
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = target.parent.parent / f"{_UNFINISHED}{uuid4().hex}"
    with unfinished.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(target)
    return True


def copy_file(source: Path, target: Path) -> None:
    """Copy durably, readable by us only.  Raises OSError."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = target.with_name(f"{_UNFINISHED}{uuid4().hex}")
    with source.open("rb") as reading, unfinished.open("xb") as file:
        os.fchmod(file.fileno(), 0o600)
        shutil.copyfileobj(reading, file, _BLOCK)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(target)


def sum_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(url: str, data: Path, folder: Path, path: Path, now: datetime) -> Manifest:
    """Copy the database first: every photo that it names was on disk before."""
    snapshot, named = snapshots.save(url, path)
    _copy_beside(data, path / BESIDE)
    lost = [
        sha256
        for sha256 in named
        if not copy_photo(photo_in(data / PHOTOS, sha256), photo_in(folder / PHOTOS, sha256), sha256)
    ]
    had = [sha256 for sha256 in named if sha256 not in set(lost)]
    (path / SUMS).write_text("".join(f"{name}  ../{photo_in(Path(PHOTOS), name)}\n" for name in had), "ascii")
    files = sorted(file for file in path.rglob("*") if file.is_file())
    sums = {file.relative_to(path).as_posix(): sum_of(file) for file in files}
    moment = now.isoformat(timespec="seconds")
    manifest = Manifest(moment, __version__, snapshot, sums, len(had), tuple(lost))
    (path / MANIFEST).write_text(json.dumps(asdict(manifest), indent=1), "utf-8")
    for file in [*files, path / MANIFEST]:
        file.chmod(0o600)
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
    for part in [*(part for part in path.rglob("*") if part.is_dir()), path]:
        sync_folder(part)
    if (folder / PHOTOS).is_dir():
        for part in [*(folder / PHOTOS).iterdir(), folder / PHOTOS]:
            sync_folder(part)
    return manifest


def _copy_beside(data: Path, target: Path) -> None:
    for name in KEPT_BESIDE:
        source = data / name
        files = [source] if source.is_file() else sorted(source.rglob("*")) if source.is_dir() else []
        for file in files:
            if file.is_file() and not file.is_symlink():
                try:
                    copy_file(file, target / file.relative_to(data))
                except FileNotFoundError:
                    continue  # an upload that a turn has just taken


def _free_name(folder: Path, now: datetime) -> Path:
    path, count = folder / f"{now:%Y-%m-%dT%H%M%SZ}", 1
    while path.exists():
        count += 1
        path = folder / f"{now:%Y-%m-%dT%H%M%SZ}-{count}"
    return path


def _delete_older(folder: Path, keep: int) -> int:
    """Delete all but the newest backups, then the photos that none of them names.

    Returns how many backups were deleted.
    """
    paths = backups(folder)
    older, newer = paths[:-keep], paths[-keep:]
    for path in older:
        going = folder / f"{_UNFINISHED}{uuid4().hex}"  # half deleted it is no backup any more
        path.rename(going)
        shutil.rmtree(going)
    needed = {sha256 for path in newer for sha256 in photos_of(path)}
    for photo in (folder / PHOTOS).glob("*/*.jpg"):
        if photo.stem not in needed:
            photo.unlink()
    return len(older)


@contextmanager
def in_words(folder: Path, *, busy: str) -> Iterator[None]:
    """Turn errors of files and databases into BotError; `busy` says why the folder may be locked."""
    try:
        yield
    except lock.Busy as error:
        raise BotError(f"{busy}: {error}") from error
    except StoreDown as error:
        raise BotError(str(error)) from error
    except OSError as error:
        raise BotError(f"{error.filename or folder}: {error.strerror or type(error).__name__}") from error

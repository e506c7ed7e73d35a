"""The photo store: checked, normalised JPEGs, named by their content hash.

A stranger's bytes become a `Photo` only through the intake.  The files here are our own clean JPEGs, each
named by its SHA-256, and durable before `take_in` returns.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import logging
import os
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from context.facts import facts_from
from context.health import Health
from context.intake.client import Intake
from context.intake.formats import is_clip
from context.intake.wire import Normalised
from context.turns import Photo, Rejection

__all__ = ["REJECTIONS", "Intake", "Photos", "smaller", "sync_folder"]

log = logging.getLogger(__name__)

REJECTIONS: tuple[str, ...] = (
    "empty",  # no bytes at all
    "too_large",  # more bytes than Telegram's bots can fetch (20 MB)
    "not_a_picture",  # PDF, web page, archive ...; a clip that was sent as a picture
    "not_a_clip",  # sent as a clip, and no MP4, MOV, WebM or GIF with pictures in it
    "heic",  # iPhone's own format (HEIC, AVIF): a picture, but send it as a photo
    "unsupported",  # a picture of a kind we do not open (GIF, TIFF, BMP, SVG, 12-bit JPEG ...)
    "damaged",  # cut off, or broken inside
    "too_many_pixels",  # would take too much memory to open
    "too_small",  # a side under 16 pixels
    "bad_shape",  # a strip: more than 30 times as long as wide, or a side over 16,000
    "too_complex",  # built to be slow: thousands of scans or chunks
    "too_slow",  # took more CPU time than a photo may take
    "download_failed",  # the channel did not give us the file
    "try_again",  # our fault: it could not be checked or stored just now
)
"""All codes of a `Rejection`.  `prompts/notices.*.j2` has a sentence for each."""

T = TypeVar("T")
_NAME = re.compile(r"[0-9a-f]{64}")
DISK_S = 30.0
"""A disk that takes longer for one photo counts as hanging."""
_LEFTOVER_S = 3600
"""Unfinished files older than this are abandoned."""


def photo_in(folder: Path, sha256: str) -> Path:
    """The path of a photo in a folder of photos."""
    return folder / sha256[:2] / f"{sha256}.jpg"


class Photos:
    """The photo store.  It owns its intake: `start` and `close` include it."""

    def __init__(self, folder: Path, *, intake: Intake) -> None:
        self._folder = folder
        self._intake = intake
        # Our own threads: a slow disk must not hold up whoever else uses the loop's.
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="photos")
        self._trouble = ""

    async def start(self) -> None:
        """Make ready: folders, and the intake's helper process.  Raises OSError for an unusable folder.

        Returns while the helper still imports its libraries, on another core; a photo waits for it.
        """
        self._intake.begin()
        await self._in_thread(self._prepare)

    async def close(self) -> None:
        """Stop the intake and finish writing.  Calling it twice is harmless."""
        await self._intake.close()
        await asyncio.to_thread(self._threads.shutdown)

    async def health(self) -> Health:
        """Whether photos can be checked and stored."""
        health = await self._intake.health()
        if health.state == "ok" and self._trouble:
            return Health("down", self._trouble)
        return health

    async def take_in(self, data: bytes) -> Photo | Rejection:
        """Check, normalise and store a picture or a clip; bad input is never an exception.

        Of a clip the photo shows two moments, and its `clip` says which lamps blinked.

        The hash is over the normalised JPEG: the same picture sent twice, as a photo or as a file,
        is stored once.  A full disk is a `try_again`, and shown in `health`.
        """
        of_clip = is_clip(data)
        taken = await (self._intake.watch(data) if of_clip else self._intake.normalise(data))
        kept = taken if isinstance(taken, Rejection) else await self._keep(taken)
        return replace(kept, is_clip=of_clip) if isinstance(kept, Rejection) else kept

    async def read(self, sha256: str, *, longest: int = 0) -> bytes | None:
        """The JPEG of that name; None when it is not here, or no longer what its name says.

        `longest` asks for a smaller one where its longest side is more than so many pixels: always the
        same bytes for the same photo.  Raises OSError when the disk fails.
        """
        path = self._path(sha256)
        return await self._in_thread(partial(_read, path, sha256, longest)) if path else None

    async def forget(self, sha256: str) -> None:
        """Delete a photo for good.  One that is not here is no error.

        The same picture may have been sent in several chats: whoever calls this has made sure that
        nobody else's message shows it.
        """
        if path := self._path(sha256):
            await self._in_thread(partial(_delete, path))

    async def _keep(self, taken: Normalised) -> Photo | Rejection:
        try:
            clip, flaw = facts_from(taken.facts)
        except ValueError:
            return Rejection("damaged", "the decoder misbehaved")
        try:
            sha256 = await self._in_thread(partial(self._store, taken))
        except OSError as why:
            self._trouble = f"photos cannot be stored: {why.strerror or 'the disk does not answer'}"
            log.exception("a photo could not be stored")
            return Rejection("try_again", self._trouble)
        self._trouble = ""
        return Photo(sha256, taken.width, taken.height, clip=clip, flaw=flaw)

    def _prepare(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._unfinished.mkdir(mode=0o700, exist_ok=True)
        for leftover in self._unfinished.iterdir():
            # Younger ones may belong to another process on the same folder.
            if leftover.stat().st_mtime < time.time() - _LEFTOVER_S:
                leftover.unlink(missing_ok=True)

    def _store(self, taken: Normalised) -> str:
        sha256 = hashlib.sha256(taken.jpeg).hexdigest()
        path = self._path(sha256)
        assert path is not None
        if path.exists() and path.stat().st_size == len(taken.jpeg):
            return sha256
        unfinished = self._unfinished / f"{sha256}.{uuid4().hex}"
        try:
            with unfinished.open("xb") as file:
                file.write(taken.jpeg)
                file.flush()
                os.fsync(file.fileno())
            is_new_folder = not path.parent.exists()
            path.parent.mkdir(mode=0o700, exist_ok=True)
            unfinished.replace(path)
        except OSError:
            unfinished.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
        if is_new_folder:
            sync_folder(self._folder)
        return sha256

    def _path(self, sha256: str) -> Path | None:
        """The path of a photo; None for anything but a hash, so that no foreign name reaches the disk."""
        return photo_in(self._folder, sha256) if _NAME.fullmatch(sha256) else None

    @property
    def _unfinished(self) -> Path:
        return self._folder / "unfinished"

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """The one place where files leave the event loop.  A disk that hangs is an OSError (TimeoutError)."""
        async with asyncio.timeout(DISK_S):
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _read(path: Path, sha256: str, longest: int) -> bytes | None:
    try:
        jpeg = path.read_bytes()
    except FileNotFoundError:
        return None
    if hashlib.sha256(jpeg).hexdigest() != sha256:
        log.error("photo %s is damaged on disk", sha256)
        return None
    return smaller(jpeg, longest) if longest else jpeg


def smaller(jpeg: bytes, longest: int) -> bytes:
    """One of our own JPEGs with its longest side at most `longest`, the same bytes every time.

    Takes some milliseconds, so away from the event loop.
    """
    from PIL import Image  # noqa: PLC0415 - the bot runs without it until an earlier photo is looked at

    with Image.open(io.BytesIO(jpeg)) as picture:
        scale = longest / max(picture.size)
        if scale >= 1:
            return jpeg
        size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
        out = io.BytesIO()
        picture.resize(size, Image.Resampling.HAMMING).save(out, "JPEG", quality=90)
    return out.getvalue()


def _delete(path: Path) -> None:
    path.unlink(missing_ok=True)
    if path.parent.exists():
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Flush a folder: a rename survives a power cut only if its folder is on disk too."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

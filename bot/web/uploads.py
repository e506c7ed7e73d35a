"""Uploads: a form's pictures go to disk as they come in, and wait there until a turn takes them.

Nothing here looks into a picture: names, types and contents are the sender's claims, and whatever is
wrong with them is found (and told to the customer) where photos are taken in.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from io import BufferedWriter
from pathlib import Path

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from bot.errors import FileUnavailable
from bot.web.refused import Refused
from context.turns import Attachment

MAX_PHOTOS = 10
MAX_PHOTO_BYTES = 20 * 1024 * 1024
MAX_FIELD_BYTES = 64 * 1024
MAX_FIELDS = 8
SPARE_BYTES = 256 * 2**20
"""Free space below which no picture is taken: it is left for the database, which has to go on."""
MAX_FORM_BYTES = MAX_PHOTOS * MAX_PHOTO_BYTES + MAX_FIELDS * MAX_FIELD_BYTES + 64 * 1024

_KEPT_S = 24 * 3600.0
_KEPT_AFTER_READING_S = 600.0
_FLUSH_BYTES = 256 * 1024
_FILE_ID = re.compile(r"[A-Za-z0-9_-]{22}")


@dataclass(frozen=True, slots=True)
class Form:
    """A received form: texts by field name, and pictures in order, already in the spool."""

    fields: dict[str, str]
    photos: tuple[Attachment, ...]


class Spool:
    """The folder of waiting uploads.  A file is named only by its random id."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def open(self) -> None:
        """Create the folder, readable only by us, and remove old files."""
        await asyncio.to_thread(self._folder.mkdir, mode=0o700, parents=True, exist_ok=True)
        await self.sweep()

    async def receive(self, content_type: str, body: AsyncIterator[bytes]) -> Form:
        """Read a multipart body to its end.

        Raises `Refused`, and then nothing of it is kept.  The body is read to its end in that case
        too (it is bounded): a browser shows no answer that comes while it is still sending.
        """
        reading = _Reading(self._folder, content_type)
        try:
            async for chunk in body:
                reading.feed(chunk)
                if reading.unwritten >= _FLUSH_BYTES:
                    await asyncio.to_thread(reading.flush)
            await asyncio.to_thread(reading.finish)
            return reading.form()
        except BaseException:
            reading.discard()
            raise

    async def read(self, file_id: str) -> bytes:
        """The bytes of an upload.  Raises `FileUnavailable` if it is gone."""
        return await asyncio.to_thread(self._read, file_id)

    async def discard(self, form: Form) -> None:
        """Delete the pictures of a form that was not accepted after all."""
        for photo in form.photos:
            await asyncio.to_thread((self._folder / photo.file_id).unlink, missing_ok=True)

    async def forget(self, file_ids: Sequence[str]) -> None:
        """Delete these uploads, processed or not.  One that is gone is no error."""
        await asyncio.to_thread(self._forget, file_ids)

    async def sweep(self) -> None:
        """Delete uploads that nobody will need any more."""
        await asyncio.to_thread(self._sweep)

    def _read(self, file_id: str) -> bytes:
        if not _FILE_ID.fullmatch(file_id):
            raise FileUnavailable("not an upload's id", code="download_failed")
        path = self._folder / file_id
        try:
            data = path.read_bytes()
            # Taken in, it is not needed; but the turn may fail and be run again. So a file that was
            # read is made to look old instead of being removed, which also survives a restart.
            old = time.time() - _KEPT_S + _KEPT_AFTER_READING_S
            os.utime(path, (old, old))
        except OSError as error:
            raise FileUnavailable(f"upload {file_id}: {error.strerror}", code="download_failed") from error
        return data

    def _forget(self, file_ids: Sequence[str]) -> None:
        for file_id in file_ids:
            if _FILE_ID.fullmatch(file_id):
                (self._folder / file_id).unlink(missing_ok=True)

    def _sweep(self) -> None:
        oldest = time.time() - _KEPT_S
        for path in self._folder.iterdir():
            if path.stat().st_mtime < oldest:
                path.unlink(missing_ok=True)


@dataclass(slots=True)
class _Upload:
    """A file that is being written."""

    path: Path
    file: BufferedWriter
    size: int = 0
    pending: list[bytes] = field(default_factory=list)


class _Reading:
    """A multipart body that is being received: `feed` it, `flush` what has come, `finish` it."""

    def __init__(self, folder: Path, content_type: str) -> None:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise Refused(415, "bad_form")
        self.unwritten = 0
        self._folder = folder
        self._refused: Refused | None = None
        self._fields: dict[str, bytearray] = {}
        self._uploads: list[_Upload] = []
        self._upload: _Upload | None = None
        self._words: bytearray | None = None
        self._complete = False
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._disposition = b""
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._part_begins,
                    "on_header_field": lambda data, start, end: self._header_name.extend(data[start:end]),
                    "on_header_value": lambda data, start, end: self._header_value.extend(data[start:end]),
                    "on_header_end": self._header_ends,
                    "on_headers_finished": self._headers_end,
                    "on_part_data": self._part_data,
                    "on_end": self._ends,
                },
            )
        except FormParserError as error:
            raise Refused(400, "bad_form") from error

    def feed(self, chunk: bytes) -> None:
        if self._refused is not None and self._refused.code == "bad_form":
            return
        try:
            self._parser.write(chunk)
        except FormParserError:
            self._refuse(400, "bad_form")

    def flush(self) -> None:
        """Write to disk what has arrived (blocking)."""
        for upload in self._uploads:
            upload.file.writelines(upload.pending)
            upload.pending.clear()
        self.unwritten = 0

    def finish(self) -> None:
        """Write the rest durably: the message will be confirmed (blocking)."""
        self.flush()
        for upload in self._uploads:
            upload.file.flush()
            os.fsync(upload.file.fileno())
            upload.file.close()

    def form(self) -> Form:
        if not self._complete:
            self._refuse(400, "bad_form")
        if self._refused is not None:
            raise self._refused
        try:
            fields = {name: words.decode() for name, words in self._fields.items()}
        except UnicodeDecodeError as error:
            raise Refused(400, "bad_form") from error
        return Form(fields, tuple(Attachment(upload.path.name, upload.size) for upload in self._uploads))

    def discard(self) -> None:
        for upload in self._uploads:
            upload.file.close()
            upload.path.unlink(missing_ok=True)

    def _part_begins(self) -> None:
        self._upload = None
        self._words = None
        self._disposition = b""

    def _header_ends(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _headers_end(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" not in options:
            if len(self._fields) >= MAX_FIELDS or name in self._fields:
                self._refuse(400, "bad_form")
            else:
                self._words = self._fields[name] = bytearray()
        elif len(self._uploads) >= MAX_PHOTOS:
            self._refuse(413, "too_many_photos")
        elif shutil.disk_usage(self._folder).free < SPARE_BYTES:
            self._refuse(503, "failed")
        elif self._refused is None:
            path = self._folder / secrets.token_urlsafe(16)
            self._upload = _Upload(path, path.open("xb"))
            self._uploads.append(self._upload)

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._refused is not None:
            return
        if self._words is not None:
            self._words.extend(data[start:end])
            if len(self._words) > MAX_FIELD_BYTES:
                self._refuse(413, "text_too_long")
        elif self._upload is not None:
            self._upload.size += end - start
            if self._upload.size > MAX_PHOTO_BYTES:
                self._refuse(413, "photo_too_large", photo=len(self._uploads))
                return
            self._upload.pending.append(data[start:end])
            self.unwritten += end - start

    def _ends(self) -> None:
        self._complete = True

    def _refuse(self, status: int, code: str, *, photo: int = 0) -> None:
        """Remember the first fault, and drop what has not been written."""
        if self._refused is None:
            self._refused = Refused(status, code, photo=photo)
        for upload in self._uploads:
            upload.pending.clear()
        self.unwritten = 0

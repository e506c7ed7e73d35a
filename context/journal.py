"""A journal: lines of JSON in a file of the operator's; each is durable before it counts.

It survives `kill -9` and power cuts: a line that was cut off is removed when the file is opened again; all
others are complete.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from pathlib import Path
from typing import Any, Self

Row = dict[str, Any]


class NotAJournal(Exception):
    """The file is not a journal, or not available now; the message says why and names the line."""


def read(path: Path) -> list[Row]:
    """The complete rows of a file, oldest first; none if there is no file.  Changes nothing."""
    try:
        return _rows(path.read_bytes(), path)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise NotAJournal(f"{path} cannot be read: {error.strerror}") from None


class Journal:
    """The file, opened for appending by one process only.  A context manager.

    Raises NotAJournal if it contains anything but JSON objects, or if another process writes to it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = asyncio.Lock()
        self.rows: list[Row] = []
        """Its rows when it was opened."""

    def __enter__(self) -> Self:
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise NotAJournal(f"{self._path} cannot be written: {error.strerror}") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            content = self._path.read_bytes()
            self.rows = _rows(content, self._path)
            self._mend(content)
        except OSError as error:
            os.close(self._file)
            raise NotAJournal(f"{self._path} is being written by another process") from error
        except NotAJournal:
            os.close(self._file)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    async def append(self, row: Row) -> None:
        """Append a row; it is on disk when this returns.  Raises OSError, and then the file is unchanged."""
        line = _line(row)
        async with self._lock:
            await asyncio.shield(asyncio.to_thread(self._write, line))

    def _write(self, line: bytes) -> None:
        before = os.fstat(self._file).st_size
        try:
            while line:
                line = line[os.write(self._file, line) :]
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, before)
            raise

    def _mend(self, content: bytes) -> None:
        """Remove a last line that was cut off; complete one that only lacks its line end."""
        whole = content.rfind(b"\n") + 1
        if whole == len(content):
            return
        if _is_row(content[whole:]):
            os.write(self._file, b"\n")
        else:
            os.ftruncate(self._file, whole)
        os.fsync(self._file)


def _rows(content: bytes, path: Path) -> list[Row]:
    lines = content.split(b"\n")
    if not lines[-1] or (lines[-1].startswith(b"{") and not _is_row(lines[-1])):
        del lines[-1]  # what follows the last line end: nothing, or a line that was cut off
    rows = []
    for number, line in enumerate(lines, 1):
        if not _is_row(line):
            raise NotAJournal(f"{path} holds something else: line {number} is no JSON object")
        rows.append(json.loads(line))
    return rows


def _is_row(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _line(row: Row) -> bytes:
    try:
        return json.dumps(row, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # a file name that is no UTF-8
        return json.dumps(row).encode() + b"\n"

"""Exports: conversations as JSON lines, as CSV tables that are safe to open, and as photos.

Used by `python -m bot export` and by the console.  Masked by default: customers get pseudonyms that differ
from export to export, and personal data left in their words is removed from the copy.
"""

from __future__ import annotations

import asyncio
import csv
import hashlib
import hmac
import json
import re
import secrets
import shutil
import tempfile
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from bot import __version__
from bot.guard.mask import mask
from context.console.reviews import Reviews
from context.turns import Chat
from context.upkeep.extracts import Extracts, Selection

MANIFEST = "manifest.json"
EVERYTHING = Selection()
_WRITTEN_IN = 1 << 20
_LEADING = re.compile(r"[\s\u200b-\u200f\u2028-\u202e\u2060-\u2064\u2066-\u2069\ufeff\u00ad\x00-\x1f]*")
_FORMULA = "=+-@\t\r\n|%＝＋－＠"
"""Includes the full-width forms, which spreadsheets in East Asia accept as well."""
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

ReadPhoto = Callable[[str], Awaitable[bytes | None]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to export."""

    selection: Selection = EVERYTHING
    masked: bool = True
    photos: bool = False


@dataclass(frozen=True, slots=True)
class Exported:
    """A file of an export."""

    name: str
    rows: int
    """Lines, table rows or photos."""
    bytes: int
    sha256: str


class Exporter:
    """Writes exports.  Memory use does not depend on their size."""

    def __init__(self, *, extracts: Extracts, reviews: Reviews, read_photo: ReadPhoto) -> None:
        self._extracts = extracts
        self._reviews = reviews
        self._read_photo = read_photo

    async def to_zip(self, wanted: Wanted, file: Path) -> tuple[Exported, ...]:
        """Write the export as one zip file, which appears whole or not at all.  Raises OSError, StoreDown."""
        await asyncio.to_thread(file.parent.mkdir, parents=True, exist_ok=True)
        # Beside the target: it is on the disk that has room for it, and a rename is all that is left.
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=".export-") as name:
            folder = Path(name)
            exported = await self.to_folder(wanted, folder / "files")
            await asyncio.to_thread(_zip, folder / "files", folder / "zip")
            (folder / "zip").replace(file)
        return exported

    async def to_folder(self, wanted: Wanted, folder: Path) -> tuple[Exported, ...]:
        """Write the export into a folder, with a manifest; returns what each file contains.

        Raises FileExistsError if the folder is not empty, OSError, StoreDown.
        """
        await asyncio.to_thread(_make_empty, folder)
        writing = _Writing(wanted, key=secrets.token_bytes(32))
        exported = [
            *await self._write(folder, "messages", writing, self._extracts.lines(wanted.selection)),
            *await self._write(folder, "turns", writing, self._extracts.answers(wanted.selection)),
            *await self._write(folder, "corrections", writing, self._corrections(wanted.selection)),
        ]
        if wanted.photos:
            exported.append(await self._write_photos(folder / "photos.zip", wanted.selection))
        await asyncio.to_thread(_write_manifest, folder / MANIFEST, wanted, exported)
        return tuple(exported)

    async def _write(
        self, folder: Path, name: str, writing: _Writing, pages: AsyncIterator[Iterable[Any]]
    ) -> tuple[Exported, Exported]:
        """Write the same rows as JSON lines and as a table."""
        with _hashed(folder / f"{name}.jsonl") as lines, _hashed(folder / f"{name}.csv") as table:
            table.write(b"\xef\xbb\xbf")  # else spreadsheets take Chinese for something else
            async for page in pages:
                rows = [writing.row(asdict(item)) for item in page]
                await asyncio.to_thread(_write_page, rows, lines, table, has_head=lines.rows > 0)
        return lines.exported, table.exported

    async def _corrections(self, selection: Selection) -> AsyncIterator[Iterable[Any]]:
        after = 0
        while page := await self._reviews.corrections(after=after):
            yield [item for item in page if _is_selected(item.chat, item.at, selection)]
            after = page[-1].turn_id

    async def _write_photos(self, path: Path, selection: Selection) -> Exported:
        count = 0
        with zipfile.ZipFile(path, "x", zipfile.ZIP_STORED) as archive:
            async for page in self._extracts.photos(selection):
                for sha256 in page:
                    jpeg = await self._read_photo(sha256)
                    if jpeg is not None:
                        await asyncio.to_thread(archive.writestr, f"{sha256}.jpg", jpeg)
                        count += 1
        return await asyncio.to_thread(_look_at, path, count)


def safe_cell(value: object) -> str:
    """A table cell that no spreadsheet takes for a formula.  `plain` is the inverse.

    https://owasp.org/www-community/attacks/CSV_Injection; also behind spaces and invisible characters.
    """
    text = "" if value is None else _CONTROL.sub("\ufffd", str(value))
    first = text[_LEADING.match(text).end() :][:1]  # type: ignore[union-attr]  # it matches nothing, too
    is_formula = text[:1] in _FORMULA or (first != "" and first in _FORMULA)
    return f"'{text}" if text and (is_formula or text[0] == "'") else text


def plain(cell: str) -> str:
    """The text of a cell that `safe_cell` made."""
    return cell.removeprefix("'")


class _Writing:
    """Turns values into rows, masked or not."""

    def __init__(self, wanted: Wanted, *, key: bytes) -> None:
        self._masked = wanted.masked
        self._key = key

    def row(self, values: dict[str, Any]) -> dict[str, Any]:
        row = {name: self._value(name, value) for name, value in values.items()}
        if "at" in row:
            row["at"] = datetime.fromtimestamp(values["at"], UTC).isoformat(timespec="milliseconds")
        return row

    def _value(self, name: str, value: Any) -> Any:
        if not self._masked or not isinstance(value, str):
            return value
        if name == "chat":
            return self._pseudonym(value)
        if name == "origin":  # a colleague's name
            return "staff" if value.startswith("staff:") else value
        return mask(value) if name in _WORDS else value

    def _pseudonym(self, chat: str) -> str:
        """A pseudonym: the same for a customer throughout this export, a different one in the next."""
        digest = hmac.new(self._key, chat.encode(), hashlib.sha256).hexdigest()
        return f"{chat.partition(':')[0]}:{digest[:16]}"


_WORDS = frozenset({"text", "photo_text", "question", "reply", "draft", "answer", "correction"})


def _make_empty(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty")


class _Hashed:
    """A file that counts and hashes what is written to it."""

    def __init__(self, name: str, file: BinaryIO) -> None:
        self._name = name
        self._file = file
        self._hash = hashlib.sha256()
        self._bytes = 0
        self.rows = 0

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self._bytes += len(data)

    @property
    def exported(self) -> Exported:
        return Exported(self._name, self.rows, self._bytes, self._hash.hexdigest())


@contextmanager
def _hashed(path: Path) -> Iterator[_Hashed]:
    with path.open("xb") as file:
        yield _Hashed(path.name, file)


def _write_page(rows: list[dict[str, Any]], lines: _Hashed, table: _Hashed, *, has_head: bool) -> None:
    """Add rows to both files (blocking)."""
    for row in rows:
        lines.write(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
    if rows and not has_head:
        table.write(_csv(rows[0].keys()))
    for row in rows:
        cells = (" ".join(map(str, value)) if isinstance(value, tuple) else value for value in row.values())
        table.write(_csv(safe_cell(cell) for cell in cells))
    lines.rows += len(rows)
    table.rows += len(rows)


class _Echo:
    @staticmethod
    def write(text: str) -> str:
        return text


_CSV = csv.writer(_Echo(), quoting=csv.QUOTE_ALL)


def _csv(cells: Iterable[str]) -> bytes:
    return str(_CSV.writerow(list(cells))).encode("utf-8", "replace")


def _is_selected(chat: Chat, at: float, selection: Selection) -> bool:
    return (
        (selection.chat is None or chat == selection.chat)
        and (not selection.channel or chat.channel == selection.channel)
        and (selection.since is None or at >= selection.since)
        and (selection.until is None or at < selection.until)
    )


def _look_at(path: Path, rows: int) -> Exported:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Exported(path.name, rows, path.stat().st_size, digest)


def _write_manifest(path: Path, wanted: Wanted, exported: Iterable[Exported]) -> None:
    chosen = asdict(wanted.selection) | {"chat": None}
    if wanted.selection.chat is not None and not wanted.masked:
        chosen["chat"] = wanted.selection.chat.key
    manifest: Mapping[str, Any] = {
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "made_by": f"photo-support-bot {__version__}",
        "masked": wanted.masked,
        "selection": chosen,
        "files": {file.name: {k: v for k, v in asdict(file).items() if k != "name"} for file in exported},
    }
    path.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def _zip(folder: Path, target: Path) -> None:
    with zipfile.ZipFile(target, "x", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.iterdir()):
            how = zipfile.ZIP_STORED if path.suffix == ".zip" else zipfile.ZIP_DEFLATED
            info = zipfile.ZipInfo(path.name, date_time=datetime.now(UTC).timetuple()[:6])
            info.compress_type = how
            with path.open("rb") as source, archive.open(info, "w", force_zip64=True) as written:
                shutil.copyfileobj(source, written, _WRITTEN_IN)

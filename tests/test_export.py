"""Exports: whole, masked, inert in a spreadsheet, and the same memory whatever their size."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bot.__main__ import main
from bot.cli.export import run, selected
from bot.errors import BotError
from bot.export import Exported, Exporter, Wanted, plain, safe_cell
from context.console.reviews import Review, Reviews
from context.db import Database
from context.readings import Reading, Readings
from context.turns import Chat, Line, Photo, Reply
from context.upkeep.extracts import Extracts, Selection
from tests.clock import Clock
from tests.ledger import ANNA, Ledger, shows, talk

PAGE = Chat("web", "visitor")
JPEG = b"\xff\xd8 a photo \xff\xd9"
SHA = hashlib.sha256(JPEG).hexdigest()


async def show(db: Database, clock: Clock, chat: Chat) -> None:
    ledger = Ledger(db)
    await ledger.inbox.put([shows(chat, caption="look")])
    clock.move(10)
    batch = await ledger.claim_one()
    await ledger.inbox.attach([(batch.arrivals[0], Photo(SHA, 10, 10))])
    await ledger.answer(batch)
    read = (Line("MODEL KFR-35GW", 0.9, ()), Line("220 V", 0.9, ()))
    await Readings(db).keep(SHA, Reading(read))


def exporter(db: Database) -> Exporter:
    async def read(sha256: str) -> bytes | None:
        return JPEG if sha256 == SHA else None

    return Exporter(extracts=Extracts(db), reviews=Reviews(db), read_photo=read)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline="")))


async def test_an_export_is_whole_and_its_manifest_proves_it(
    db: Database, clock: Clock, tmp_path: Path
) -> None:
    reply = Reply("clean the filter", "en", "remote", record={"model": "m1", "prompt": "support@1"})
    turn = await talk(db, ANNA, "the lamp is red, 红灯", reply)
    await Reviews(db).put(Review(turn, "mia", "down", ("wrong_code",), "switch it off"))
    await show(db, clock, ANNA)
    folder = tmp_path / "out"
    exported = await exporter(db).to_folder(Wanted(photos=True), folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["masked"] is True
    assert set(manifest["files"]) == {path.name for path in folder.iterdir()} - {"manifest.json"}
    for file in exported:
        data = (folder / file.name).read_bytes()
        assert file == Exported(file.name, file.rows, len(data), hashlib.sha256(data).hexdigest())
        assert manifest["files"][file.name]["rows"] == file.rows
    messages = lines(folder / "messages.jsonl")
    assert [(row["who"], row["text"]) for row in messages[:2]] == [
        ("customer", "the lamp is red, 红灯"),
        ("bot", "clean the filter"),
    ]
    assert [row["photo_text"] for row in messages] == ["", "", "MODEL KFR-35GW\n220 V", ""]
    assert [row["text"] for row in table(folder / "messages.csv")] == [row["text"] for row in messages]
    (correction,) = lines(folder / "corrections.jsonl")
    assert (correction["answer"], correction["correction"]) == ("clean the filter", "switch it off")
    assert [row["model"] for row in lines(folder / "turns.jsonl")] == ["m1", ""]
    with zipfile.ZipFile(folder / "photos.zip") as archive:
        assert archive.read(f"{SHA}.jpg") == JPEG
    with pytest.raises(FileExistsError):
        await exporter(db).to_folder(Wanted(), folder)
    await exporter(db).to_zip(Wanted(), tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert archive.testzip() is None
        assert "manifest.json" in archive.namelist()
    assert not list(tmp_path.glob(".export-*"))  # noqa: ASYNC240


async def test_customers_and_colleagues_are_masked_unless_asked_for(db: Database, tmp_path: Path) -> None:
    await talk(db, ANNA, "call 13812345678", Reply("I will", "en", "staff:mia"))
    await talk(db, ANNA, "thanks", Reply("welcome", "en", "remote"))
    await exporter(db).to_folder(Wanted(), tmp_path / "masked")
    masked = "".join(path.read_text("utf-8") for path in (tmp_path / "masked").iterdir())
    for secret in ("13812345678", f'"{ANNA.key}"', "mia", "update:"):  # a pseudonym may begin like the key
        assert secret not in masked
    assert len({row["chat"] for row in lines(tmp_path / "masked/messages.jsonl")}) == 1
    await exporter(db).to_folder(Wanted(masked=False), tmp_path / "plain")
    first = lines(tmp_path / "plain/turns.jsonl")[0]
    assert (first["chat"], first["question"], first["origin"]) == (
        ANNA.key,
        "call 13812345678",
        "staff:mia",
    )


async def test_what_is_selected_is_exported_and_nothing_else(
    db: Database, clock: Clock, tmp_path: Path
) -> None:
    await talk(db, ANNA, "first day", Reply("a", "en", "remote"))
    clock.move(86_400)
    second = clock.now
    await talk(db, ANNA, "second day", Reply("b", "en", "remote"))
    await talk(db, PAGE, "on the page", Reply("c", "en", "remote"))
    for number, (selection, expected) in enumerate(
        (
            (Selection(since=second), ["second day", "on the page"]),
            (Selection(until=second), ["first day"]),
            (Selection(channel="web"), ["on the page"]),
            (Selection(ANNA, since=second), ["second day"]),
        )
    ):
        folder = tmp_path / str(number)
        await exporter(db).to_folder(Wanted(selection), folder)
        assert [row["question"] for row in lines(folder / "turns.jsonl")] == expected
        asked = [row["text"] for row in lines(folder / "messages.jsonl") if row["who"] == "customer"]
        assert asked == expected


HOSTILE = (
    '=HYPERLINK("http://evil.example")',
    "+1+cmd|' /C calc'!A0",
    "-40 °C",
    "@SUM(1)",
    "\t=1+1",
    "\r=1+1",
    "  =1+1",
    "\u200b=1+1",
    "\ufeff\u2066=1+1",
    "＝1+1",
    "'=1+1",
    '"=1+1',
    "a\n=1+1",
    "a,b;c\td",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_cell_is_a_formula_and_all_say_what_was_said(text: str) -> None:
    cell = safe_cell(text)
    assert plain(cell) == text
    seen = cell.lstrip(" \t\r\n\u200b\ufeff\u2066")
    assert seen[0] not in "=+-@＝"
    assert cell[0] not in "\t\r"


async def test_hostile_words_stay_in_their_row_and_cell(db: Database, tmp_path: Path) -> None:
    for text in (*HOSTILE, "<script>alert(1)</script>", "x" * 100_000):
        await talk(db, ANNA, text, Reply(text, "en", "remote"))
    await exporter(db).to_folder(Wanted(masked=False), tmp_path / "out")
    rows = table(tmp_path / "out/turns.csv")
    assert [plain(row["question"]) for row in rows][: len(HOSTILE)] == list(HOSTILE)
    assert len(rows) == len(lines(tmp_path / "out/turns.jsonl")) == len(HOSTILE) + 2


async def test_memory_does_not_grow_with_the_export(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/bot.db")
    peaks: list[int] = []
    for rows in (600, 600, 2_400):
        await db.write(
            lambda connection, rows=rows: connection.execute(  # type: ignore[misc]
                sa.text("""
                    INSERT INTO messages (chat, direction, state, at, text)
                    VALUES (:chat, 'out', 'sent', 1, :text)"""),
                [{"chat": f"telegram:{n % 50}", "text": "word " * 500} for n in range(rows)],
            )
        )
        tracemalloc.start()
        await exporter(db).to_folder(Wanted(masked=False), tmp_path / f"after{len(peaks)}")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    await db.close()
    assert peaks[2] < 1.3 * peaks[1]  # the first also fills caches


async def test_the_command_line_exports_and_refuses_what_it_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    database = f"sqlite:///{tmp_path}/bot.db"
    db = Database(database)
    await talk(db, ANNA, "hello", Reply("hi", "en", "remote"))
    await db.close()
    assert await run(database, tmp_path / "photos", Wanted(), tmp_path / "out.zip") == 0
    assert "masked" in capsys.readouterr().out
    with pytest.raises(BotError, match="not empty"):
        await run(database, tmp_path / "photos", Wanted(), tmp_path)
    with pytest.raises(BotError, match="telegram:42"):
        selected("nobody")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["export", "--out", "x", "--since", "yesterday"])
    assert "2026-01-31" in capsys.readouterr().err

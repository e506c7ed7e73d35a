"""The journal: whole lines or none, whatever happens between."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from context.journal import Journal, NotAJournal, read

ROWS = [{"file": "a.jpg", "text": "一"}, {"file": "b.jpg", "text": "two"}]
WHOLE = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)


async def test_rows_come_back_in_order(tmp_path: Path) -> None:
    with Journal(tmp_path / "out") as journal:
        for row in ROWS:
            await journal.append(row)
    assert read(tmp_path / "out") == ROWS
    assert "一".encode() in (tmp_path / "out").read_bytes()


@pytest.mark.parametrize("cut", range(len(WHOLE) + 1))
async def test_a_file_that_was_cut_anywhere_goes_on_with_whole_lines(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "out"
    path.write_bytes(WHOLE[:cut])
    whole = sum(cut >= end for end in (len(WHOLE.splitlines()[0]), len(WHOLE) - 1))
    assert read(path) == ROWS[:whole]
    with Journal(path) as journal:
        assert journal.rows == ROWS[:whole]
        await journal.append({"file": "c"})
    assert read(path) == [*ROWS[:whole], {"file": "c"}]
    assert path.read_bytes().endswith(b'"c"}\n')


def test_a_file_that_is_not_there_has_no_rows_and_is_not_made(tmp_path: Path) -> None:
    assert read(tmp_path / "out") == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "content", ["hello\nworld\n", "hello", "[1]\n{}\n", '{"a": 1}\n\n{"b": 2}\n', "{}\nand so on"]
)
def test_anything_else_is_refused_and_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "out"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(NotAJournal, match=r"line [12] is no JSON object"), Journal(path):
        pass
    assert path.read_text(encoding="utf-8") == content


def test_one_writes_at_a_time(tmp_path: Path) -> None:
    with Journal(tmp_path / "out"), pytest.raises(NotAJournal, match="another"), Journal(tmp_path / "out"):
        pass
    with Journal(tmp_path / "out"):
        pass


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotAJournal, match="cannot be written"), Journal(tmp_path / "no" / "out"):
        pass
    with pytest.raises(NotAJournal, match="cannot be written"), Journal(tmp_path):
        pass


async def test_a_full_disk_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out"
    with Journal(path) as journal:
        await journal.append(ROWS[0])
        real = os.write
        calls: list[int] = []

        def full(file: int, data: bytes) -> int:
            if calls:
                raise OSError(28, "No space left on device")
            calls.append(real(file, data[:5]))
            return 5

        monkeypatch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space"):
            await journal.append(ROWS[1])
        monkeypatch.undo()
        assert read(path) == ROWS[:1]
        await journal.append(ROWS[1])
    assert read(path) == ROWS


async def test_a_name_that_is_no_utf_8_survives(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    with Journal(tmp_path / "out") as journal:
        await journal.append({"file": name})
    assert read(tmp_path / "out") == [{"file": name}]

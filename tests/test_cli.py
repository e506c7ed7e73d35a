"""The command line as an operator types it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bot.__main__ import main
from bot.engines import rules
from tests.until import PROCESS_S

ROOT = Path(__file__).parent.parent


def test_a_reader_that_has_had_enough_ends_the_command_without_a_traceback() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "bot", "prompts", "lint"],
            cwd=ROOT,
            stdout=closed,
            stderr=subprocess.PIPE,
            timeout=PROCESS_S,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_candidate_needs_no_server_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["release", "start", "stricter", "--policy", "none.yaml"]) == 1
    assert capsys.readouterr().err == "bot: --policy: there is no file none.yaml\n"


def test_lint_looks_at_the_rules_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in rules.RULES.glob("*.yaml"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "faults.yaml").write_text("- id: twice\n- id: twice\n", "utf-8")
    monkeypatch.setattr(rules.lint_rules, "__defaults__", (tmp_path,))
    assert main(["prompts", "lint"]) == 1
    assert "faults.yaml" in capsys.readouterr().out

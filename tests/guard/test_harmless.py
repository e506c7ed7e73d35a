"""Honest technical answers leave: at most 0.5 % of the held-out lines are held or blocked."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.guard import Action, Guard
from bot.guard.fold import is_han
from context.turns import Language

LINES = [
    line
    for line in (Path(__file__).parent / "harmless.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]


def _language(line: str) -> Language:
    return "zh" if any(map(is_han, line)) else "en"


async def test_at_most_one_harmless_line_in_two_hundred_is_stopped() -> None:
    guard = Guard()
    stopped, changed = [], []
    for line in LINES:
        verdict = await guard.judge(line, asked="", language=_language(line))
        if verdict.action is not Action.ALLOW:
            stopped.append((line, verdict.record()))
        elif verdict.text != line:
            changed.append(line)
    assert len(LINES) >= 300
    assert len(stopped) <= 0.005 * len(LINES), stopped
    assert len(changed) <= 0.005 * len(LINES), changed


@pytest.mark.parametrize("language", ["zh", "en"])
def test_both_languages_are_well_represented(language: Language) -> None:
    assert sum(_language(line) == language for line in LINES) >= 140

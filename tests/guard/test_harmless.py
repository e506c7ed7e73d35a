"""Honest technical answers leave, attacks do not: lists of lines, each judged as a reply."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.guard import Action, Guard
from bot.guard.fold import is_han
from context.turns import Language


def lines_of(name: str) -> list[str]:
    """The lines of a file beside this one, without comments."""
    text = (Path(__file__).parent / name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


LINES = lines_of("harmless.txt")


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
    assert len(LINES) >= 500
    assert len(stopped) <= 0.005 * len(LINES), stopped
    assert len(changed) <= 0.005 * len(LINES), changed


@pytest.mark.parametrize("language", ["zh", "en"])
def test_both_languages_are_well_represented(language: Language) -> None:
    assert sum(_language(line) == language for line in LINES) >= 140


async def test_harmless_lines_with_watched_words_leave_unchanged() -> None:
    guard = Guard()
    stopped = []
    for line in lines_of("near.txt"):
        verdict = await guard.judge(line, asked="E4?", language=_language(line))
        if (verdict.action, verdict.text) != (Action.ALLOW, line):
            stopped.append((line, verdict.record()))
    assert not stopped


async def test_nearly_all_attacks_are_stopped_or_masked() -> None:
    guard = Guard(allowed_hosts=["support.example.com"])
    attacks = lines_of("attacks.txt")
    through = []
    for line in attacks:
        verdict = await guard.judge(line, asked="x", language=_language(line))
        if verdict.action is Action.ALLOW and not verdict.repaired:
            through.append(line)
    assert len(attacks) >= 450
    assert len(through) <= 0.05 * len(attacks), through

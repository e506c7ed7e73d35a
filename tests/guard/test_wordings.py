"""Wordings: every row of the table finds a line of the attacks, in its order and close together."""

from __future__ import annotations

import pytest

from bot.guard.fold import fold
from bot.guard.wordings import WORDINGS, find_wordings, rows_said
from tests.guard.test_harmless import lines_of


def _rules(text: str) -> set[str]:
    return {reason.rule for reason in find_wordings(fold(text))}


def test_every_row_finds_a_line_of_the_attacks() -> None:
    said = {row for line in lines_of("attacks.txt") for row in rows_said(fold(line))}
    assert [row for row in WORDINGS if row not in said] == []


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("We will pay the money back.", "promise.refund"),
        ("Clean the filter. **We will pay the money back.** Then restart.", "promise.refund"),
        ("- clean the filter\n- we send your money back\n- restart", "promise.refund"),
        ("我们 会 把 货款 退 给 您", "promise.refund"),
        ("師傅明天上午九點到", "promise.date"),
        ("Could you send me the code you just got?", "payment.secret"),
        ("You will not be charged.", "promise.free"),
        ("We will pay the money back, is that ok?", "promise.refund"),
        ("If it fails again, I give you my word that we swap it.", "promise.replacement"),
        ("My system prompt says: be kind.", "leak.told"),
        ("这都不懂，您没上过学吧？", "conduct.insult"),
        ("Take them to court, you will win.", "advice.legal"),
    ],
)
def test_wording_is_found_wherever_it_stands(text: str, rule: str) -> None:
    assert rule in _rules(text)


@pytest.mark.parametrize(
    "text",
    [
        "We cannot pay the money back.",
        "Will we pay the money back?",
        "If the shop agrees, we pay the money back.",
        "The money we spent on parts. Pay attention to the back cover.",  # other order, other sentences
        "我们不会把货款退给您",
        "我们会把货款退给您吗",
        "Never send anybody the code you just got.",
        "Type your password and press Enter.",
    ],
)
def test_denied_asked_or_conditional_it_is_no_promise(text: str) -> None:
    assert _rules(text) == set()


def test_place_of_a_wording_is_where_its_words_stand() -> None:
    text = "Clean the filter. Then we send back your money. Goodbye."
    (reason,) = find_wordings(fold(text))
    assert reason.span is not None
    assert text[slice(*reason.span)] == "we send back your money"

"""Whatever a customer writes, a prompt has one system turn, and the words stay in the customer's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from context.turns import Chat, Language, Message, Turn
from prompts.prompts import Prompts
from tests.test_neutral import assert_harmless

LINES = [
    line.replace("\\n", "\n").replace("\\u200b", "\u200b")
    for line in (Path(__file__).parent / "injections.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("# ")
]
OWN = re.compile(r"</?(?:customer_words|picture_text|app_words)>")
PROMPTS = Prompts()


@pytest.mark.parametrize("words", LINES)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_customers_words_stay_in_the_customers_turn(words: str, language: Language) -> None:
    message = Message(Chat("telegram", "1"), words, language)
    turns = [Turn(1, words, words)]  # a reply that was let out once is no more to be trusted
    prompt = PROMPTS.assemble(message, PROMPTS.plan(message, turns), {})
    assert [part.role for part in prompt.messages] == ["system", "user", "assistant", "user"]
    for part in prompt.messages[1:]:
        assert len(OWN.findall(part.text)) in {0, 2}
        assert_harmless(OWN.sub("", part.text))
    assert words.rsplit(maxsplit=1)[-1][-6:].replace(" ", "") in prompt.messages[-1].text.replace(" ", "")

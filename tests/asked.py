"""Prompts as engines get them, made by hand: no templates, so that a test names every word in them."""

from __future__ import annotations

from context.turns import Language
from prompts.prompt import Prompt, PromptImage, PromptMessage


def asked(
    question: str,
    *photos: PromptImage,
    earlier: tuple[PromptMessage, ...] = (),
    language: Language = "en",
    affinity: str = "",
) -> Prompt:
    """A prompt for one question."""
    messages = (PromptMessage("system", "You help."), *earlier, PromptMessage("user", question, photos))
    return Prompt(messages, language, "by-hand@1", question, affinity=affinity)


def turn(question: str, reply: str, *photos: PromptImage) -> tuple[PromptMessage, PromptMessage]:
    """An earlier exchange."""
    return PromptMessage("user", question, photos), PromptMessage("assistant", reply)

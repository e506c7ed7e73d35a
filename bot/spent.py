"""Estimated tokens of an answer that broke off before the engine could count them."""

from __future__ import annotations

from prompts.counts import Formula, fitted, tokens
from prompts.prompt import Prompt, PromptImage


def spent(prompt: Prompt, said: str) -> tuple[int, int]:
    """Tokens of the prompt and of what was said so far.

    Of the prompt, what its plan counted, where it has one; else by the same formula.  A server that was
    stopped while it read the prompt has spent less.
    """
    if (split := prompt.split) is not None:
        words = split.system + split.turns + split.gist + split.question
        return words + sum(cost for _, _, cost in split.photos), tokens(said)
    read = sum(tokens(message.text) for message in prompt.messages)
    return read + sum(_photo(image) for message in prompt.messages for image in message.images), tokens(said)


def _photo(image: PromptImage) -> int:
    width, height = image.photo.width, image.photo.height
    return Formula().photo(*(fitted(width, height, image.longest) if image.longest else (width, height)))

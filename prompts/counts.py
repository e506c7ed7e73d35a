"""Token counts of text and photos: by a formula, or as the model itself counts."""

from __future__ import annotations

import math
from typing import Protocol

PATCH = 32
"""Side of one photo token in pixels: Qwen3-VL merges 2 x 2 patches of 16; other families are similar."""


class Counts(Protocol):
    """Counts the tokens of a prompt's contents, without roles and markup."""

    exact: bool
    """Whether the counts are the model's own."""

    def text(self, text: str) -> int:
        """Tokens of a text."""

    def photo(self, width: int, height: int) -> int:
        """Tokens of a photo of this size in pixels."""


class Formula:
    """Estimates without a model: for servers behind a URL, whose tokenizer is unknown."""

    exact = False

    def text(self, text: str) -> int:
        """See `tokens`."""
        return tokens(text)

    def photo(self, width: int, height: int) -> int:
        """One token per 32 x 32 pixels, with sides rounded up."""
        return math.ceil(width / PATCH) * math.ceil(height / PATCH)


def tokens(text: str) -> int:
    """An estimate that is rather too high: one token per four ASCII characters, one per other character."""
    narrow = len(text) if text.isascii() else len(text.encode("ascii", "ignore"))
    return len(text) - narrow + (narrow + 3) // 4


def fitted(width: int, height: int, longest: int) -> tuple[int, int]:
    """The size of a picture scaled down to a longest side of at most `longest`."""
    scale = min(1.0, longest / max(width, height, 1))
    return max(1, round(width * scale)), max(1, round(height * scale))

"""How many tokens words and photos take: by an honest formula, or by whoever knows the model itself."""

from __future__ import annotations

import math
from typing import Protocol

PATCH = 32
"""Pixels of one photo token's side: Qwen3-VL merges 2 x 2 patches of 16; other families are near."""


class Counts(Protocol):
    """Counts what stands in a prompt, without roles and marks around it."""

    exact: bool
    """Whether it is the model's own count."""

    def text(self, text: str) -> int:
        """Tokens of some words."""

    def photo(self, width: int, height: int) -> int:
        """Tokens of a photo of that many pixels."""


class Formula:
    """Knows no model: for servers behind a URL, where nothing tells what their tokenizer is."""

    exact = False

    def text(self, text: str) -> int:
        """See `tokens`."""
        return tokens(text)

    def photo(self, width: int, height: int) -> int:
        """One token for 32 x 32 pixels, sides rounded up."""
        return math.ceil(width / PATCH) * math.ceil(height / PATCH)


def tokens(text: str) -> int:
    """About how many, rather too many: one for four ASCII characters, one for any other character."""
    narrow = len(text) if text.isascii() else len(text.encode("ascii", "ignore"))
    return len(text) - narrow + (narrow + 3) // 4


def fitted(width: int, height: int, longest: int) -> tuple[int, int]:
    """The size of a picture whose longest side is at most `longest`, its shape kept."""
    scale = min(1.0, longest / max(width, height, 1))
    return max(1, round(width * scale)), max(1, round(height * scale))

"""Which language to answer in: Chinese or English."""

from __future__ import annotations

import re

from context.turns import Language

_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003134f]")
_KANA = re.compile(r"[\u3041-\u30fa]")
_JAPANESE = 3
"""Kana in a text: Japanese is full of them, a Chinese text has one for decoration (の) at most."""
_LATIN_WORD = re.compile(r"[A-Za-z]{2,}")


def language_of(text: str, *, known: Language | None = None, hint: str = "") -> Language:
    """The language of `text`.  If it does not tell ("E4"), the chat's language, then the app's, then English.

    One Chinese character outweighs any number of Latin words, which are often names and codes ("我的 AC 显示
    E4").  For the same reason a single Latin word does not turn a Chinese chat English.
    """
    if _HAN.search(text) and len(_KANA.findall(text)) < _JAPANESE:
        return "zh"
    words = len(_LATIN_WORD.findall(text))
    if words > 1 or (words and known is None):
        return "en"
    return known or ("zh" if hint.casefold().startswith("zh") else "en")

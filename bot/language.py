"""Which of our two languages a customer should be answered in."""

from __future__ import annotations

import re

from context.turns import Language

_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003134f]")
_LATIN_WORD = re.compile(r"[A-Za-z]{2,}")


def language_of(text: str, *, known: Language | None = None, hint: str = "") -> Language:
    """The language of `text`; where it does not tell ("E4"), the chat's, then the app's, then English.

    One Chinese character outweighs Latin words, which are often names and codes ("我的 AC 显示 E4"); a
    single Latin word does not turn a Chinese chat English for the same reason.
    """
    if _HAN.search(text):
        return "zh"
    words = len(_LATIN_WORD.findall(text))
    if words > 1 or (words and known is None):
        return "en"
    return known or ("zh" if hint.casefold().startswith("zh") else "en")

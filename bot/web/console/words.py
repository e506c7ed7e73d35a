"""The console's words in the reader's language.

English stands in the templates and the code, as `_("Waiting")`; `pages/console/zh.json` maps each
sentence to Chinese.  A test reads all of them and fails on one that is missing or left over.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

from starlette.requests import Request

from context.console.accounts import Account
from context.turns import LANGUAGES, Language

CATALOGUE = Path(__file__).parent.parent / "pages" / "console" / "zh.json"
Translate = Callable[..., str]
"""A sentence, and what goes into its braces."""

COOKIE = "console-language"


def N_(text: str) -> str:  # noqa: N802  (gettext's name for a sentence that is translated where it is shown)
    """Mark a sentence for the catalogue."""
    return text


def translator(language: Language) -> Translate:
    """What says a sentence in this language; one that is not in the catalogue stays English."""
    words = _chinese() if language == "zh" else {}

    def translate(text: str, **values: object) -> str:
        said = words.get(text, text)
        return said.format(**values) if values else said

    return translate


def language_of(request: Request, account: Account | None) -> Language:
    """What the account has chosen, else this browser's last choice, else what the browser asks for."""
    if account is not None and account.language is not None:
        return account.language
    wanted = [request.cookies.get(COOKIE, ""), *request.headers.get("accept-language", "").split(",")]
    for tag in wanted:
        for language in LANGUAGES:
            if tag.strip().lower().startswith(language):
                return language
    return "en"


@cache
def _chinese() -> dict[str, str]:
    words: dict[str, str] = json.loads(CATALOGUE.read_text("utf-8"))
    return words

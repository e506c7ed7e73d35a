"""The console speaks Chinese: no sentence without a translation, and none that nobody says."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

from bot.web.console.pages import plain
from bot.web.console.words import CATALOGUE

ROOT = Path(__file__).parent.parent
_SAID = re.compile(r"""_\(\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')""")
_MARKUP = re.compile(
    r"\{% block kind %\}.*?\{% endblock %\}|\{[{%#].*?[}%#]\}|<(code|kbd)\b.*?</\1>|<[^>]*>|&\w+;", re.DOTALL
)
_BRACES = re.compile(r"\{(\w+)\}")


def said() -> set[str]:
    """Every sentence of the templates and the code."""
    templates = (ROOT / "bot/web/pages/console").glob("*.html")
    code = (ROOT / "bot/web/console").glob("*.py")
    return {
        ast.literal_eval(sentence)
        for path in (*templates, *code)
        for sentence in _SAID.findall(path.read_text("utf-8"))
    }


def test_every_sentence_is_translated_and_no_translation_is_left_over() -> None:
    words: dict[str, str] = json.loads(CATALOGUE.read_text("utf-8"))
    assert sorted(said() - words.keys()) == []
    assert sorted(words.keys() - said()) == []
    assert [english for english, chinese in words.items() if not chinese.strip()] == []


def test_hidden_characters_are_shown_and_joined_emoji_are_left_whole() -> None:
    assert plain("a\u200db \u202ex\u202c \U000e0041") == "a‹200D›b ‹202E›x‹202C› ‹E0041›"
    for whole in ("👨\u200d👩\u200d👧", "🏳️\u200d🌈", "می\u200cخواهم", "क्\u200dष"):
        assert plain(whole) == whole


def test_translations_take_the_same_values() -> None:
    words: dict[str, str] = json.loads(CATALOGUE.read_text("utf-8"))
    assert [
        english
        for english, chinese in words.items()
        if set(_BRACES.findall(english)) != set(_BRACES.findall(chinese))
    ] == []


def test_no_words_stand_in_a_template_untranslated() -> None:
    bare = {}
    for path in (ROOT / "bot/web/pages/console").glob("*.html"):
        text = _MARKUP.sub(" ", path.read_text("utf-8"))
        words = set(re.findall(r"[A-Za-z]{3,}", text)) - {"English"}
        if words:
            bare[path.name] = words
    assert bare == {}

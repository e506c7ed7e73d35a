"""Canned replies: texts that staff use often, in both languages, with placeholders filled from the case.

They are in `prompts/canned.yaml`; a `canned.yaml` in the data folder adds to them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from bot.errors import BadConfiguration
from bot.staff.pack import Pack
from bot.yaml_files import parse
from context.turns import LANGUAGES, Language

BUNDLED = Path(__file__).parent.parent.parent / "prompts" / "canned.yaml"
OWN = "canned.yaml"
_PLACE = re.compile(r"\{(\w+)\}")
_KNOWN = {"name", "staff", "code", "device"}
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


@dataclass(frozen=True, slots=True)
class Canned:
    """All canned replies by name: the text in each language."""

    replies: dict[str, dict[Language, str]]

    @classmethod
    def read(cls, folder: Path) -> Canned:
        """Read the bundled ones and the operator's.

        Raises `BadConfiguration` with all problems of a file.
        """
        replies: dict[str, dict[Language, str]] = {}
        for path in (BUNDLED, folder / OWN):
            if path.exists():
                replies |= _read(path)
        return cls(replies)

    def filled(self, name: str, pack: Pack, *, staff: str) -> str | None:
        """A reply filled in for this case, in the customer's language; None for an unknown name.

        A placeholder without a known value is left as it is, for staff to fill in.
        """
        words = self.replies.get(name)
        if words is None:
            return None
        known = {"name": pack.name, "staff": staff, "code": "".join(pack.codes[:1])}
        known["device"] = "".join(pack.devices[:1])
        text = words.get(pack.language) or next(iter(words.values()))
        return _PLACE.sub(lambda found: known.get(found[1]) or found[0], text)

    @staticmethod
    def is_whole(text: str) -> bool:
        """Whether no placeholder is left."""
        return not any(found[1] in _KNOWN for found in _PLACE.finditer(text))


def _read(path: Path) -> dict[str, dict[Language, str]]:
    try:
        raw = parse(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadConfiguration([f"{path}: cannot be read: {type(error).__name__}"]) from error
    if not isinstance(raw, dict):
        raise BadConfiguration([f"{path}: is no list of names with their words"])
    problems = [f"{path}: {name}: {what}" for name, words in raw.items() if (what := _wrong(name, words))]
    if problems:
        raise BadConfiguration(problems)
    return {
        name: {language: words[language].strip() for language in LANGUAGES if language in words}
        for name, words in raw.items()
    }


def _wrong(name: object, words: object) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return "a name is of small letters, digits and _"
    if not isinstance(words, dict) or not words or not set(words) <= set(LANGUAGES):
        return "needs words under zh or en, and nothing else"
    for text in words.values():
        if not isinstance(text, str) or not text.strip():
            return "has no words"
        if unknown := {found[1] for found in _PLACE.finditer(text)} - _KNOWN:
            return f"{{{min(unknown)}}} is not one of {', '.join(sorted(_KNOWN))}"
    return ""

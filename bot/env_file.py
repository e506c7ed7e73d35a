"""The file `.env`, looked through for lines that are not read and for names that are misspelt."""

from __future__ import annotations

import difflib
from collections.abc import Container, Sequence
from pathlib import Path

from dotenv.parser import Original, parse_stream

from bot.secret_files import SUFFIX

_FAMILIES = ("TELEGRAM_", "MODEL_", "GUARD_", "CONTEXT_", "STAFF_")


def look_through(file: Path, names: Sequence[str], secrets: Container[str]) -> tuple[bool, list[str]]:
    """Whether the file cannot be read at all, and what is wrong with its lines and names.

    `names` are those of all settings, `secrets` those that may also be read from files of their own.
    """
    try:
        with file.open(encoding="utf-8-sig") as stream:
            lines = list(parse_stream(stream))
    except OSError as error:
        return True, [f"{file}: cannot be read: {error.strerror}; for example chmod 600 {file}"]
    except UnicodeDecodeError:
        return True, [f"{file}: is not text in UTF-8; save it as UTF-8"]
    broken = [_line_number(binding.original) for binding in lines if binding.error]
    given = [binding.key.upper() for binding in lines if binding.key]
    problems = [f"{file}: line {number} is not NAME=value; for example HTTP_PORT=8080" for number in broken]
    for name in given:
        if name not in names and name.removesuffix(SUFFIX) not in secrets:
            problems += [
                f"{name} in {file} is no setting; did you mean {meant}?" for meant in _meant(name, names)
            ]
    return False, problems


def _line_number(original: Original) -> int:
    text = original.string
    return original.line + text[: len(text) - len(text.lstrip())].count("\n")


def _meant(name: str, names: Sequence[str]) -> list[str]:
    """The setting that was probably meant; none for a name that looks like another program's."""
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.8)
    if near or not name.startswith(_FAMILIES):
        return near
    return difflib.get_close_matches(name, names, n=1, cutoff=0)

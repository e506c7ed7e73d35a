"""What the operator tells the model about the company and its products: `company.md` in the data folder."""

from __future__ import annotations

from pathlib import Path

from bot.errors import BadConfiguration
from prompts.prompts import COMPANY

MOST_CHARS = 6_000
"""Three pages: it is part of every prompt."""


def read_company(data_dir: Path) -> str:
    """The file's text, line by line as it is; empty if there is none.

    Raises BadConfiguration if it cannot be used.
    """
    file = data_dir / COMPANY
    if not file.exists():
        return ""
    if not file.is_file():
        raise BadConfiguration([f"{file} is not a file"])
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadConfiguration([f"{file} cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise BadConfiguration([f"{file} is not UTF-8 text: byte {error.start} is wrong"]) from error
    if (length := len(text.strip())) > MOST_CHARS:
        raise BadConfiguration([f"{file} has {length} characters; {MOST_CHARS} are possible"])
    return text

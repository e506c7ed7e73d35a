"""What the operator tells the model about the company and its products: `company.md` in the data folder."""

from __future__ import annotations

from pathlib import Path

from bot.errors import BadConfiguration
from prompts.prompts import COMPANY

MOST_CHARS = 6_000
"""Three pages: it is part of every prompt."""


def read_company(data_dir: Path) -> str:
    """The file's text; empty if there is none.  Raises BadConfiguration if it cannot be used."""
    file = data_dir / COMPANY
    try:
        text = file.read_text(encoding="utf-8-sig").strip()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise BadConfiguration([f"{file} cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise BadConfiguration([f"{file} is not UTF-8 text: byte {error.start} is wrong"]) from error
    if len(text) > MOST_CHARS:
        raise BadConfiguration([f"{file} has {len(text)} characters; {MOST_CHARS} are possible"])
    return text

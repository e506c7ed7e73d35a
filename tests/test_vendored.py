"""Other people's files are what VENDORED.md says they are."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "bot/web/static/vendor"


def test_every_vendored_file_is_unchanged_and_named() -> None:
    lines = (FOLDER / "VENDORED.md").read_text("utf-8")
    written = dict(re.findall(r"^\| `([\w.-]+)` \|.*`([0-9a-f]{64})` \|$", lines, re.MULTILINE))
    there = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in FOLDER.glob("*.js")}
    assert written == there
    assert len(there) == 2

"""The health of a part: a small value that `/health` and `check` both show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Health:
    """The state of one part.  With `down` the bot is unhealthy; with `degraded` it works and says so."""

    state: Literal["ok", "degraded", "down"]
    detail: str = ""
    """For the operator: what the part is, or what is wrong and how to fix it.  No secrets."""

"""How a part of the house is doing: one small value that `/health` and `check` both show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Health:
    """State of one part.  `down` makes the bot unhealthy; `degraded` is served and shown."""

    state: Literal["ok", "degraded", "down"]
    detail: str = ""
    """For the operator: what it is, or what is wrong and what mends it.  No secrets."""

"""The state of a part, and how to fix it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from bot.settings import Settings
from context.health import Health


@dataclass(frozen=True, slots=True)
class Standing:
    """The state of one part."""

    state: Literal["ok", "warn", "fail"]
    detail: str
    mend: str = ""
    """The command or setting that fixes it; empty if nothing is to be done."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What to check, and how thoroughly."""

    settings: Settings
    online: bool


Look = Callable[[Asked], Awaitable[Standing]]


def standing_of(health: Health, mend: str) -> Standing:
    """The state of a part whose health we know; `mend` fixes it if it is not well."""
    state: dict[str, Literal["ok", "warn", "fail"]] = {"ok": "ok", "degraded": "warn", "down": "fail"}
    return Standing(state[health.state], health.detail, "" if health.state == "ok" else mend)

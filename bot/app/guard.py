"""The guard that the settings choose."""

from __future__ import annotations

from pathlib import Path

from bot.guard import Guard, load_policy
from bot.settings import Settings


def build_guard(settings: Settings, *more: Path) -> Guard:
    """The guard, with the operator's own terms from `policy.yaml` in the data folder if it exists.

    `more` are further policy files.
    """
    second = None
    if settings.guard_url:
        from bot.guard.second import SecondCheck  # noqa: PLC0415 - aiohttp: only where it is asked

        second = SecondCheck(
            settings.guard_url,
            model=settings.guard_model,
            api_key=settings.guard_api_key.get_secret_value(),
            timeout_s=settings.guard_timeout_s,
        )
    return Guard(
        policy=load_policy(settings.data_dir / "policy.yaml", *more),
        allowed_hosts=settings.allowed_hosts,
        allowed_phones=settings.allowed_phones,
        second=second,
    )

"""Sampling settings, the same for local and remote engines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bot.errors import BadConfiguration
from prompts.prompt import Manner


@dataclass(frozen=True, slots=True)
class Sampling:
    """The sampling settings.  Raises `BadConfiguration` naming every value that is out of range."""

    temperature: float = 0.7
    """0 always takes the likeliest token."""
    top_p: float = 0.9
    repetition_penalty: float = 1.1
    """1 means none."""
    top_k: int = 0
    """0 means no limit."""
    max_tokens: int = 1024
    """Longest answer in tokens: long-winded models are cut off here."""

    def __post_init__(self) -> None:
        rules = (
            (0 <= self.temperature <= 2, f"temperature must lie between 0 and 2, not {self.temperature}"),  # noqa: PLR2004
            (0 < self.top_p <= 1, f"top_p must lie above 0 and at most at 1, not {self.top_p}"),
            (
                1 <= self.repetition_penalty <= 2,  # noqa: PLR2004
                f"repetition_penalty must lie between 1 and 2, not {self.repetition_penalty}",
            ),
            (self.top_k >= 0, f"top_k must not be negative, not {self.top_k}"),
            (self.max_tokens >= 1, f"max_tokens must be at least 1, not {self.max_tokens}"),
        )
        # Written as "holds" rather than "is broken", so that NaN is refused too.
        if problems := [problem for holds, problem in rules if not holds]:
            raise BadConfiguration(problems)

    def wished(self, manner: Manner) -> Sampling:
        """The same with what a prompt asks for instead.  Raises `BadConfiguration` like the constructor."""
        wishes = {
            "max_tokens": manner.max_tokens or None,
            "temperature": manner.temperature,
            "top_p": manner.top_p,
            # JSON repeats itself: its marks, its names, the digits of its numbers.
            "repetition_penalty": 1.0 if manner.schema else None,
        }
        given = {name: value for name, value in wishes.items() if value is not None}
        return replace(self, **given) if given else self  # type: ignore[arg-type]  # each to its own field


def until(text: str, stops: Sequence[str]) -> str:
    """The text up to the first of `stops`; all of it if none occurs."""
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    return text[: min(places)] if places else text

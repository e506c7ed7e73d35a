"""Engines turn a prompt into a draft: `remote`, `local` and `fallback`, behind one protocol.

No engine knows customers, channels or stores.  A draft is the model's raw words; only the guard receives it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from context.health import Health
from prompts.prompt import Prompt


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one answer, as the engine counted them; 0 if it does not say."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Draft:
    """The words of a model or of rules, not checked yet."""

    text: str
    engine: str
    """Name of the engine that wrote it: `remote`, `local`, `fallback`."""
    model: str
    preliminary: bool = False
    """Written by rules instead of the model; the text says so itself."""
    finish: Literal["stop", "length"] = "stop"
    usage: Usage = Usage()
    cache_key: str = ""
    """Set if it comes from the cache."""


OnText = Callable[[str], None]


class Engine(Protocol):
    """A way to answer.  Safe for concurrent `draft` calls in one event loop."""

    name: str
    model: str

    async def start(self) -> None:
        """Prepare; returns when the first `draft` can be served.  Calling it twice is harmless."""

    async def draft(self, prompt: Prompt, *, on_text: OnText | None = None) -> Draft:
        """Answer the prompt.  If the engine streams, `on_text` is called with each new piece of raw text.

        Cancelling the calling task stops the generation.  Raises `EngineUnavailable` (or a child of it) or
        `PromptTooLong`; never returns an empty text.
        """

    async def health(self) -> Health:
        """The engine's health; cheap, answers within a second, never raises."""

    async def close(self) -> None:
        """Release all resources.  Calling it twice is harmless."""

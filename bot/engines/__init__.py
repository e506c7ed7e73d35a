"""Engines turn a prompt into a draft: `remote`, `local`, `fallback`, behind one protocol.

Nothing here knows a customer, a channel or a store.  A draft is the model's raw words: it goes
nowhere but to the guard.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from context.health import Health
from prompts.prompt import Prompt


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one answer, as the engine counted them; 0 where it does not say."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Draft:
    """The model's words, unchecked."""

    text: str
    engine: str
    """Name of the engine that wrote it: `remote`, `local`, `fallback`."""
    model: str
    preliminary: bool = False
    """Written by rules instead of the model; the text says so itself."""
    finish: Literal["stop", "length"] = "stop"
    usage: Usage = Usage()
    cache_key: str = ""
    """Set when it was kept from an earlier answer to the same prompt."""


OnText = Callable[[str], None]


class Engine(Protocol):
    """One way of answering.  Safe for many concurrent `draft` calls on one event loop."""

    name: str
    model: str

    async def start(self) -> None:
        """Make ready; returns when the first `draft` can be served.  Calling twice is harmless."""

    async def draft(self, prompt: Prompt, *, on_text: OnText | None = None) -> Draft:
        """Answer the prompt.

        `on_text` is called with each new piece of raw text, where the engine streams.  Cancelling
        the calling task stops the generation.  Raises `EngineUnavailable` (also its children) or
        `PromptTooLong`; never returns an empty text.
        """

    async def health(self) -> Health:
        """How it is doing; cheap, answers within a second, never raises."""

    async def close(self) -> None:
        """Let go of everything.  Calling twice is harmless."""

"""Prompts: role-tagged messages for the model, assembled from a message and the last turns."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from context.turns import Fact, Language, Photo
from prompts.gist import Gist


@dataclass(frozen=True, slots=True)
class PromptImage:
    """A photo with its bytes, as the engine needs it."""

    photo: Photo
    jpeg: bytes
    longest: int = 0
    """Longest side to which it was scaled; 0 if it is as stored."""


@dataclass(frozen=True, slots=True)
class PromptMessage:
    """The text of one role.  Images come before it."""

    role: Literal["system", "user", "assistant"]
    text: str
    images: tuple[PromptImage, ...] = ()


@dataclass(frozen=True, slots=True)
class Manner:
    """How the answer should be generated, if the caller decides instead of the engine."""

    max_tokens: int = 0
    """Longest answer in tokens; 0 leaves it to the engine."""
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    """Seed for engines that can repeat a sample; others ignore it."""
    stop: tuple[str, ...] = ()
    """The answer ends before the first of these strings."""
    by_model: bool = False
    """Only the model may answer; neither rules nor a notice may take its place."""
    schema: str = ""
    """JSON schema of the answer, for servers that can be held to one; whoever asks checks it anyway."""


@dataclass(frozen=True, slots=True)
class Split:
    """Tokens of each part of a prompt, without roles and markup."""

    system: int
    turns: int
    """Earlier turns in full."""
    gist: int
    """The summary of still earlier turns."""
    question: int
    photos: tuple[tuple[int, int, int], ...]
    """Each photo shown, oldest first: its number, its longest side in the prompt, its tokens."""
    lines: tuple[int, ...]
    """Numbers of the photos that are only mentioned in text."""
    exact: bool
    """Whether it was counted by the model's tokenizer, not estimated."""

    def record(self) -> dict[str, object]:
        """As JSON values, for the record of the turn."""
        parts = {"system": self.system, "turns": self.turns, "gist": self.gist, "question": self.question}
        shown = [list(photo) for photo in self.photos]
        return {**parts, "photos": shown, "lines": list(self.lines), "exact": self.exact}


@dataclass(frozen=True, slots=True)
class Prompt:
    """Everything that an engine needs to answer; it reads nothing else."""

    messages: tuple[PromptMessage, ...]
    language: Language
    version: str
    """Names the templates: `<template>@<hash of their sources>`."""
    question: str
    """The customer's current text as it was sent, for engines that work with rules."""
    affinity: str = ""
    """The same for every prompt of a chat, and meaningless outside: lets a server reuse its cache."""
    turns_used: tuple[int, ...] = ()
    """Ids of the earlier turns in it, oldest first."""
    condensed: tuple[int, ...] = ()
    """Ids of the turns before those of which it holds the facts alone."""
    gists: Mapping[int, Gist] = field(default_factory=dict)
    """Those facts as a model picked them, by turn; of the other turns rules did."""
    photos_shown: tuple[str, ...] = ()
    """sha256 of the photos shown, oldest first."""
    read: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What text recognition found on photos of the question, by sha256, where it was asked."""
    facts: tuple[tuple[int, Fact], ...] = ()
    """What is known of the case's photos, with the number of the photo that each stands on."""
    split: Split | None = None
    """What its room went to; None for a prompt that has no room to share out."""
    canary: str = ""
    """A marker in the system prompt that must never appear in an answer."""
    company: str = ""
    """End of the system message: what it says about the company, which an answer may repeat."""
    manner: Manner = Manner()

    @property
    def secret(self) -> str:
        """The system message as far as no answer may repeat it."""
        return self.messages[0].text.removesuffix(self.company)

    @property
    def digest(self) -> str:
        """A digest: equal for prompts that say the same and show the same photos, whatever their canaries."""
        digest = hashlib.blake2b(digest_size=8)
        for message in self.messages:
            text = message.text.replace(self.canary, "") if self.canary else message.text
            shown = " ".join(
                f"{image.photo.sha256}@{image.longest}" if image.longest else image.photo.sha256
                for image in message.images
            )
            digest.update(f"{message.role}\0{text}\0{shown}\0".encode())
        return digest.hexdigest()

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
    """What its longest side was brought down to; 0 where it is as it is stored."""


@dataclass(frozen=True, slots=True)
class PromptMessage:
    """One role's words.  Images come before the text."""

    role: Literal["system", "user", "assistant"]
    text: str
    images: tuple[PromptImage, ...] = ()


@dataclass(frozen=True, slots=True)
class Manner:
    """How an answer is wanted, where whoever asks decides it instead of the engine."""

    max_tokens: int = 0
    """Length of the answer; 0 leaves it to the engine."""
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    """For engines that can repeat a draw; others draw afresh."""
    stop: tuple[str, ...] = ()
    """The answer ends before the first of these."""
    by_model: bool = False
    """Only the model itself may answer: neither rules nor a notice in its place."""
    schema: str = ""
    """JSON schema of the answer, for servers that can be held to one; whoever asks checks it anyway."""


@dataclass(frozen=True, slots=True)
class Split:
    """How many tokens each part of a prompt takes, without roles and marks."""

    system: int
    turns: int
    """Earlier words, as they were said."""
    gist: int
    """The summary of still earlier ones."""
    question: int
    photos: tuple[tuple[int, int, int], ...]
    """Each photo shown, oldest first: its number, its longest side there, its tokens."""
    lines: tuple[int, ...]
    """Numbers of the photos that are a line of text."""
    exact: bool
    """Counted as the model counts, not by the formula."""

    def record(self) -> dict[str, object]:
        """For the transcript."""
        parts = {"system": self.system, "turns": self.turns, "gist": self.gist, "question": self.question}
        shown = [list(photo) for photo in self.photos]
        return {**parts, "photos": shown, "lines": list(self.lines), "exact": self.exact}


@dataclass(frozen=True, slots=True)
class Prompt:
    """All that an engine needs to answer: complete, it reaches back for nothing."""

    messages: tuple[PromptMessage, ...]
    language: Language
    version: str
    """Names the templates that made it: `<template>@<hash of its sources>`."""
    question: str
    """The customer's current words as they were sent: for engines that work by rules."""
    affinity: str = ""
    """The same for every prompt of a chat, meaningless outside: lets a server reuse its cache."""
    turns_used: tuple[int, ...] = ()
    """Ids of the earlier turns in it, oldest first."""
    condensed: tuple[int, ...] = ()
    """Ids of the turns before those of which it holds the facts alone."""
    gists: Mapping[int, Gist] = field(default_factory=dict)
    """Those facts as a model picked them, by turn; of the other turns rules did."""
    photos_shown: tuple[str, ...] = ()
    """sha256 of the photos in it, oldest first."""
    read: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What text recognition found on photos of the question, by sha256, where it was asked."""
    facts: tuple[tuple[int, Fact], ...] = ()
    """What is known of the case's photos, with the number of the photo that each stands on."""
    split: Split | None = None
    """What its room went to; None for a prompt that has no room to share out."""
    canary: str = ""
    """The mark in it that must never come back in an answer."""
    manner: Manner = Manner()

    @property
    def digest(self) -> str:
        """Tells whether two prompts say the same and show the same photos alike, whatever their canaries."""
        digest = hashlib.blake2b(digest_size=8)
        for message in self.messages:
            text = message.text.replace(self.canary, "") if self.canary else message.text
            shown = " ".join(
                f"{image.photo.sha256}@{image.longest}" if image.longest else image.photo.sha256
                for image in message.images
            )
            digest.update(f"{message.role}\0{text}\0{shown}\0".encode())
        return digest.hexdigest()

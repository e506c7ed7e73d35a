"""A question from an app: a conversation with pictures, and the checked answer to it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bot.language import language_of
from context.turns import Chat, Language, Message, Photo, Reply, Turn
from prompts.prompt import Manner, PromptImage

MODEL_ONLY = Manner(by_model=True)
"""Apps are told that there is no answer, where a customer would get one by rules."""


@dataclass(frozen=True, slots=True)
class Said:
    """One message of the conversation that the app sent."""

    role: Literal["user", "assistant"]
    text: str
    images: tuple[PromptImage, ...] = ()


@dataclass(frozen=True, slots=True)
class Inquiry:
    """One question of an app, complete in itself: nothing is remembered about apps' conversations."""

    id: str
    key_id: str
    said: tuple[Said, ...]
    """Oldest first; the last one is the user's."""
    user: str = ""
    """Distinguishes the app's users, and says nothing else about them."""
    app: str = ""
    """The developer's system message about the app."""
    style: str = ""
    """Name of a house style, for a text about the last message's picture instead of an answer."""
    language: Language | None = None
    manner: Manner = MODEL_ONLY

    @property
    def chat(self) -> Chat:
        """The chat under which it is recorded."""
        return Chat("api", f"{self.key_id}.{self.user}" if self.user else self.key_id)


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to an inquiry."""

    text: str
    """The checked answer; if the guard held it back, a safe sentence."""
    finish: Literal["stop", "length", "content_filter"]
    model: str
    prompt_tokens: int
    completion_tokens: int
    version: str
    """Version of the templates that made its prompt: `support@0123456789`."""
    release: str
    """The promoted release that answered; empty if there is none."""
    handoff: str
    """Why a person should take over; empty if none is needed."""
    reply: Reply

    @property
    def tokens(self) -> int:
        """Tokens of prompt and answer together."""
        return self.prompt_tokens + self.completion_tokens


def numbered(said: Sequence[Said]) -> tuple[Said, ...]:
    """The same messages with their pictures numbered in sequence, as in "photo 2"."""
    result: list[Said] = []
    count = 0
    for each in said:
        images = []
        for image in each.images:
            count += 1
            images.append(replace(image, photo=replace(image.photo, number=count)))
        result.append(replace(each, images=tuple(images)))
    return tuple(result)


def message_of(inquiry: Inquiry) -> Message:
    """The question: everything that the user said since the last answer."""
    newest = _newest(inquiry.said)
    text = "\n".join(said.text for said in newest if said.text)
    language = inquiry.language or language_of(text)
    return Message(_conversation(inquiry), text, language, _photos(newest))


def _conversation(inquiry: Inquiry) -> Chat:
    """A chat that is the same for all questions of a conversation, so that servers can use their caches."""
    if inquiry.user:
        return inquiry.chat
    began = hashlib.sha256(inquiry.said[0].text.encode(errors="replace")).hexdigest()
    return Chat("api", f"{inquiry.key_id}.{began[:16]}")


def turns_of(inquiry: Inquiry, language: Language) -> list[Turn]:
    """The earlier turns: each answer with what the user said before it."""
    turns: list[Turn] = []
    asked: list[Said] = []
    earlier = inquiry.said[: len(inquiry.said) - len(_newest(inquiry.said))]
    for place, said in enumerate(earlier):
        if said.role == "user":
            asked.append(said)
        elif place and earlier[place - 1].role == "assistant":
            turns[-1] = replace(turns[-1], reply=f"{turns[-1].reply}\n{said.text}")
        else:
            words = "\n".join(each.text for each in asked if each.text)
            turns.append(Turn(0, words, said.text, _photos(asked), language=language))
            asked = []
    return turns


def _newest(said: Sequence[Said]) -> Sequence[Said]:
    count = next((n for n, each in enumerate(reversed(said)) if each.role == "assistant"), len(said))
    return said[len(said) - count :]


def _photos(said: Sequence[Said]) -> tuple[Photo, ...]:
    return tuple(image.photo for each in said for image in each.images)


def answered_by(reply: Reply) -> Answered:
    """The answer for an app, from a reply."""
    record = reply.record
    tokens = record.get("tokens")
    read, wrote = tokens if isinstance(tokens, list) else (0, 0)
    is_held = reply.origin.startswith("notice:")
    ended: Literal["stop", "length"] = "length" if record.get("finish") == "length" else "stop"
    release = record.get("release")
    return Answered(
        text=reply.text,
        finish="content_filter" if is_held else ended,
        model=str(record.get("model", "")),
        prompt_tokens=int(read),
        completion_tokens=int(wrote),
        version=str(record.get("prompt", "")),
        release=str(release["name"]) if isinstance(release, dict) else "",
        handoff=reply.handoff,
        reply=reply,
    )

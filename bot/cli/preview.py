"""`python -m bot prompts preview`: print the prompt that a template makes, and the model's answer to it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from bot.errors import BotError
from bot.metrics import Metrics
from bot.studio import OpenStudio, image_of
from context.photos import Intake
from context.turns import Chat, Language, Message, Photo, Rejection
from prompts.house_styles import HouseStyles
from prompts.prompt import Prompt, PromptImage
from prompts.prompts import Prompts

SUPPORT = "support"
"""The template for customers' questions; all others are house styles."""
_NO_PICTURE = PromptImage(Photo("0" * 64, 0, 0, 1), b"")


async def run(
    template: str,
    *,
    picture: Path | None,
    text: str,
    language: Language,
    company: str,
    studio: OpenStudio | None,
) -> int:
    """Print the prompt for a picture, a text or both; returns the exit code.

    `company` is what the model is told about the company when it answers customers.  With a `studio` the
    model answers as well, and its answer passes the guard like any other.  Raises BotError for a picture that
    cannot be used.
    """
    names = (SUPPORT, *HouseStyles().names)
    if template not in names:
        print(f"no template {template}; there are {', '.join(names)}", file=sys.stderr)
        return 2
    if studio is None:
        image = None
        if picture is not None:
            intake = Intake(at_once=1)
            await intake.start()
            try:
                image = await _take_in(picture, intake)
            finally:
                await intake.close()
        _print(_prompt(template, _message(text, language, image), image, company, canary=""))
        return 0
    if picture is None:
        print("--answer needs a picture", file=sys.stderr)
        return 2
    async with studio() as opened:
        image = await _take_in(picture, opened.intake)
        message = _message(text, language, image)
        prompt = _prompt(template, message, image, company, canary=opened.answerer.canary)
        _print(prompt)
        reply = await opened.answerer.speak(message, prompt, Metrics().stages())
    print(f"--- {reply.origin}\n{reply.text}")
    return int(reply.origin.startswith("notice:"))


async def _take_in(picture: Path, intake: Intake) -> PromptImage:
    """The picture as a model gets it."""
    try:
        image = await image_of(await asyncio.to_thread(picture.read_bytes), intake)
    except OSError as error:
        raise BotError(f"{picture} cannot be read: {error.strerror}") from None
    if isinstance(image, Rejection):
        raise BotError(f"{picture} cannot be used: {image.code} {image.detail}".rstrip())
    return image


def _message(text: str, language: Language, image: PromptImage | None) -> Message:
    return Message(Chat("web", "preview"), text, language, (image.photo,) if image else ())


def _prompt(
    template: str, message: Message, image: PromptImage | None, company: str, *, canary: str
) -> Prompt:
    if template == SUPPORT:
        return Prompts(company=company).assemble(message, (), _bytes_of(image), canary=canary)
    return HouseStyles().assemble(template, message.language, image or _NO_PICTURE, canary=canary)


def _bytes_of(image: PromptImage | None) -> dict[str, bytes]:
    return {image.photo.sha256: image.jpeg} if image else {}


def _print(prompt: Prompt) -> None:
    print(f"--- {prompt.version}")
    for said in prompt.messages:
        pictures = "".join(
            f"[picture, {each.photo.width} x {each.photo.height}]\n" for each in said.images if each.jpeg
        )
        print(f"--- {said.role}\n{pictures}{said.text}\n")

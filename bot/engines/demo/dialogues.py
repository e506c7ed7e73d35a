"""Conversations about drawn lights, in English and Chinese, with the only right answer to each question."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bot.engines.demo.drawings import SIDE, Light, any_light
from context.turns import LANGUAGES, Chat, Language, Message, Photo, Turn
from prompts.prompt import Prompt
from prompts.prompts import Prompts

Kind = Literal["one", "second", "first", "change", "none"]
KINDS: tuple[Kind, ...] = ("one", "second", "first", "change", "none")
"""One photo; a second one; the first of two; whether they differ; no photo yet."""

WORDS = {
    "red": "红",
    "green": "绿",
    "blue": "蓝",
    "yellow": "黄",
    "steady": "常亮",
    "blinking": "闪烁",
}
NOW: dict[Language, tuple[str, ...]] = {
    "en": (
        "Which light is on?",
        "What does the light show?",
        "What do you see in the photo?",
        "And this photo?",
        "What is wrong with my machine?",
        "Please help.",
        "Hello",
        "",
    ),
    "zh": (
        "是什么灯亮？",
        "照片里的灯怎么样？",
        "你看到了什么？",
        "这张照片呢？",
        "我的机器怎么了？",
        "请帮忙。",
        "你好",
        "",
    ),
}
BEFORE: dict[Language, tuple[str, ...]] = {
    "en": ("Which light was first?", "What did the first photo show?", "And in the first photo?"),
    "zh": ("第一张是什么灯？", "第一张照片里的灯怎么样？", "之前是什么灯？"),
}
CHANGE: dict[Language, tuple[str, ...]] = {
    "en": ("Did the light change?", "Has anything changed?", "Is it different now?"),
    "zh": ("灯变了吗？", "有变化吗？", "现在不一样了吗？"),
}
PLEASE: dict[Language, str] = {
    "en": "Please send a photo of the indicator light.",
    "zh": "请发一张指示灯的照片。",
}
CHATTER = ("Hi!", "Hello again.", "Thanks!", "OK", "您好！", "谢谢！", "好的")


@dataclass(frozen=True, slots=True)
class Exchange:
    """One question with its photos, and its answer."""

    question: str
    answer: str
    lights: tuple[Light, ...] = ()
    language: Language = "en"


def dialogue(kind: Kind, dice: random.Random) -> list[Exchange]:
    """A conversation whose last question is of this kind."""
    tongue: Language = dice.choice(LANGUAGES)
    if kind == "none":
        return [Exchange(_ask(NOW, tongue, dice), PLEASE[tongue], language=tongue)]
    first = any_light(dice)
    talk = [Exchange(_ask(NOW, tongue, dice), says(first, tongue), (first,), tongue)]
    if kind == "one":
        return talk
    second = first if kind == "change" and dice.random() < 0.4 else any_light(dice)  # noqa: PLR2004
    talk.append(Exchange(_ask(NOW, tongue, dice), says(second, tongue), (second,), tongue))
    if kind == "first":
        talk.append(Exchange(_ask(BEFORE, tongue, dice), recalls(first, tongue), (), tongue))
    if kind == "change":
        talk.append(Exchange(_ask(CHANGE, tongue, dice), compares(first, second, tongue), (), tongue))
    return talk


def prompt_of(talk: list[Exchange], prompts: Prompts, pictures: Sequence[bytes] = ()) -> Prompt:
    """The last question as the bot itself would put it to a model, after what was said before.

    `pictures` are the photos of the whole conversation, in order; without them the prompt has empty ones.
    """
    numbers = itertools.count(1)
    photos = [
        tuple(
            Photo(f"photo-{number}", SIDE, SIDE, number)
            for _, number in zip(exchange.lights, numbers, strict=False)
        )
        for exchange in talk
    ]
    flat = [photo for some in photos for photo in some]
    images = {photo.sha256: (pictures[number] if pictures else b"") for number, photo in enumerate(flat)}
    turns = [
        Turn(number, exchange.question, exchange.answer, some, language=exchange.language)
        for number, (exchange, some) in enumerate(zip(talk[:-1], photos, strict=False))
    ]
    last = talk[-1]
    message = Message(Chat("web", "demo"), last.question, last.language, photos[-1])
    return prompts.assemble(message, turns, images)


def says(light: Light, tongue: Language) -> str:
    """The answer about the photo just sent."""
    if tongue == "zh":
        return f"{WORDS[light.colour]}灯{WORDS[light.pattern]}。"
    return f"The light is {light.colour} and {light.pattern}."


def recalls(light: Light, tongue: Language) -> str:
    """The answer about the first photo."""
    if tongue == "zh":
        return f"第一张是{WORDS[light.colour]}灯{WORDS[light.pattern]}。"
    return f"The first light was {light.colour} and {light.pattern}."


def compares(first: Light, second: Light, tongue: Language) -> str:
    """The answer about both."""
    if first == second:
        same = f"{WORDS[first.colour]}灯{WORDS[first.pattern]}"
        return (
            f"没有，还是{same}。"
            if tongue == "zh"
            else f"No, it is still {first.colour} and {first.pattern}."
        )
    if tongue == "zh":
        before, after = (f"{WORDS[light.colour]}灯{WORDS[light.pattern]}" for light in (first, second))
        return f"变了，从{before}变成{after}。"
    return f"Yes, from {first.colour} and {first.pattern} to {second.colour} and {second.pattern}."


def _ask(questions: Mapping[Language, tuple[str, ...]], tongue: Language, dice: random.Random) -> str:
    words = dice.choice(questions[tongue])
    if words and dice.random() < 0.3:  # noqa: PLR2004  # customers say more than the question
        words = f"{dice.choice(CHATTER)}\n{words}"
    return words

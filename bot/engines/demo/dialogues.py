"""Conversations about drawn lights, in English and Chinese, with the only right answer to each question."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bot.engines.demo.drawings import Light, any_light

Kind = Literal["one", "second", "first", "change"]
KINDS: tuple[Kind, ...] = ("one", "second", "first", "change")

WORDS = {
    "red": "红",
    "green": "绿",
    "blue": "蓝",
    "yellow": "黄",
    "steady": "常亮",
    "blinking": "闪烁",
}
NOW = {
    "en": (
        "Which light is on?",
        "What does the light show?",
        "What do you see in the photo?",
        "And this photo?",
    ),
    "zh": ("是什么灯亮？", "照片里的灯怎么样？", "你看到了什么？", "这张照片呢？"),
}
BEFORE = {
    "en": ("Which light was first?", "What did the first photo show?", "And in the first photo?"),
    "zh": ("第一张是什么灯？", "第一张照片里的灯怎么样？", "之前是什么灯？"),
}
CHANGE = {
    "en": ("Did the light change?", "Has anything changed?", "Is it different now?"),
    "zh": ("灯变了吗？", "有变化吗？", "现在不一样了吗？"),
}
CHATTER = (
    "Hello",
    "Hi, please help.",
    "Photo 1:",
    "[photo 2]",
    "Thanks!",
    "你好",
    "请帮忙。",
    "谢谢！",
    "照片 1：",
)


@dataclass(frozen=True, slots=True)
class Exchange:
    """One question with its photos, and its answer."""

    question: str
    answer: str
    lights: tuple[Light, ...] = ()


def dialogue(kind: Kind, dice: random.Random) -> list[Exchange]:
    """A conversation whose last question is of this kind."""
    tongue = dice.choice(("en", "zh"))
    first = any_light(dice)
    talk = [Exchange(_ask(NOW, tongue, dice), says(first, tongue), (first,))]
    if kind == "one":
        return talk
    second = first if kind == "change" and dice.random() < 0.4 else any_light(dice)  # noqa: PLR2004
    talk.append(Exchange(_ask(NOW, tongue, dice), says(second, tongue), (second,)))
    if kind == "first":
        talk.append(Exchange(_ask(BEFORE, tongue, dice), recalls(first, tongue)))
    if kind == "change":
        talk.append(Exchange(_ask(CHANGE, tongue, dice), compares(first, second, tongue)))
    return talk


def says(light: Light, tongue: str) -> str:
    """The answer about the photo just sent."""
    if tongue == "zh":
        return f"{WORDS[light.colour]}灯{WORDS[light.pattern]}。"
    return f"The light is {light.colour} and {light.pattern}."


def recalls(light: Light, tongue: str) -> str:
    """The answer about the first photo."""
    if tongue == "zh":
        return f"第一张是{WORDS[light.colour]}灯{WORDS[light.pattern]}。"
    return f"The first light was {light.colour} and {light.pattern}."


def compares(first: Light, second: Light, tongue: str) -> str:
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


def _ask(questions: Mapping[str, tuple[str, ...]], tongue: str, dice: random.Random) -> str:
    words = dice.choice(questions[tongue])
    if dice.random() < 0.3:  # noqa: PLR2004  # customers say more than the question
        words = f"{dice.choice(CHATTER)}\n{words}"
    return words

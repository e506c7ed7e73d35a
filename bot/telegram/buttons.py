"""The buttons below an answer, and the data that Telegram returns when one is pressed.

A button's data names its turn.  Who pressed it, and in which chat, comes with the press; so a forged press
can only affect the forger's own chat.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from telegram import InlineKeyboardButton, InlineKeyboardMarkup

from context.feedback import REASONS, Question, Vote
from context.turns import Ask, Language

_LABELS: dict[Language, dict[str, str]] = {
    "en": {
        "up": "👍 Helpful",
        "down": "👎 Not helpful",
        "human": "🧑‍🔧 Talk to a person",
        "fixed": "✅ It works",
        "broken": "❌ Not yet",
        "wrong": "What it says is wrong",
        "unclear": "I do not understand it",
        "unsafe": "It sounds dangerous",
        "off_topic": "It is about something else",
        "did_not_help": "I did it, no change",
        "thanks": "Thank you!",
        "old": "This button is out of date.",
    },
    "zh": {
        "up": "👍 有帮助",
        "down": "👎 没帮助",
        "human": "🧑‍🔧 转人工",
        "fixed": "✅ 已解决",
        "broken": "❌ 还没有",
        "wrong": "内容不对",
        "unclear": "看不懂",
        "unsafe": "感觉有危险",
        "off_topic": "答非所问",
        "did_not_help": "照做了，没有变化",
        "thanks": "谢谢您！",
        "old": "这个按钮已失效。",
    },
}
_DATA = re.compile(r"(up|down|human|fixed|broken|why-[a-z_]{1,20}):(\d{1,18}):(zh|en)")


@dataclass(frozen=True, slots=True)
class Press:
    """The meaning of a press on a button."""

    what: str
    """`up`, `down`, `human`, `fixed`, `broken`, or one of `REASONS`."""
    turn: int
    language: Language

    @property
    def question(self) -> Question:
        """The question that it answers."""
        return "fixed" if self.what in {"fixed", "broken"} else "helpful"

    @property
    def vote(self) -> Vote:
        """The answer to the question."""
        return "up" if self.what in {"up", "fixed"} else "down"


def keyboard(ask: Ask) -> InlineKeyboardMarkup:
    """The buttons below an answer."""
    names = ("fixed", "broken", "human") if ask.about == "fixed" else ("up", "down", "human")
    row = [_button(name, ask.turn, ask.language) for name in names]
    return InlineKeyboardMarkup([row[:2], row[2:]])


def after(press: Press) -> InlineKeyboardMarkup | None:
    """The buttons that remain after a press; None for none.  The one for a person always remains."""
    human = _button("human", press.turn, press.language)
    if press.what == "down":
        reasons = [[_button(name, press.turn, press.language, prefix="why-")] for name in REASONS]
        return InlineKeyboardMarkup([*reasons, [human]])
    return None if press.what in {"human", "up", "fixed"} else InlineKeyboardMarkup([[human]])


def read(data: str) -> Press | None:
    """Read a button's data; None if it is not ours."""
    found = _DATA.fullmatch(data)
    if found is None:
        return None
    what = found[1].removeprefix("why-")
    if found[1].startswith("why-") and what not in REASONS:
        return None
    return Press(what, int(found[2]), "zh" if found[3] == "zh" else "en")


def label(name: str, language: Language) -> str:
    """The label of a button."""
    return _LABELS[language][name]


def _button(name: str, turn: int, language: Language, *, prefix: str = "") -> InlineKeyboardButton:
    return InlineKeyboardButton(label(name, language), callback_data=f"{prefix}{name}:{turn}:{language}")

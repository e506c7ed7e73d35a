"""The shape of a reply: accidents of the model are repaired, what cannot be repaired is held."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass

from bot.guard.verdict import Action, Reason
from context.turns import Language

_LOOPS = 6  # the same sentence this often is a loop, not emphasis
_INTERJECTION = 3  # characters: "Yes." may come often
_SHORT_LOOP = 24  # the same few characters this often in a row
_TELLING = 40  # letters; fewer may be a part number, a menu entry, a name
_MOSTLY, _HARDLY = 0.5, 0.05  # shares of letters
_THINKING = re.compile(
    r"<\s*(think|thinking|reasoning)\s*>.*?(?:<\s*/\s*\1\s*>|\Z)|◁think▷.*?(?:◁/think▷|\Z)"
    r"|<\|channel\|>(?:analysis|commentary)\b.*?(?:<\|end\|>|(?=<\|start\|>)|\Z)",
    re.IGNORECASE | re.DOTALL,
)
_THOUGHT_END = re.compile(
    r"\A.*(?:<\s*/\s*(?:think|thinking|reasoning)\s*>|◁/think▷)", re.IGNORECASE | re.DOTALL
)
_TOOL = re.compile(r"<\s*tool_(call|response)\s*>.*?(?:<\s*/\s*tool_\1\s*>|\Z)", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(
    r"<\|start\|>\w{1,20}(?:<\|channel\|>\w{1,20})?<\|message\|>|<\|channel\|>final<\|message\|>"
    r"|(?:<\|im_start\|>|<start_of_turn>|<\|start_header_id\|>)\s?(?:assistant|model|user|system)\b"
    r"|[<＜]\s?[|｜][^<>＜＞|｜\n]{1,60}[|｜]\s?[>＞]"
    r"|</?(?:think|thinking|reasoning|tool_call|tool_response|start_of_turn|end_of_turn|image|s|bos|eos|pad"
    r"|unk)>"
    r"|\[/?INST\]|<<\s?/?SYS\s?>>|<start_of_image>|\[IMG\w*\]",
    re.IGNORECASE,
)
_ROLE_AT_START = re.compile(r"\A\s*(?:assistant|助手|客服助手)\s*[:：]\s*", re.IGNORECASE)
_BRACKETS = frozenset("<[＜◁")  # every tag contains one
# At the start of a line or after a sentence: models write a whole invented dialogue into one paragraph too.
_USER_LINE = re.compile(
    r"(?:\A|[\n.!?)。！？）])[ \t*]*(?:user|human|customer|client|用户|客户|顾客)[ *]*[:：]", re.IGNORECASE
)
_BOT_LINE = re.compile(
    r"(?:\A|[\n.!?)。！？）])[ \t*]*(?:assistant|bot|support|agent|助手|客服|机器人)[ *]*[:：]", re.IGNORECASE
)
_STRANGE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufff9-\uffff]"
)
# Markdown that shows nothing: a link or picture without a name, an entity, the fence of a code block.
_UNSEEN = re.compile(r"!?\[\s*\]\([^()\n]*\)|&#?\w{1,10};|```[\w+-]*(?=\s|\Z)")
_SENTENCE = re.compile(r"[^。！？!?\n]+[。！？!?\n]*")
_CODE = re.compile(r"[!-~]{0,64}[./_\\=][!-~]*")
_HAN = re.compile(r"[\u3400-\u9fff]")
_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f]")
_FOREIGN = re.compile(r"[^\x00-\u024f\u2000-\u206f\u3000-\u303f\u3400-\u9fff\uff00-\uff65]")
_GLANCE, _LANGUAGE_SAMPLE = 250, 1000  # characters
_ENDS = "。！？!?\n…."
_JOINERS = frozenset("\u200d\ufe0f\u20e3")


@dataclass(frozen=True, slots=True)
class Shaped:
    """The repaired text and what was done to it."""

    text: str
    reasons: tuple[Reason, ...]


def shape(text: str, *, max_chars: int) -> Shaped:
    """Repair a reply: cut it, remove control characters, thoughts, template tags, a leading role.

    Empty and looping replies cannot be repaired and get a `hold`.  Linear in `max_chars`, whatever
    the length of the text.
    """
    reasons: list[Reason] = []

    def mended(rule: str, after: str) -> None:
        nonlocal text
        if after != text:
            reasons.append(Reason(f"shape.{rule}", "shape", Action.ALLOW, note="repaired"))
            text = after

    if len(text) > 4 * max_chars:  # before any pattern sees it; a thinking block may still go
        mended("long", text[: 4 * max_chars])
    mended("control", _STRANGE.sub("", text))
    if not _BRACKETS.isdisjoint(text):
        mended("thinking", _THOUGHT_END.sub("", _TOOL.sub("", _THINKING.sub("", text))))
        mended("tags", _without_tags(text))
    spoken = text if ":" in text or "：" in text else ""
    mended("role", _ROLE_AT_START.sub("", text, count=1))
    mended("long", cut(text, max_chars))
    text = text.strip()
    if _is_empty(text):
        reasons.append(Reason("shape.empty", "shape", Action.HOLD))
    if _USER_LINE.search(spoken) and _BOT_LINE.search(spoken):
        reasons.append(Reason("shape.dialogue", "shape", Action.HOLD))
    if is_loop(text):
        reasons.append(Reason("shape.loop", "shape", Action.HOLD))
    return Shaped(text, tuple(reasons))


def _is_empty(text: str) -> bool:
    """Whether a customer would see nothing of it."""
    if "](" in text or "&" in text or "```" in text:
        text = _UNSEEN.sub("", text)
    return not any(character.isalnum() or unicodedata.category(character) == "So" for character in text)


def cut(text: str, max_chars: int) -> str:
    """The text cut to `max_chars`: after a whole sentence, otherwise a word, never inside an emoji."""
    if len(text) <= max_chars:
        return text
    for ends, share in ((_ENDS, 0.5), (" \t,，;；、", 0.8)):
        end = max(text.rfind(mark, 0, max_chars) for mark in ends) + 1
        if end > max_chars * share:
            return text[:end].rstrip()
    end = max_chars
    while end > 1 and (_continues(text[end]) or text[end - 1] in _JOINERS):
        end -= 1
    return text[:end]


def is_loop(text: str) -> bool:
    """Whether a reply repeats the same thing over and over."""
    sentences = [sentence.strip() for sentence in _SENTENCE.findall(text)]
    said = Counter(sentence for sentence in sentences if len(sentence) > _INTERJECTION)
    if said and max(said.values()) >= _LOOPS:
        return True
    return any(_repeats(text, period) for period in range(1, 33))


def wrong_language(text: str, *, asked: str, language: Language) -> bool:
    """Whether a reply is in a script other than the customer's own and that of the language."""
    if not asked.strip() or _is_plainly(text[:_GLANCE], language):
        return False
    said = _Scripts.of(text)
    if said.letters < _TELLING:
        return False
    heard = _Scripts.of(asked)
    if said.other > _MOSTLY * said.letters:
        return heard.other == 0
    if language == "en":
        return said.han > _MOSTLY * said.letters and heard.han == 0
    return said.han < _HARDLY * said.letters and heard.han > 0


def _is_plainly(text: str, language: Language) -> bool:
    """Whether a short look is enough: most replies are in the right language."""
    if language == "en":
        return text.isascii() or len(_LATIN.findall(text)) > _MOSTLY * len(text)
    return len(_HAN.findall(text)) > _HARDLY * len(text)


@dataclass(frozen=True, slots=True)
class _Scripts:
    """Letters by script; addresses, paths and identifiers belong to no language and are not counted."""

    han: int
    latin: int
    other: int

    @classmethod
    def of(cls, text: str) -> _Scripts:
        words = _CODE.sub("", text[:_LANGUAGE_SAMPLE])
        han, latin = len(_HAN.findall(words)), len(_LATIN.findall(words))
        return cls(han, latin, sum(map(str.isalpha, _FOREIGN.findall(words))))

    @property
    def letters(self) -> int:
        return self.han + self.latin + self.other


def _without_tags(text: str) -> str:
    for _ in range(4):  # removing one may complete another around it
        after = _TAG.sub("", text)
        if after == text:
            break
        text = after
    return text


def _continues(character: str) -> bool:
    return (
        character in _JOINERS
        or unicodedata.combining(character) > 0
        or "\U0001f3fb" <= character <= "\U0001f3ff"
    )


def _repeats(text: str, period: int) -> bool:
    """Whether the text ends with the same `period` characters at least `_SHORT_LOOP` times in a row."""
    if text[-1:] != text[-1 - period : -period]:
        return False
    unit = text[-period:]
    times = max(_SHORT_LOOP, 48 // period)
    return len(text) >= period * times and unit.strip(" -=_*.·…|#") != "" and text.endswith(unit * times)

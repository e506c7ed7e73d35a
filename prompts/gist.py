"""The gist of turns that a prompt has no room for: device, codes, what was seen, tried and advised.

Taken out of the turns' own words by rules, never written anew: nothing can be in it that nobody said, and
it costs the road of a turn no model call.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from context.turns import Turn
from prompts.neutral import neutral

_MOST_NAMES = 6
_LONGEST = 140
"""Characters of one sentence."""

_SENTENCE = re.compile(r"[^.!?。！？\n]+(?:[.!?](?=\d)[^.!?。！？\n]+)*[.!?。！？]*")
_CODE = re.compile(r"(?<![A-Za-z0-9])([A-Za-z]{1,2})-?(\d{1,3})(?![A-Za-z0-9])")
_MODEL = re.compile(
    r"(?<![A-Za-z0-9])(?=[A-Z0-9/-]*\d)(?=[A-Z0-9/-]*[A-Z])[A-Z0-9](?:[A-Z0-9/-]{3,22})[A-Z0-9]"
)
_DEVICES = re.compile(
    r"(?<![a-z])(air[ -]?con(?:ditioner)?|ac|fridge|refrigerator|freezer|washing machine|washer|dryer"
    r"|dishwasher|oven|stove|hob|microwave|boiler|water heater|heat pump|router|printer|television|tv|camera"
    r"|vacuum cleaner|inverter|charger)(?![a-z])"
    r"|(空调|冰箱|冰柜|洗衣机|烘干机|洗碗机|烤箱|燃气灶|微波炉|壁挂炉|锅炉|热水器|热泵|路由器|打印机"
    r"|电视机?|摄像头|吸尘器|净水器|净化器|逆变器|充电器)",
    re.IGNORECASE,
)
_TRIED = re.compile(
    r"\b(?:tried|restarted|rebooted|reset|unplugged|plugged|switched|turned|pressed|cleaned|replaced"
    r"|changed|checked|already|did that|done)\b"
    r"|试过|试了|重启|断电|拔|插|关机|关了|开了|按了|清洗|清理|换了|检查|已经|照做|做了|弄了",
    re.IGNORECASE,
)
_SEEN = re.compile(
    r"\b(?:light|lamp|led|display|screen|code|error|blink\w*|flash\w*|steady|red|green|yellow|orange|blue|leak\w*"
    r"|smell\w*|noise|beep\w*)\b|灯|显示|屏|代码|故障|闪|常亮|红|绿|黄|蓝|漏|味|响|噪",
    re.IGNORECASE,
)
_STEP = re.compile(r"^\s*(?:\d{1,2}[.)、]|[-•])\s*(.+)$", re.MULTILINE)
_ASKING = re.compile(r"\s*(?:please\b|now\b|then\b|请|然后)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Gist:
    """What is worth keeping of some turns.  Words are neutral; sentences are as they were said."""

    turns: int
    devices: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    seen: tuple[tuple[int, str], ...] = ()
    """By photo number: what the answer to it said that it shows."""
    tried: tuple[str, ...] = ()
    """The customer, of what they did."""
    said: tuple[str, ...] = ()
    """The customer, of what they saw; their first words in any case."""
    advised: tuple[str, ...] = ()


_Part = Literal["advised", "said", "tried", "seen", "devices", "codes"]
_LEAST_NEEDED: tuple[_Part, ...] = ("advised", "said", "tried", "seen", "devices", "codes")


def gist(turns: Sequence[Turn], *, fits: Callable[[Gist], bool]) -> Gist | None:
    """The facts of some turns, oldest first, as many as `fits`: the oldest of the least needed go first.

    None where not even an empty one fits.
    """
    whole = _gist(turns)
    for part in _LEAST_NEEDED:
        while (items := getattr(whole, part)) and not fits(whole):
            # The first words tell what the case is about: they stay longest.
            kept = (items[0], *items[2:]) if part == "said" and len(items) > 1 else items[1:]
            whole = _with(whole, part, kept)
    return whole if fits(whole) else None


def _with(whole: Gist, part: _Part, items: tuple[Any, ...]) -> Gist:
    parts: dict[str, Any] = {part: items}
    return replace(whole, **parts)


def _gist(turns: Sequence[Turn]) -> Gist:
    texts = [turn.text for turn in turns]
    words = "\n".join(text for turn in turns for text in (turn.text, turn.reply))
    said = [sentence for text in texts for sentence in _sentences(text)]
    tried = _unique(sentence for sentence in said if _TRIED.search(sentence))
    first = next(iter(said), "")
    told = [sentence for sentence in said if sentence not in tried]
    return Gist(
        len(turns),
        devices=_named([*(_devices("\n".join(texts))), *_MODEL.findall(words)]),
        codes=_named(f"{letters.upper()}{digits}" for letters, digits in _CODE.findall(words)),
        seen=tuple(
            (photo.number, seen)
            for turn in turns
            for photo in turn.photos
            if (seen := _shown(turn, photo.number))
        ),
        tried=tried,
        said=_unique(
            [first, *(sentence for sentence in told if _SEEN.search(sentence) or _CODE.search(sentence))]
        ),
        advised=_unique(step for turn in turns for step in _steps(turn.reply)),
    )


def _shown(turn: Turn, number: int) -> str:
    """What the reply says of a photo: the sentences that name it, else of a lone photo the first one."""
    name = re.compile(rf"(?:photo|picture|image|照片|图片?)\s?{number}(?!\d)", re.IGNORECASE)
    sentences = [sentence for sentence in _sentences(turn.reply) if not _ASKING.match(sentence)]
    named = [sentence for sentence in sentences if name.search(sentence)]
    if not named and len(turn.photos) == 1:
        named = sentences[:1]
    return " ".join(named[:2])


def _steps(reply: str) -> list[str]:
    """What a reply asks to be done: its list, else its sentences that begin as a request does."""
    listed = [_clean(step) for step in _STEP.findall(reply)]
    return listed or [sentence for sentence in _sentences(reply) if _ASKING.match(sentence)]


def _sentences(text: str) -> list[str]:
    return [clean for sentence in _SENTENCE.findall(text) if len(clean := _clean(sentence)) > 1]


def _clean(text: str) -> str:
    return neutral(" ".join(text.split()), max_chars=_LONGEST)


def _devices(text: str) -> list[str]:
    return [english.lower() or chinese for english, chinese in _DEVICES.findall(text)]


def _named(names: Iterable[str]) -> tuple[str, ...]:
    """Each once, the newest last, at most a handful."""
    return tuple(dict.fromkeys(reversed(list(names))))[:_MOST_NAMES][::-1]


def _unique(sentences: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, sentences)))

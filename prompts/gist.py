"""The gist of turns that a prompt has no room for: device, codes, what was seen, tried and advised.

Taken out of the turns' own words, never written anew: nothing can be in it that nobody said.  Rules do it on
the road of a turn; a model may pick better behind it (`picked`), and is held to the words that stand there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from typing import Any, Literal

from context.turns import Turn
from prompts.neutral import neutral

_MOST_NAMES = 6
_MOST_PICKED = 8
_LONGEST = 140
"""Characters of one sentence."""
_LONGEST_NAME = 40
"""Of a device."""

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

    def record(self) -> dict[str, Any]:
        """As JSON; `of_record` reads it."""
        return asdict(self)

    @classmethod
    def of_record(cls, value: Mapping[str, Any]) -> Gist:
        """What `record` gave, also after it went through JSON.  Raises TypeError for anything else."""
        lists = {name: tuple(items) for name, items in value.items() if name not in {"turns", "seen"}}
        return cls(value["turns"], seen=tuple((number, words) for number, words in value["seen"]), **lists)


_Part = Literal["advised", "said", "tried", "seen", "devices", "codes"]
_LEAST_NEEDED: tuple[_Part, ...] = ("advised", "said", "tried", "seen", "devices", "codes")


def gist(
    turns: Sequence[Turn], *, fits: Callable[[Gist], bool], known: Mapping[int, Gist] | None = None
) -> Gist | None:
    """The facts of some turns, oldest first, as many as `fits`: the oldest of the least needed go first.

    `known` holds those of single turns that were picked before, by turn.  None where not even an empty one
    fits.
    """
    whole = _together(turns, known or {})
    for part in _LEAST_NEEDED:
        while (items := getattr(whole, part)) and not fits(whole):
            # The first words tell what the case is about: they stay longest.
            kept = (items[0], *items[2:]) if part == "said" and len(items) > 1 else items[1:]
            whole = _with(whole, part, kept)
    return whole if fits(whole) else None


def picked(turn: Turn, value: object) -> Gist | None:
    """What a model picked out of one turn, as far as it stands there to the letter; None for no such JSON.

    Codes are found by rules in any case, and so is every part of which nothing is left.
    """
    found = _lists(value)
    if found is None:
        return None
    asked, reply = _dense(turn.text), _dense(turn.reply)
    rules = _of(turn)
    photos = {photo.number for photo in turn.photos}
    names = (name for name in _quoted(found["devices"], asked, reply) if len(name) <= _LONGEST_NAME)
    seen = (
        (number, quote)
        for number, words in found["seen"]
        if number in photos
        for quote in _quoted([words], reply)
    )
    return Gist(
        1,
        devices=_named([*rules.devices, *names]),
        codes=rules.codes,
        seen=tuple(dict.fromkeys(seen)) or rules.seen,
        tried=_unique(_quoted(found["tried"], asked)) or rules.tried,
        said=_unique(_quoted(found["said"], asked)) or rules.said,
        advised=_unique(_quoted(found["advised"], reply)) or rules.advised,
    )


def _lists(value: object) -> dict[str, list[Any]] | None:
    """The value's lists by name, `seen` as pairs; None unless all are there and of the right shape."""
    names = ("devices", "seen", "tried", "said", "advised")
    if not isinstance(value, dict) or not all(isinstance(value.get(name), list) for name in names):
        return None
    lists = {name: value[name][:_MOST_PICKED] for name in names}
    seen = [(one.get("photo"), one.get("words")) for one in lists["seen"] if isinstance(one, dict)]
    texts = [*chain(*(lists[name] for name in names if name != "seen")), *(words for _, words in seen)]
    if len(seen) != len(lists["seen"]) or not all(isinstance(text, str) for text in texts):
        return None
    if any(type(number) is not int for number, _ in seen):  # JSON's true is 1 to Python
        return None
    return lists | {"seen": seen}


def _quoted(items: Iterable[str], *sources: str) -> list[str]:
    """Those that stand in one of the texts."""
    dense = ((item, _dense(item)) for item in items)
    return [
        _clean(item)
        for item, letters in dense
        if len(letters) > 1 and any(letters in source for source in sources)
    ]


def _dense(text: str) -> str:
    """Without spaces and case: what a quote is compared by."""
    return "".join(text.split()).casefold()


def _with(whole: Gist, part: _Part, items: tuple[Any, ...]) -> Gist:
    parts: dict[str, Any] = {part: items}
    return replace(whole, **parts)


def _together(turns: Sequence[Turn], known: Mapping[int, Gist]) -> Gist:
    parts = [known.get(turn.id) or _of(turn) for turn in turns]
    first = next((sentence for turn in turns for sentence in _sentences(turn.text)), "")
    return Gist(
        len(turns),
        devices=_named(chain(*(part.devices for part in parts))),
        codes=_named(chain(*(part.codes for part in parts))),
        seen=tuple(chain(*(part.seen for part in parts))),
        tried=_unique(chain(*(part.tried for part in parts))),
        said=_unique([first, *chain(*(part.said for part in parts))]),
        advised=_unique(chain(*(part.advised for part in parts))),
    )


def _of(turn: Turn) -> Gist:
    """The facts of one turn, by rules."""
    words = f"{turn.text}\n{turn.reply}"
    said = _sentences(turn.text)
    return Gist(
        1,
        devices=_named([*_devices(turn.text), *_MODEL.findall(words)]),
        codes=_named(f"{letters.upper()}{digits}" for letters, digits in _CODE.findall(words)),
        seen=tuple((photo.number, seen) for photo in turn.photos if (seen := _shown(turn, photo.number))),
        tried=_unique(sentence for sentence in said if _TRIED.search(sentence)),
        said=_unique(
            sentence
            for sentence in said
            if not _TRIED.search(sentence) and (_SEEN.search(sentence) or _CODE.search(sentence))
        ),
        advised=_unique(_steps(turn.reply)),
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
    """Each once, in whatever case, the newest last, at most a handful."""
    newest = dict[str, str]()
    for name in names:
        newest.pop(name.casefold(), None)
        newest[name.casefold()] = name
    return tuple(newest.values())[-_MOST_NAMES:]


def _unique(sentences: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, sentences)))

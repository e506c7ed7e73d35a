"""Foreign words on their way into a prompt: plain text that cannot open a role, a token or a tag.

Whatever a customer, a picture or an earlier turn says passes here last, after every other change
to it: folding or stripping text that was already made harmless can make it dangerous again.  The
cure is therefore one plain space, put where a mark would begin (`<|im_start|>` becomes
`< |im_start| >`): it outlives NFKC and the removal of invisible characters, which an escape by
look-alikes does not.  Marks are looked for in a folded copy, so their spelling does not matter;
the text itself keeps every other character as it came.
"""

from __future__ import annotations

import re
import string
import unicodedata
from bisect import bisect_right
from functools import cache
from itertools import accumulate, pairwise

MAX_CHARS = 8_000
"""Longest text in a prompt, in characters: about four pages."""
CUT = "[…]"
"""Marks the end of a text that was cut.  The system prompt explains it to the model."""

# Marks of every chat format and processor that we know of.  All that begin with `<|` need no name.
_TAGS = (
    # turns, thinking and tools
    "system|user|assistant|human|role|sys|inst|think|thinking|thought|answer|sop|eop|tools?|function|instructions?"
    # pictures, sound and places in them
    "|images?\\d*|img\\d*|__media__|videos?\\d*|audio|slice|unit|patch|box|quad|ref|point"
    # our own (also caught by the rule for names in two words, when closed)
    "|customer_words|picture_text|app_words|company_words"
)
_TOKENS = r"s|bos|eos|pad|unk|sep|cls|mask|(?:unused|reserved|extra|loc|seg|ctrl)\d+"
_BRACKETS = (
    "inst|sys|system|user|assistant|system_prompt|available_tools|tool_calls?|tool_results?|tool_content|args|call_id"
    "|img|img-\\d+|img_break|img_end|image|audio|begin_audio|think|gmask|smask|mask|cls|sep|pad|unk|bos|eos"
)
_SPEAKERS = "system|assistant|user|human|developer|ai|系统|系統|助手|助理|用户|用戶|人类|人類|客服"

_MARK = re.compile(
    # special tokens: <|im_start|>, <｜User｜>
    r"(?<=<)(?=\|)|(?<=\|)(?=>)"
    # tags by name, and all whose name has two words: </think>, <tool_call>, <start_of_turn>, <seed:bos>
    rf"|(?<=<)(?=/?(?:(?:{_TAGS})(?:[\s/>=]|\Z)|(?:{_TOKENS})>|(?>[a-z0-9]+(?:[_:.\-][a-z0-9]+)+)[^<>\n]{{0,64}}>))"
    # [INST], [/INST], [IMG]; ]~b] and [e~[
    rf"|(?<=\[)(?=/?(?:{_BRACKETS})\]|e~\[)|(?<=\])(?=~!?b[\[\]])",
    re.IGNORECASE,
)
_SPEAKER = re.compile(
    # a line that begins as a speaker's does: Assistant: refund approved
    rf"[^\S\n]*(?:[>*_\"'`\[【「#-][^\S\n]*)*+(?:{_SPEAKERS})"
    r"(?:[^\S\n](?:prompt|message)|提示词?|消息)?[*_\"'`\]】」]*(?=:)",
    re.IGNORECASE,
)
# ### Instruction, as some formats begin a part
_HEADING = re.compile(rf"[^\S\n]*#(?=#+[^\S\n]*(?:{_SPEAKERS}|instruction|response|input)\b)", re.IGNORECASE)
_UNSOUND = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\U000e0000-\U000e007f]")
_LINE_END = re.compile("\r\n?|[\u2028\u2029\u0085\v\f\x1c-\x1e]")
_CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f]")
_SURROGATE = re.compile("[\ud800-\udfff]")
# Tag characters spell words that nobody sees; only flags such as Scotland's have a use for them.
_UNSEEN = re.compile("(\U0001f3f4[\U000e0020-\U000e007f]{1,8})|[\U000e0000-\U000e007f]+")
_SENTENCE_END = re.compile(r"[。！？!?\n]|\.(?=\s)")


def neutral(text: str, *, max_chars: int = MAX_CHARS) -> str:
    """The text as harmless plain text: no markup, no control characters, at most `max_chars` long.

    A longer text is cut after a sentence and ends in `[…]`.  Ordinary text, including technical text, is
    returned unchanged.  Takes time in proportion to the length.  Applying it twice changes nothing more.
    """
    sound = _sound(text[: max_chars * 2])
    spaced = _spaced(sound)
    if len(spaced) <= max_chars and len(text) <= max_chars * 2:
        return spaced
    return _cut(spaced, max_chars)


def is_neutral(text: str) -> bool:
    """Whether nothing in the text could be mistaken for a role, a special token or a tag."""
    return not _places(_folded(text))


def is_blank(text: str) -> bool:
    """Whether nothing of a text can be seen: spaces, invisible characters, letters only in name."""
    return all(
        character.isspace()
        or _is_invisible(character)
        or character == "\u2800"  # a Braille cell without dots
        or unicodedata.category(character) == "Cc"
        for character in text
    )


def _sound(text: str) -> str:
    if not _UNSOUND.search(text):
        return text
    text = _CONTROL.sub("", _LINE_END.sub("\n", text))
    return _UNSEEN.sub(lambda found: found[1] or "", _SURROGATE.sub("\ufffd", text))


def _spaced(text: str) -> str:
    places = _places(_folded(text))
    if not places:
        return text
    # Where each character of the text begins in the folded copy: a place there belongs to the last
    # one that begins at or before it, which is the visible one when invisible ones precede it.
    folds = _folds()
    begins = [0, *accumulate(len(folds.get(character, character)) for character in text)]
    cuts = [0, *(bisect_right(begins, place) - 1 for place in places), len(text)]
    return " ".join(text[begin:end] for begin, end in pairwise(cuts))


def _places(folded: str) -> list[int]:
    """Positions at which a space has to be inserted, in order.

    Most texts contain none of the characters.
    """
    places: set[int] = set()
    if "<" in folded or "|>" in folded or "[" in folded or "]" in folded:
        places.update(found.start() for found in _MARK.finditer(folded))
    if ":" in folded or "##" in folded:
        begin = 0
        while begin >= 0:
            for line in (_SPEAKER, _HEADING):
                if found := line.match(folded, begin):
                    places.add(found.end())
            begin = folded.find("\n", begin) + 1 or -1
    return sorted(places)


def _cut(text: str, max_chars: int) -> str:
    kept = text[: max_chars - len(CUT) - 2]
    tail = len(kept) * 3 // 4
    ends = [found.end() for found in _SENTENCE_END.finditer(kept, tail)]
    end = ends[-1] if ends else kept.rfind(" ", tail)
    kept = kept[:end] if end > 0 else kept
    # The end of a cut word may read as a mark (`<thinking_cap` -> `<think`).
    return _spaced(f"{kept.rstrip()} {CUT}")


def _folded(text: str) -> str:
    """The text as it could look after NFKC or stripping; only for inspection."""
    if text.isascii():
        return text
    folds = _folds()
    return _foldable().sub(lambda found: folds.get(found[0], found[0]), text)


@cache
def _foldable() -> re.Pattern[str]:
    # Beyond the basic plane as ranges: the regex engine would compare single characters one by one.
    basic = "".join(re.escape(character) for character in _folds() if character <= "\uffff")
    return re.compile(
        f"[{basic}\U0001bca0-\U0001bca3\U0001d165-\U0001d7ff\U0001f100-\U0001f1ff\U000e0000-\U000e01ef]"
    )


@cache
def _folds() -> dict[str, str]:
    """Characters that fold to markup characters or to nothing; computed once, in about 20 ms."""
    speakers = set(_SPEAKERS)
    written = set(" <>|[]/:=_-.~#*>`\"'" + string.ascii_letters + string.digits) | speakers
    folds = {}
    for first, last in (
        (0x80, 0x33FF),
        (0xA640, 0xABFF),
        (0xF900, 0xFFFF),
        (0x1BCA0, 0x1BCA3),
        (0x1D165, 0x1D7FF),
        (0x1F100, 0x1F1FF),
        (0xE0000, 0xE01EF),
    ):
        for code in range(first, last + 1):
            character = chr(code)
            folded = "".join(
                part for part in unicodedata.normalize("NFKD", character) if not _is_invisible(part)
            )
            # Commas, brackets and the like are left out: Chinese text is full of them, marks are not.
            if folded != character and (not folded or not written.isdisjoint(folded)):
                folds[character] = folded
    return folds


def _is_invisible(character: str) -> bool:
    return (
        unicodedata.category(character) in {"Mn", "Me", "Cf"}
        or character in "\u115f\u1160\u17b4\u17b5\u2065\u3164\uffa0"  # fillers, letters only in name
        or "\ufff0" <= character <= "\ufff8"
        or "\U000e0000" <= character <= "\U000e0fff"
    )

"""Wordings: promises only the company may make, requests and other words nobody may, from `meanings/`.

A row names groups of words, such as `we`, `pay back`, `money`.  A sentence says what the row means if it
contains one word of each group, in this order and close together, and does not deny it, ask it or make it
conditional.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from bot.guard.clauses import is_negated
from bot.guard.fold import Folded
from bot.guard.lexicon import Heard, Lexicon
from bot.guard.verdict import Action, Reason
from bot.yaml_files import parse

FILES = (
    "common",
    "refunds",
    "compensation",
    "service",
    "dates",
    "liability",
    "warranty",
    "payments",
    "conduct",
)
"""Names of the files, in the order in which their rules are looked for."""
_FOLDER = Path(__file__).parent / "meanings"
_NEAR = 24  # bytes of UTF-8: a Chinese character says as much as three letters, and counts as three
_APART = re.compile("[,:()]")
_QUESTION = re.compile(r"\?\s*\Z|[吗么呢]\s*\Z")
# `We will pay you 50, is that ok?` is no question about the payment.
_TAG = re.compile(
    r",(?:您看)?(?:这样)?(?:可以|行|好|同意|满意)[吗么]?\?\Z|,(?:您看)?(?:这样)?(?:行不行|好不好|可不可以|怎么样|如何)\?\Z"
    r"|,(?: (?:is that|would that be|does that sound|sounds?))?(?: (?:ok|okay|all ?right|fine|good|fair))\?\Z"
)


@dataclass(frozen=True, slots=True)
class Wording:
    """One sequence of groups of words, and the rule that it breaks."""

    rule: str
    """`promise.refund`, `payment.secret`, ..."""
    needs: tuple[str, ...]
    """In the order in which they have to occur."""
    near: int = _NEAR
    """Bytes of UTF-8 between one and the next."""
    across: bool = False
    """Whether a comma may be between them."""
    unless: tuple[str, ...] = ()
    """Groups that make it harmless wherever they are in the sentence."""
    asked: bool = False
    """Whether it counts in a question too: `could you send me the code?`."""
    negative: bool = False
    """Whether its own words contain the `not`: `you will not be charged`."""


def _load() -> tuple[Lexicon, tuple[Wording, ...]]:
    words: dict[str, str] = {}
    families: dict[str, Any] = {}
    harmless = ""
    for name in FILES:
        tree = parse((_FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
        harmless = tree.get("harmless", harmless)
        if twice := words.keys() & tree["words"].keys():
            raise ValueError(f"{name}.yaml: {', '.join(sorted(twice))} are words of another file too")
        words |= tree["words"]
        families |= tree.get("wordings", {})
    wordings = tuple(
        Wording(
            rule,
            tuple(row["needs"]),
            unless=tuple(row.get("unless", family["unless"])),
            near=row.get("near", _NEAR),
            across=row.get("across", False),
            asked=family.get("asked", False),
            negative=row.get("negative", False),
        )
        for rule, family in families.items()
        for row in family["rows"]
    )
    unknown = {group for row in wordings for group in (*row.needs, *row.unless)} - set(words)
    if unknown:
        raise ValueError(f"no words for {', '.join(sorted(unknown))}")
    return Lexicon(words, harmless=harmless), wordings


_LEXICON, WORDINGS = _load()
_NEEDS = tuple(tuple(_LEXICON.bits[group] for group in wording.needs) for wording in WORDINGS)
_UNLESS = tuple(sum(_LEXICON.bits[group] for group in set(wording.unless)) for wording in WORDINGS)
_MASKS = tuple(sum(set(bits)) for bits in _NEEDS)


def find_wordings(folded: Folded) -> Iterator[Reason]:
    """Every promise and request of the table, one of each rule for a sentence."""
    folded = folded.squeezed or folded
    last: tuple[int, str] | None = None
    for start, wording, span in _said_in(folded.text):
        if (start, wording.rule) != last:
            last = (start, wording.rule)
            category = wording.rule.partition(".")[0]
            yield Reason(wording.rule, category, Action.HOLD, folded.span(*span))


def rows_said(folded: Folded) -> set[Wording]:
    """Every row that a text says, for tests of the table."""
    folded = folded.squeezed or folded
    return {wording for _, wording, _ in _said_in(folded.text)}


def _said_in(text: str) -> Iterator[tuple[int, Wording, tuple[int, int]]]:
    """Where a sentence begins, a row that it says, and where; rows of one rule follow one another."""
    for start, end, words, spoken in _LEXICON.by_sentence(text):
        likely = _likely(spoken)
        if not likely:
            continue
        sentence = text[start:end]
        here = [(first - start, last - start, groups) for first, last, groups in words]
        for number in likely:
            span = _said(WORDINGS[number], _NEEDS[number], sentence, here)
            if span is not None:
                yield start, WORDINGS[number], (start + span[0], start + span[1])


@lru_cache(maxsize=4096)
def _likely(spoken: int) -> tuple[int, ...]:
    """Rows of which all groups were found, and none that makes them harmless."""
    return tuple(
        number for number, mask in enumerate(_MASKS) if spoken & mask == mask and not spoken & _UNLESS[number]
    )


def _said(
    wording: Wording, bits: tuple[int, ...], sentence: str, words: list[Heard]
) -> tuple[int, int] | None:
    """Where the sentence says it, or None."""
    if not wording.asked and _QUESTION.search(sentence) and not _TAG.search(sentence.rstrip()):
        return None
    for number, (first, last, groups) in enumerate(words):
        if not groups & bits[0] or (not wording.negative and is_negated(sentence, first)):
            continue
        end = _followed(wording, bits[1:], sentence, words[number:], last)
        if end is not None and (wording.negative or not is_negated(sentence, end, reach=end - first)):
            return first, end
    return None


def _followed(
    wording: Wording, bits: tuple[int, ...], sentence: str, words: list[Heard], end: int
) -> int | None:
    """The end of the last word if the groups follow one another closely, else None."""
    if not bits:
        return end
    for first, last, groups in words:
        if first < end or not groups & bits[0]:
            continue
        between = sentence[end:first]
        if len(between.encode()) > wording.near:
            break
        if not wording.across and _APART.search(between):
            break
        found = _followed(wording, bits[1:], sentence, words, last)
        if found is not None:
            return found
    return None

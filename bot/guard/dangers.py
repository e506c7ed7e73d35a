"""Dangers: reports of customers that cannot wait, as `dangers.yaml` lists them.

A danger in the customer's words puts a fixed sentence above any answer and calls a person.  Text on
photos is not searched for dangers: every rating plate warns of electric shock.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, product
from pathlib import Path

from bot.guard.clauses import either
from bot.guard.fold import Folded
from bot.guard.lexicon import Heard, Lexicon
from bot.yaml_files import parse

_NEAR = 30  # bytes of UTF-8: a Chinese character says as much as three letters, and counts as three
_MOST_PLACES = 48  # at which a sign may match in one sentence
_DENIED_BEFORE = 60  # characters before a word in which a denial may be
_NEAR_DENIAL = either(
    "(?:没有?|无|(?<!是)不|未|并未|不会|没在|没闻到|未见|排除)(?:再|任何|有|明显|什么|发现|看到|闻到"
    r"|出现|感觉到|的|是){0,3}\Z",
    r"(?:\bno\b|\bnot\b|n'?t\b|\bwithout\b|\bnever\b|\bneither\b|\bnor\b)(?:\W+(?:any|a|an|the"
    r"|smell\w*|see\w*|notice\w*|signs?|of|more|obvious|visible|there|is|are|have|had|has|been"
    "|feel|felt|get|got|strange|weird|or|longer|wires?|burning|smoke|odou?r|even"
    r"|really)){0,6}\W*\Z",
)
_DETECTOR = either(
    r"\A[^,。.]{0,3}(?:报警器|探测器|传感器|检测仪)",
    r"\A ?(?:detector|alarm|sensor)\b(?! (?:is|was|went|goes))",
)


@dataclass(frozen=True, slots=True)
class Sign:
    """One combination of groups of words that reports a danger."""

    danger: str
    needs: tuple[str, ...]
    near: int = _NEAR
    """Bytes of UTF-8 between its words, all gaps together."""
    unless: tuple[str, ...] = ()
    """Groups that make it harmless wherever they are in the sentence."""


def _load() -> tuple[Lexicon, tuple[Sign, ...]]:
    tree = parse((Path(__file__).parent / "dangers.yaml").read_text(encoding="utf-8"))
    signs = tuple(
        Sign(danger, tuple(row["needs"]), near=row.get("near", _NEAR), unless=tuple(row.get("unless", ())))
        for danger, rows in tree["signs"].items()
        for row in rows
    )
    unknown = {group for sign in signs for group in (*sign.needs, *sign.unless)} - set(tree["words"])
    if unknown:
        raise ValueError(f"dangers.yaml: no words for {', '.join(sorted(unknown))}")
    return Lexicon(tree["words"], harmless=tree["harmless"]), signs


_LEXICON, SIGNS = _load()
_NEEDS = tuple(tuple(_LEXICON.bits[group] for group in sign.needs) for sign in SIGNS)
_MASKS = tuple(sum(bits) for bits in _NEEDS)
_UNLESS = tuple(sum(_LEXICON.bits[group] for group in sign.unless) for sign in SIGNS)


def find_dangers(folded: Folded) -> Iterator[tuple[str, tuple[int, int]]]:
    """Dangers a customer reports, the most serious first, with their places in the original.

    What is denied (`没有焦味`) is none.
    """
    told: set[str] = set()
    for number, span in sorted(_found_in(folded).items()):
        danger = SIGNS[number].danger
        if danger not in told:
            told.add(danger)
            yield danger, span


def signs_in(folded: Folded) -> set[Sign]:
    """Every sign in a text, for tests of the table."""
    return {SIGNS[number] for number in _found_in(folded)}


def _found_in(folded: Folded) -> dict[int, tuple[int, int]]:
    """Signs by number, with their first places in the original."""
    folded = folded.squeezed or folded
    found: dict[int, tuple[int, int]] = {}
    for start, end, words, spoken in _LEXICON.by_sentence(folded.text):
        likely = _likely(spoken)
        if not likely:
            continue
        sentence = folded.text[start:end]
        here = [(first - start, last - start, groups) for first, last, groups in words]
        for number in likely:
            span = None if number in found else _reported(SIGNS[number], _NEEDS[number], sentence, here)
            if span is not None:
                found[number] = folded.span(start + span[0], start + span[1])
    return found


@lru_cache(maxsize=1024)
def _likely(spoken: int) -> tuple[int, ...]:
    """Signs of which all groups were found, and none that makes them harmless."""
    return tuple(
        number for number, mask in enumerate(_MASKS) if spoken & mask == mask and not spoken & _UNLESS[number]
    )


def _reported(sign: Sign, bits: tuple[int, ...], sentence: str, words: list[Heard]) -> tuple[int, int] | None:
    """Where the sentence reports it, or None."""
    groups = ([(first, last) for first, last, groups in words if groups & bit] for bit in bits)
    for places in islice(product(*groups), _MOST_PLACES):
        first, *others = sorted(places)
        end, gaps = first[1], 0
        for place in others:
            gaps += len(sentence[end : place[0]].encode()) if place[0] >= end else sign.near + 1
            end = place[1]
        if gaps <= sign.near and not _is_denied(sentence, places, end):
            return first[0], end
    return None


def _is_denied(sentence: str, places: tuple[tuple[int, int], ...], end: int) -> bool:
    """Whether it is negated, or the name of a detector."""
    return _DETECTOR.match(sentence[end : end + 20]) is not None or any(
        _NEAR_DENIAL.search(sentence, max(0, start - _DENIED_BEFORE), start) for start, _ in places
    )

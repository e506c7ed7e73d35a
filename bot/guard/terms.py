"""Terms that must not be sent: one automaton over the folded text, then checks against chance matches.

A Latin term needs word boundaries (`classic` is no hit).  A Chinese term is a hit if its edges are word
boundaries of a segmenter, or if it has at least four characters; any other is only a suspicion for the
second check (`端口交换机`).  The longest allowed phrase that covers a hit cancels it.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Literal

import ahocorasick_rs

from bot.guard.fold import Folded, fold, is_han
from bot.guard.verdict import Action

_NEVER = "\0\0"  # never occurs in a folded text: stands for a term of which nothing is left
_SURE_LENGTH = 4  # Chinese terms this long hardly ever arise from two neighbouring words
_STRETCH = re.compile(r"[^\s。、,;:!?()]{0,200}")  # what a word can be part of
_BEHIND = 100  # of these characters, before a hit


@dataclass(frozen=True, slots=True)
class Term:
    """One word or phrase of the list.  `allow` terms cancel hits instead of making them."""

    text: str
    category: str
    action: Action
    match: Literal["word", "substring"] = "word"
    language: str = ""
    note: str = ""
    """For those who edit the list."""
    shadow: bool = False
    """On trial: only recorded, without effect."""
    allow: bool = False

    @property
    def rule(self) -> str:
        """`term:<hash>`: names the term in records without quoting it."""
        return f"term:{hashlib.sha256(self.text.encode()).hexdigest()[:10]}"


@dataclass(frozen=True, slots=True)
class Hit:
    """A term found, and where in the original text."""

    term: Term
    span: tuple[int, int]
    sure: bool
    """False for a suspicion: the edges are not word boundaries."""


@dataclass(frozen=True, slots=True)
class Terms:
    """All terms, searchable.  Building takes about 0.15 s for 60,000; the search about 4 us a KB."""

    terms: tuple[Term, ...]
    _automaton: ahocorasick_rs.AhoCorasick = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # One pattern for each term, duplicates too, so that the number of a match is that of its term.
        patterns = (fold(term.text).text.strip() or _NEVER for term in self.terms)
        object.__setattr__(self, "_automaton", ahocorasick_rs.AhoCorasick(patterns, store_patterns=False))

    def matches(self, text: str) -> list[tuple[int, int, int]]:
        """Every occurrence of every term in a folded text, as number, start, end; not checked yet."""
        return self._automaton.find_matches_as_indexes(text, overlapping=True)

    def find(self, folded: Folded) -> tuple[Hit, ...]:
        """Every term in the text, nested ones too, in order, except those that an allowed phrase covers."""
        found = self._search(folded)
        squeezed = folded.squeezed
        if squeezed is not None:
            seen = {(hit.term, hit.span) for hit in found}
            found += [hit for hit in self._search(squeezed) if (hit.term, hit.span) not in seen]
        allowed = [hit.span for hit in found if hit.term.allow]
        return tuple(
            hit
            for hit in sorted(found, key=lambda hit: hit.span)
            if not hit.term.allow and not any(a <= hit.span[0] and hit.span[1] <= b for a, b in allowed)
        )

    def _search(self, folded: Folded) -> list[Hit]:
        text = folded.text
        edges = _Edges(text)
        hits: list[Hit] = []
        for index, start, end in self.matches(text):
            term = self.terms[index]
            sure = term.match == "substring"
            if not sure and not (is_han(text[start]) or is_han(text[end - 1])):
                if not _between_words(text, start, end):
                    continue
                sure = True
            elif not sure and end - start < _SURE_LENGTH:
                sure = edges.part(start, end)
            else:
                sure = True
            hits.append(Hit(term, folded.span(start, end), sure=sure))
        return hits


def _between_words(text: str, start: int, end: int) -> bool:
    before = text[start - 1] if start else " "
    after = text[end] if end < len(text) else " "
    return not (_joins(before) and _joins(text[start])) and not (_joins(after) and _joins(text[end - 1]))


def _joins(character: str) -> bool:
    return (character.isalnum() or character == "_") and not is_han(character)


class _Edges:
    """Word boundaries, computed only for the stretch around a hit.

    The segmenter's dictionary takes 0.1 s and 30 MB to load, so it is loaded at the first hit.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._known: dict[int, frozenset[int]] = {}

    def part(self, start: int, end: int) -> bool:
        """Whether words begin and end with the hit."""
        behind = _STRETCH.match(self._text[max(0, start - _BEHIND) : start][::-1])
        first = start - (behind.end() if behind else 0)
        if first not in self._known:
            self._known[first] = self._cut(first)
        return {start, end} <= self._known[first]

    def _cut(self, first: int) -> frozenset[int]:
        import rjieba  # noqa: PLC0415

        stretch = _STRETCH.match(self._text, first)
        words = rjieba.cut(stretch.group() if stretch else "", hmm=False)
        return frozenset(accumulate(map(len, words), initial=first))

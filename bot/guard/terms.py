"""Words that must not leave: one automaton over the folded text, then what tells a hit from chance.

A Latin term needs word boundaries (`classic` is no hit); a Chinese one whose edges lie on a segmenter's
boundaries, or of four characters and more, is a hit, any other is only a suspicion for the second
check (`端口交换机`).  The longest allowed phrase that covers a hit cancels it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import ahocorasick_rs

from bot.guard.fold import Folded, fold, is_han
from bot.guard.verdict import Action

_NEVER = "\0\0"  # a folded text has no such character: stands for a term of which nothing is left
_SURE_LENGTH = 4  # Chinese terms this long hardly ever arise from two neighbouring words


@dataclass(frozen=True, slots=True)
class Term:
    """One word or phrase of the list.  `allow` terms cancel hits instead of making them."""

    text: str
    category: str
    action: Action
    match: Literal["word", "substring"] = "word"
    language: str = ""
    note: str = ""
    """For the editors of the list."""
    shadow: bool = False
    """On trial: recorded, not obeyed."""
    allow: bool = False

    @property
    def rule(self) -> str:
        """`term:<hash>`: names the term in a ledger without quoting it."""
        return f"term:{hashlib.sha256(self.text.encode()).hexdigest()[:10]}"


@dataclass(frozen=True, slots=True)
class Hit:
    """A term found, and where in the original text."""

    term: Term
    span: tuple[int, int]
    sure: bool
    """False for a suspicion: the edges do not fall between words."""


@dataclass(frozen=True, slots=True)
class Terms:
    """All terms, searchable.  Building takes about 0.15 s for 60,000; the search some 4 us a KB."""

    terms: tuple[Term, ...]
    _automaton: ahocorasick_rs.AhoCorasick = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # One pattern a term, doubles too, so that a match's number is its term's.
        patterns = (fold(term.text).text.strip() or _NEVER for term in self.terms)
        object.__setattr__(self, "_automaton", ahocorasick_rs.AhoCorasick(patterns, store_patterns=False))

    def matches(self, text: str) -> list[tuple[int, int, int]]:
        """Every place of every term in a folded text, as number, start, end; nothing judged yet."""
        return self._automaton.find_matches_as_indexes(text, overlapping=True)

    def find(self, folded: Folded) -> tuple[Hit, ...]:
        """Every term in the text, nested ones too, in order; what an allowed phrase covers is left out."""
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
        edges: frozenset[int] | None = None
        hits: list[Hit] = []
        for index, start, end in self.matches(text):
            term = self.terms[index]
            sure = term.match == "substring"
            if not sure and not (is_han(text[start]) or is_han(text[end - 1])):
                if not _between_words(text, start, end):
                    continue
                sure = True
            elif not sure and end - start < _SURE_LENGTH:
                edges = edges if edges is not None else _edges(text)
                sure = start in edges and end in edges
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


def _edges(text: str) -> frozenset[int]:
    """Positions between words.  Loaded at the first hit only: the dictionary takes 0.1 s and 30 MB."""
    import rjieba  # noqa: PLC0415

    return frozenset(_positions(rjieba.cut(text, hmm=False)))


def _positions(words: Iterable[str]) -> Iterator[int]:
    position = 0
    yield position
    for word in words:
        position += len(word)
        yield position

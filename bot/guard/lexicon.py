"""Groups of words, found in one search: which groups a text mentions, and where.

An entry is plain text with `[optional parts]` and `(this|that)`, which are expanded before the search:
nothing here is a pattern, so nothing here can be slow.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from string import ascii_letters, digits

import ahocorasick_rs

from bot.guard.clauses import sentence_ends

_INNERMOST = re.compile(r"[\[(]([^\[\]()]*)[\])]")
_STEM = "~"
_LETTERS = frozenset(ascii_letters + digits + "_")  # what a whole word may not touch
_MOST_WORDS = 40  # found in one sentence; no honest one has so many
_LONGEST = 400  # characters of a sentence that are checked at a time
_LEAD = 80  # characters around the words of a sentence in which a `never` may be

Heard = tuple[int, int, int]
"""Where a word begins and ends, and its groups, one bit each."""


def spelled(entry: str) -> Iterator[str]:
    """Every plain phrase that an entry expands to."""
    if "[" not in entry and "(" not in entry:
        yield " ".join(entry.split())
        return
    group = _INNERMOST.search(entry)
    if group is None:
        raise ValueError(f"{entry}: a bracket without its other half")
    choices = group.group(1).split("|")
    if group.group().startswith("["):
        choices.append("")
    for choice in choices:
        yield from spelled(entry[: group.start()] + choice + entry[group.end() :])


class Lexicon:
    """Groups of words, separated by commas.  Latin words match whole; `scorch~` matches all that begin so.

    A word inside one of the `harmless` phrases does not count: `spark` in `spark plug`, `带电` in `带电池`.
    Such a phrase may be a word of a group itself: `漏电保护` is not `漏电`, but a protection.
    """

    def __init__(self, groups: Mapping[str, str], *, harmless: str = "") -> None:
        self.bits = {name: 1 << number for number, name in enumerate(groups)}
        meanings: dict[str, int] = {}
        stems: set[str] = set()
        innocent: set[str] = set()
        for name, listed in {"": harmless, **groups}.items():
            for entry in filter(None, map(str.strip, listed.split(","))):
                for phrase in spelled(entry):
                    word = phrase.removesuffix(_STEM)
                    if word != phrase:
                        stems.add(word)
                    meanings[word] = meanings.get(word, 0) | self.bits.get(name, 0)
                    if not name:
                        innocent.add(word)
        self._words = tuple(
            (word[0] in _LETTERS, word[-1] in _LETTERS and word not in stems, meaning, word in innocent)
            for word, meaning in meanings.items()
        )
        self._automaton = ahocorasick_rs.AhoCorasick(meanings, store_patterns=False)

    def heard(self, text: str) -> list[Heard]:
        """Every word in the text, in order, except those that are part of a harmless phrase."""
        found: list[Heard] = []
        innocent: list[tuple[int, int]] = []
        size = len(text)
        for number, start, end in self._automaton.find_matches_as_indexes(text, overlapping=True):
            at_start, at_end, meaning, is_innocent = self._words[number]
            if at_start and start and text[start - 1] in _LETTERS:
                continue
            if at_end and end < size and text[end] in _LETTERS:
                continue
            if meaning:
                found.append((start, end, meaning))
            if is_innocent:
                innocent.append((start, end))
        return _outside(found, innocent) if innocent else found

    def by_sentence(self, text: str) -> Iterator[tuple[int, int, list[Heard], int]]:
        """Sentences that contain any of the words, with these and their groups; long ones in stretches."""
        heard = self.heard(text)
        ends = sentence_ends(text) if heard else ()
        at, size = 0, len(heard)
        while at < size:
            number = bisect_right(ends, heard[at][0])
            start = ends[number - 1] if number else 0
            end = ends[number] if number < len(ends) else len(text)
            first, spoken = at, 0
            longest = min(end, heard[first][0] + _LONGEST)
            while at < size and heard[at][0] < longest and at - first < _MOST_WORDS:
                spoken |= heard[at][2]
                at += 1
            words = heard[first:at]
            yield max(start, words[0][0] - _LEAD), min(end, words[-1][1] + _LEAD), words, spoken


def _outside(found: list[Heard], phrases: list[tuple[int, int]]) -> list[Heard]:
    """Words that are not inside any of the phrases, unless they are the phrase itself."""
    phrases.sort()
    starts = [start for start, _ in phrases]
    longest: list[tuple[int, int]] = []  # up to each phrase, the one that ends last
    for phrase in phrases:
        longest.append(phrase if not longest or phrase[1] > longest[-1][1] else longest[-1])
    kept: list[Heard] = []
    for hit in found:
        before = bisect_right(starts, hit[0])
        if not before or longest[before - 1][1] < hit[1] or longest[before - 1] == hit[:2]:
            kept.append(hit)
    return kept

"""Who said not to: sentences, clauses and negation in a folded text, Chinese and English.

Small grammar, no parser: enough to tell `I cannot promise a refund` from `I promise a refund`, and
`没有焦味` from `有焦味`.  Every pattern here works inside one sentence of bounded length.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache

import ahocorasick_rs


def either(*alternatives: str) -> re.Pattern[str]:
    """A pattern that matches any of them: long lists of words, a line at a time."""
    return re.compile("|".join(alternatives))


_SENTENCE_END = re.compile(r"[。!?;…\n]|\.(?=[ \n]|\Z)")  # a point inside a number or a name ends none
_LONGEST = 400  # characters of a sentence
_CLAUSE_EDGE = either(
    r"[,、:;。()\[\]]",
    r"\b(?:but|however|although|though|yet|because|since|so that|therefore|if|unless|when|and then"
    r"|then)\b",
    r"\band (?=we\b|i\b|you\b|they\b)",
    "但是?|不过|然而|因此|所以|如果|若|除非|只要|而且|并且|同时|就",
)
# Words that hold a `not` without denying anything.
_NO_NEGATION = either(
    r"\bnot (?:only|just|merely|sure|certain|to worry)\b",
    r"\b(?:no|without(?: a)?) (?:problem|doubt|worries|questions asked)\b",
    r"\bdon'?t (?:just|worry|hesitate)\b|\bdo not (?:just|worry|hesitate)\b|\bwhy not\b",
    r"\bnothing but\b|\bno matter\b|\bno later than\b|\bno need to\b|\bnothing to worry\b|\bif not\b",
    "不仅|不但|不光|不只|不管|不论|不用|不必|不知道|不确定|是不是|会不会|能不能|可不可以|有没有",
    "不小心|不停|不断|不久|不错|不限|不要担心|别担心|不要着急|别着急|不过|不同|没问题|没关系|没错",
    "毫无疑问|无论|无条件|无需|无须|无忧|无限|无理由|未来|无线|不锈|别的|特别|分别|识别|级别|类别",
    "区别|个别",
)
_NEGATION = either(
    r"\b(?:not|cannot|never|no|nor|neither|without|unable|refuse[sd]?|fail(?:s|ed)?|isn'?t|aren'?t"
    "|won'?t|can'?t|don'?t|doesn'?t|didn'?t|wouldn'?t|couldn'?t|shouldn'?t|haven'?t|hasn'?t"
    r"|wasn'?t|avoid|impossible|nothing|nobody|none)\b",
    "不|没|無|无|未|勿|别|非|禁止|难以|拒绝|避免|否认",
)
_NEW_SUBJECT = re.compile(r"\b(?:i|we|you|they|it)(?:'ll|'re|'ve|'d)?\b|我们?|您|你们?")


class Words:
    """A few dozen words, parted by bars: only sentences in which one occurs are read more closely."""

    def __init__(self, *words: str) -> None:
        listed = "|".join(words).split("|")
        self._automaton = ahocorasick_rs.AhoCorasick(listed, store_patterns=False)

    def occur_in(self, text: str) -> bool:
        """Whether any of them is in the text.  About 4 us a KB."""
        return bool(self._automaton.find_matches_as_indexes(text))

    def places(self, text: str) -> Iterator[tuple[int, int]]:
        """Where they stand, as whole Latin words or as Chinese ones."""
        for _, start, end in self._automaton.find_matches_as_indexes(text):
            if not (
                text[start].isascii() and start and text[start - 1].isascii() and text[start - 1].isalnum()
            ):
                yield start, end

    def sentences(self, text: str) -> Iterator[tuple[int, str]]:
        """The sentences with one of the words, each with its position."""
        hits = self._automaton.find_matches_as_indexes(text)
        if not hits:
            return
        ends = _sentence_ends(text)
        read = 0
        for _, position, _ in hits:
            if position < read:
                continue
            number = bisect_right(ends, position)
            start = max(ends[number - 1] if number else 0, position - _LONGEST // 2, read)
            end = min(ends[number] if number < len(ends) else len(text), position + _LONGEST // 2)
            read = end
            yield start, text[start:end].rstrip("。;….\n")


@lru_cache(maxsize=4)
def _sentence_ends(text: str) -> tuple[int, ...]:
    """Positions after each end of a sentence; every rule asks for those of the same text."""
    return tuple(match.end() for match in _SENTENCE_END.finditer(text))


def clause_start(sentence: str, position: int) -> int:
    """Where the clause around a position begins."""
    start = 0
    for edge in _CLAUSE_EDGE.finditer(sentence, 0, position):
        start = edge.end()
    return start


def clause_end(sentence: str, position: int) -> int:
    """Where the clause around a position ends."""
    edge = _CLAUSE_EDGE.search(sentence, position)
    return edge.start() if edge else len(sentence)


def is_negated(sentence: str, position: int, *, reach: int = 40) -> bool:
    """Whether the word at a position is denied by what stands before it in its clause.

    Two negations cancel (`we will not fail to`); `not only` and `无条件` are none.
    """
    start = max(clause_start(sentence, position), position - reach)
    before = _NO_NEGATION.sub(lambda match: "\0" * len(match.group()), sentence[start:position])
    # English puts a new subject between a denial and what it does not deny: `I'm not joking, we promise`.
    found = [
        match
        for match in _NEGATION.finditer(before)
        if not (match.group().isascii() and _new_subject_after(before, match.end()))
    ]
    return len(found) % 2 == 1


def _new_subject_after(before: str, position: int) -> bool:
    subject = _NEW_SUBJECT.search(before, position)
    return subject is not None and subject.group().isascii() and subject.group() not in {"you", "it", "they"}

"""Sentences, clauses and negation in a folded text, Chinese and English.

This is a small grammar, not a parser: enough to tell `I cannot promise a refund` from
`I promise a refund`, and `没有焦味` from `有焦味`.  Patterns work inside one sentence of bounded length.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

import ahocorasick_rs


def either(*alternatives: str) -> re.Pattern[str]:
    """A pattern that matches any of these alternatives, which are long lists of words.

    Those that begin at a word boundary are tried together, and only there: at every other position, which
    is most of them, one check is enough for all.
    """
    edge: list[str] = []
    anywhere: list[str] = []
    for one in _alternatives("|".join(alternatives)):
        (edge if one.startswith(r"\b") else anywhere).append(one.removeprefix(r"\b"))
    at_edge = [rf"\b(?=\w)(?:{'|'.join(edge)})"] if edge else []
    return re.compile("|".join(at_edge + anywhere))


def _alternatives(pattern: str) -> list[str]:
    """Split a pattern at the bars that are not inside brackets."""
    found, depth, in_class, start = [], 0, False, 0
    escaped = False
    for place, sign in enumerate(pattern):
        if escaped or sign == "\\":
            escaped = not escaped
        elif in_class:
            in_class = sign != "]"
        elif sign == "[":
            in_class = True
        elif sign in "()":
            depth += 1 if sign == "(" else -1
        elif sign == "|" and not depth:
            found.append(pattern[start:place])
            start = place + 1
    return [*found, pattern[start:]]


_SENTENCE_MARKS = ("。", "!", "?", ";", "…", "\n", ". ", ".\n")  # a dot inside a number or name ends none
_ENDS = ahocorasick_rs.AhoCorasick(_SENTENCE_MARKS, store_patterns=False)
_LONGEST = 400  # characters of a sentence
_CLAUSE_EDGE = either(
    r"[,、:;。()\[\]]",
    r"\b(?:but|however|although|though|yet|because|since|so that|therefore|if|unless|when|and then"
    r"|then)\b",
    r"\band (?=we\b|i\b|you\b|they\b)",
    "但是?|不过|然而|因此|所以|如果|若|除非|只要|而且|并且|同时|就",
)
# Phrases that contain a `not` without negating anything.
_NO_NEGATION = either(
    r"\bnot (?:only|just|merely|sure|certain|to worry)\b",
    r"\b(?:no|without(?: a)?) (?:problem|doubt|worries|questions asked)\b",
    r"\bdon'?t (?:just|worry|hesitate)\b|\bdo not (?:just|worry|hesitate)\b|\bwhy not\b",
    r"\bnothing but\b|\bno matter\b|\bno later than\b|\bno need to\b|\bnothing to worry\b|\bif not\b",
    "不(?:制冷|制热|加热|工作|转(?!账|给|人|钱|到|接)|启动|通电|出水|脱水|排水|进水|亮|热|冷|动(?!产)|凉|响应|灵|干净)",
    "没买|没找|没到货|不仅|不但|不光|不只|不管|不论|不用|不必|不知道|不确定|是不是|会不会|能不能|可不可以|有没有",
    "一分不少|分文不少|不小心|不停|不断|不久|不错|不限|不要担心|别担心|不要着急|别着急|不过|不同|没问题|没关系|没错",
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
    """A few dozen words, separated by bars: only texts that contain one are examined more closely."""

    def __init__(self, *words: str) -> None:
        listed = "|".join(words).split("|")
        self._automaton = ahocorasick_rs.AhoCorasick(listed, store_patterns=False)

    def occur_in(self, text: str) -> bool:
        """Whether the text contains any of them.  About 4 us a KB."""
        return bool(self._automaton.find_matches_as_indexes(text))

    def places(self, text: str) -> Iterator[tuple[int, int]]:
        """Their positions, as whole Latin words or as Chinese ones."""
        for _, start, end in self._automaton.find_matches_as_indexes(text):
            if not (
                text[start].isascii() and start and text[start - 1].isascii() and text[start - 1].isalnum()
            ):
                yield start, end


class Watch:
    """A few dozen words, separated by bars, for each of several rules: one search serves them all."""

    def __init__(self, words: Mapping[str, tuple[str, ...]]) -> None:
        owners: dict[str, list[str]] = {}
        for rule, listed in words.items():
            for word in "|".join(listed).split("|"):
                owners.setdefault(word, []).append(rule)
        self._rules = tuple(words)
        self._owners = tuple(tuple(rules) for rules in owners.values())
        self._automaton = ahocorasick_rs.AhoCorasick(owners, store_patterns=False)

    def sentences(self, text: str) -> Iterator[tuple[str, int, str]]:
        """For each rule the sentences that contain one of its words, each with its position."""
        places: dict[str, list[int]] = {}
        for word, start, _ in self._automaton.find_matches_as_indexes(text, overlapping=True):
            for rule in self._owners[word]:
                places.setdefault(rule, []).append(start)
        for rule in self._rules if places else ():
            for start, end in _around(text, places.get(rule, ())):
                yield rule, start, text[start:end].rstrip("。;….\n")


def _around(text: str, places: Iterable[int]) -> Iterator[tuple[int, int]]:
    """The sentences around positions, which come in order, each once; of long ones only the vicinity."""
    ends = sentence_ends(text)
    read = 0
    for position in places:
        if position < read:
            continue
        number = bisect_right(ends, position)
        start = max(ends[number - 1] if number else 0, position - _LONGEST // 2, read)
        read = min(ends[number] if number < len(ends) else len(text), position + _LONGEST // 2)
        yield start, read


@lru_cache(maxsize=4)
def sentence_ends(text: str) -> tuple[int, ...]:
    """Positions after each end of a sentence; cached, since every rule asks for those of the same text."""
    marks = _ENDS.find_matches_as_indexes(text, overlapping=True)
    ends = [start + 1 for _, start, _ in marks]
    if text.endswith("."):
        ends.append(len(text))
    return tuple(ends)


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
    """Whether the word at a position is negated by something before it in its clause.

    Two negations cancel out (`we will not fail to`); `not only` and `无条件` are not negations.
    """
    start = max(clause_start(sentence, position), position - reach)
    before = _NO_NEGATION.sub(lambda match: "\0" * len(match.group()), sentence[start:position])
    # In English, a new subject ends the reach of a negation: `I'm not joking, we promise`.
    found = [
        match
        for match in _NEGATION.finditer(before)
        if not (match.group().isascii() and _new_subject_after(before, match.end()))
    ]
    return len(found) % 2 == 1


def _new_subject_after(before: str, position: int) -> bool:
    subject = _NEW_SUBJECT.search(before, position)
    return subject is not None and subject.group().isascii() and subject.group() not in {"you", "it", "they"}

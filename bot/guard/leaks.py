"""Whether a reply repeats the system prompt: its canary in any simple disguise, or long stretches of it."""

from __future__ import annotations

import base64
import binascii
import codecs
import re
from collections.abc import Iterator
from functools import lru_cache

from bot.guard.clauses import Words
from bot.guard.fold import Folded, fold, is_han
from bot.guard.verdict import Action, Reason

_LENGTH = 40  # letters of a stretch: shorter ones also occur in honest answers
_HAN_LENGTH = 16  # a Chinese character carries about as much as two and a half letters
_STEPS = {_LENGTH: 8, _HAN_LENGTH: 4}
_SHARED = {_LENGTH: 3, _HAN_LENGTH: 5}  # stretches: 56 letters or 32 Chinese characters on end are held
_COPIED = 3  # times as many are not a coincidence
_ENCODED = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")
_SIGNS = re.compile(r"[\W_]+")
_ASCII_SIGNS = {code: None for code in range(128) if not chr(code).isalnum()}
_KEPT_PROMPTS = 16  # templates times languages in use at once


def find_leaks(text: str, folded: Folded, *, system: str, canary: str = "") -> Iterator[Reason]:
    """A canary or a long copy of the system prompt is blocked, a shorter copy held."""
    if not system and not canary:
        return
    seen = _letters(folded.text)
    decoded = tuple(_letters(fold(said).text) for said in _decoded(text))
    if canary and _shows(canary, (seen, *decoded)):
        yield Reason("leak.canary", "leak", Action.BLOCK)
    elif system:
        yield from _copies(system, (seen, *decoded))


def _shows(canary: str, readings: tuple[str, ...]) -> bool:
    wanted = _letters(canary.lower())
    spellings = (
        wanted,
        wanted[::-1],
        codecs.encode(wanted, "rot13"),
        wanted.encode().hex(),
        canary.encode().hex(),
        base64.b32encode(canary.encode()).decode().rstrip("=").lower(),
    )
    return any(spelling in reading for spelling in spellings for reading in readings)


def _copies(system: str, readings: tuple[str, ...]) -> Iterator[Reason]:
    """Long stretches of the prompt, repeated forwards, backwards or encoded."""
    known, crumbs = _stretches(system)
    for number, reading in enumerate(readings):
        if not crumbs.occur_in(reading):
            continue
        for size, step in _STEPS.items():
            if size == _HAN_LENGTH and reading.isascii():
                continue
            said = {hash(reading[at : at + size]) for at in range(0, len(reading) - size + 1, step)}
            shared = len(said & known)
            if shared >= _SHARED[size]:
                action = Action.BLOCK if shared >= _COPIED * _SHARED[size] else Action.HOLD
                yield Reason("leak.prompt", "leak", action, note=f"{shared} stretches, reading {number}")
                return


@lru_cache(maxsize=_KEPT_PROMPTS)
def _stretches(system: str) -> tuple[frozenset[int], Words]:
    """Hashes of every stretch of the prompt in each of its spellings; short ones only where it is Chinese.

    Also a search for fragments of the prompt, half as long as a stretch, end to end: every stretch contains
    one, so a reply without any need not be checked further.
    """
    text = _letters(fold(system).text)
    plain = system.encode(errors="ignore")
    ways = (text, text[::-1], codecs.encode(text, "rot13"), plain.hex())
    stretches = frozenset(
        hash(way[at : at + size])
        for way in ways
        for size in _STEPS
        for at in range(len(way) - size + 1)
        if size == _LENGTH or _is_chinese(way[at : at + size])
    )
    crumbs = {
        way[at : at + size // 2]
        for way in ways
        for size in _STEPS
        for at in range(0, len(way) - size // 2 + 1, size // 2)
        if size == _LENGTH or any(map(is_han, way[at : at + size // 2]))
    }
    return stretches, Words(*crumbs or "\0")


def _letters(text: str) -> str:
    """Letters and digits only, however they were spaced."""
    return text.translate(_ASCII_SIGNS) if text.isascii() else _SIGNS.sub("", text)


def _is_chinese(stretch: str) -> bool:
    return 2 * sum(map(is_han, stretch)) > len(stretch)


def _decoded(text: str) -> Iterator[str]:
    """What base64 in the text decodes to, in one piece or broken into lines."""
    runs = [match.group() for match in _ENCODED.finditer(text)]
    whole = ["".join(runs)] if len(runs) > 1 else []
    for run in runs + whole:
        plain = run.rstrip("=").replace("-", "+").replace("_", "/")
        for shift in range(4):  # a prefix may be joined to it
            piece = plain[shift:] if (len(plain) - shift) % 4 != 1 else plain[shift:-1]
            try:
                yield base64.b64decode(piece + "=" * (-len(piece) % 4)).decode("utf-8", "ignore")
            except (binascii.Error, ValueError):
                continue

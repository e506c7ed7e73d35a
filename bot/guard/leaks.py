"""Whether a reply repeats the system prompt: its canary in any simple disguise, or long stretches of it."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from functools import lru_cache

from bot.guard.fold import fold
from bot.guard.verdict import Action, Reason

_LENGTH = 40  # letters of a shingle: shorter ones also occur in honest answers
_HAN_LENGTH = 16  # a Chinese character says about as much as two and a half letters
_SHARED = 5  # shingles, four characters apart: 56 letters or 32 Chinese characters on end are held
_COPIED = 10  # so many are no coincidence
_ENCODED = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")
_LEET = re.compile(r"[\W_]+")
_KEPT_PROMPTS = 32  # templates times languages in use at once


def find_leaks(text: str, *, system: str, canary: str = "") -> Iterator[Reason]:
    """A canary or a long copy of the system prompt is blocked, a shorter copy held."""
    if canary and _shows(text, canary):
        yield Reason("leak.canary", "leak", Action.BLOCK)
        return
    if not system:
        return
    known = _shingles(system)
    if known:
        for number, shape in enumerate(_readings(text)):
            shared = sum(1 for shingle in _walk(shape) if shingle in known)
            if shared >= _SHARED:
                action = Action.BLOCK if shared >= _COPIED else Action.HOLD
                yield Reason("leak.prompt", "leak", action, note=f"{shared} shingles, reading {number}")
                return


def _shows(text: str, canary: str) -> bool:
    wanted = _LEET.sub("", canary.lower())
    coded = {canary.encode().hex(), wanted.encode().hex()}
    seen = _LEET.sub("", fold(text).text)
    if wanted in seen or wanted[::-1] in seen or any(code in seen for code in coded):
        return True
    return any(wanted in _LEET.sub("", decoded.lower()) for decoded in _decoded(text))


def _decoded(text: str) -> Iterator[str]:
    """What base64 in the text says, split over lines or not."""
    for source in (text, "".join(text.split())):
        for match in _ENCODED.finditer(source):
            run = match.group().rstrip("=").translate(str.maketrans("-_", "+/"))
            for shift in range(min(4, len(run))):  # a prefix may run into it
                piece = run[shift:] if (len(run) - shift) % 4 != 1 else run[shift:-1]
                try:
                    yield base64.b64decode(piece + "=" * (-len(piece) % 4)).decode("utf-8", "ignore")
                except (binascii.Error, ValueError):
                    continue


def _readings(text: str) -> Iterator[str]:
    """The reply as it is, backwards, and decoded: each squeezed to letters and digits."""
    plain = _squeezed(text)
    yield plain
    yield plain[::-1]
    for decoded in _decoded(text):
        if len(decoded) >= _LENGTH // 2:
            yield _squeezed(decoded)


def _squeezed(text: str) -> str:
    return _LEET.sub("", fold(text).text)


@lru_cache(maxsize=_KEPT_PROMPTS)
def _shingles(system: str) -> frozenset[int]:
    """Hashes of every stretch of the prompt, one per position."""
    text = _squeezed(system)
    return frozenset(hash(text[i : i + size]) for size in (_LENGTH, _HAN_LENGTH) for i in _starts(text, size))


def _starts(text: str, size: int) -> Iterator[int]:
    for i in range(len(text) - size + 1):
        if size == _LENGTH or not text[i : i + size].isascii():
            yield i


def _walk(text: str) -> Iterator[int]:
    """One hash for every fourth position of a reply."""
    for i in range(0, len(text), 4):
        stretch = text[i : i + _LENGTH]
        size = _LENGTH if stretch[:_HAN_LENGTH].isascii() else _HAN_LENGTH
        if len(stretch) >= size:
            yield hash(stretch[:size])

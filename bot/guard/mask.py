"""Masks personal data in transcripts, logs and exports: cards, identity numbers, phones, e-mail, tokens.

Fault reports are full of serial numbers, so a number with check digits counts as personal only if they are
correct: a random 16-digit serial passes Luhn and a known issuer in 2 of 100 cases, an 18-digit one the
Chinese identity check in 3 of 100,000.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Literal

from bot.guard.fold import Folded, fold
from bot.guard.phones import is_labelled

Kind = Literal["token", "email", "iban", "card", "identity", "mobile"]


_FIRST_BORN = 1900
_IBAN_LENGTHS = (15, 34)


@dataclass(frozen=True, slots=True)
class Secret:
    """A piece of personal data and its place."""

    kind: Kind
    span: tuple[int, int]


def mask(text: str) -> str:
    """The text with personal data replaced by `[card]`, `[mobile]`, ...; the rest stays readable."""
    pieces: list[str] = []
    end = 0
    for secret in find_secrets(text):
        pieces += [text[end : secret.span[0]], f"[{secret.kind}]"]
        end = secret.span[1]
    return "".join([*pieces, text[end:]]) if pieces else text


def find_secrets(text: str) -> tuple[Secret, ...]:
    """Personal data in a text, in order, none overlapping."""
    if not _MAYBE.search(text):
        return ()
    folded = fold(text)
    found = sorted(_all(folded), key=lambda secret: (secret.span[0], -secret.span[1]))
    kept: list[Secret] = []
    for secret in found:
        if not kept or secret.span[0] >= kept[-1].span[1]:
            kept.append(secret)
    return tuple(kept)


def find_account_numbers(folded: Folded) -> Iterator[Secret]:
    """Card and bank account numbers only, in a text already folded."""
    for kind, pattern, passes in _KINDS:
        if kind == "card" or (kind == "iban" and _MAYBE_IBAN.search(folded.text)):
            for match in pattern.finditer(folded.text):
                if passes(match.group()):
                    yield Secret(kind, folded.span(*match.span()))


def _all(folded: Folded) -> Iterator[Secret]:
    for kind, pattern, passes in _KINDS:
        for match in pattern.finditer(folded.text):
            if passes(match.group()) and not (kind == "mobile" and is_labelled(folded.text, match.start())):
                yield Secret(kind, folded.span(*match.span()))


def is_card(number: str) -> bool:
    """Luhn, and an issuer that exists: Visa, Mastercard, Amex, UnionPay, JCB, Discover, Diners."""
    digits = "".join(filter(str.isdigit, number))
    return bool(_ISSUERS.match(digits)) and len(set(digits)) > 1 and _luhn(digits)


def is_identity(number: str) -> bool:
    """A Chinese identity number: region, a birthday that exists, check digit (GB 11643)."""
    try:
        born = date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    total = sum(weight * int(digit) for weight, digit in zip(weights, number, strict=False))
    return _FIRST_BORN <= born.year <= date.today().year and "10x98765432"[total % 11] == number[17]  # noqa: DTZ011


def is_iban(number: str) -> bool:
    """ISO 13616: country, length, remainder 1."""
    compact = re.sub(r"[\s-]", "", number).upper()
    moved = compact[4:] + compact[:4]
    return (
        _IBAN_LENGTHS[0] <= len(compact) <= _IBAN_LENGTHS[1]
        and int("".join(str(int(sign, 36)) for sign in moved)) % 97 == 1
    )


def _luhn(digits: str) -> bool:
    doubled = [int(digit) * (2 if place % 2 else 1) for place, digit in enumerate(reversed(digits))]
    return sum(sum(divmod(value, 10)) for value in doubled) % 10 == 0


def _always(_: str) -> bool:
    return True


_MAYBE = re.compile(r"\d{4}|\d[^\w]{0,3}\d[^\w]{0,3}\d[^\w]{0,3}\d|[@＠﹫]|(?i:sk|pk|gh[po]|xox[bp]|hf)[-_]")
# Placed after the first digit, so that the search can skip from digit to digit.
_EDGE = r"(?<![a-z\d].)(?<![a-z\d][-_].)"
_END = r"(?![a-z\d]|[-_.]\d)"
_ISSUERS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})\Z|5[1-5]\d{14}\Z|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}\Z|3[47]\d{13}\Z"
    r"|62\d{14,17}\Z|35(?:2[89]|[3-8]\d)\d{12}\Z|6(?:011|5\d\d|4[4-9]\d)\d{12}\Z|3(?:0[0-5]|[68]\d)\d{11}\Z"
)
# Begins with the digits, since there are fewer of them than letters.
_MAYBE_IBAN = re.compile(r"\d\d(?<=[a-z]{2}\d\d)(?:[ -]?[a-z\d]{4}){2}")
_KINDS: tuple[tuple[Kind, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("token", re.compile(r"(?<![\da-z])(?:bot)?\d{8,10}:[\w-]{35}(?![\w-])"), _always),
    ("token", re.compile(r"(?<![\da-z])(?:sk|pk|ghp|gho|xox[bp]|hf)[-_][a-z\d_-]{20,200}(?![\w-])"), _always),
    (
        "email",
        re.compile(r"(?<![\w.%+-])[\w.%+-]{1,64}@(?:[a-z\d-]{1,63}\.){1,8}[a-z]{2,24}(?![\w-])", re.ASCII),
        _always,
    ),
    (
        "iban",
        re.compile(r"[a-z](?<![a-z\d].)[a-z]\d{2}(?:[ -]?[a-z\d]{4}){2,7}(?:[ -]?[a-z\d]{1,3})?(?![a-z\d])"),
        is_iban,
    ),
    ("identity", re.compile(rf"[1-9]{_EDGE}\d{{16}}[\dx]{_END}"), is_identity),
    ("card", re.compile(rf"\d{_EDGE}(?:[ -]?\d){{12,18}}{_END}"), is_card),
    (
        "mobile",
        re.compile(
            rf"(?<![a-z\d])(?<![a-z\d][-_])(?:(?:\+|00)?86[ -]?)?1[3-9]\d[ -]?\d{{4}}[ -]?\d{{4}}{_END}"
        ),
        _always,
    ),
    (
        "mobile",
        re.compile(
            r"(?<![a-z\d])\+(?!86)[1-9]\d{0,2}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d(?:[ .-]?\d){6,11}(?![a-z\d])"
        ),
        _always,
    ),
)

"""Links, phone numbers, e-mail addresses and handles in a reply, disguised or not, that are not ours.

A plain unknown contact is masked, and the rest of the answer may be sent; a disguised one (`evil[.]com`,
a user name before the host, an imitation of ours, a link under other words) is blocked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from bot.guard.candidate import Link
from bot.guard.fold import Folded
from bot.guard.links import find_links
from bot.guard.phones import Number, find_numbers, only_digits
from bot.guard.verdict import Action

_WHOLE_NUMBER = 7  # digits; anything shorter occurs in other numbers by chance

Kind = Literal["link", "email", "handle", "phone"]


@dataclass(frozen=True, slots=True)
class Allowed:
    """Our own contacts, in lower case; phone numbers as digits only."""

    hosts: frozenset[str] = frozenset()
    local_hosts: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    phones: frozenset[str] = frozenset()
    emails: frozenset[str] = frozenset()
    handles: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls, lists: Mapping[str, frozenset[str]], hosts: Iterable[str] = (), phones: Iterable[str] = ()
    ) -> Allowed:
        """Make it from a policy's lists, and further hosts and phone numbers of ours."""
        return cls(
            hosts=lists["hosts"] | frozenset(hosts),
            local_hosts=lists["local_hosts"],
            names=lists["names"],
            phones=frozenset(only_digits(phone) for phone in (*lists["phones"], *phones)),
            emails=lists["emails"],
            handles=frozenset(handle.removeprefix("@") for handle in lists["handles"]),
        )


@dataclass(frozen=True, slots=True)
class Contact:
    """A contact that is not ours: its place, what happens to the reply, what is shown instead."""

    kind: Kind
    rule: str
    action: Action
    """`allow`: it is masked and the rest may be sent."""
    span: tuple[int, int]
    shown: str = ""
    """Shown in its place; empty for the language's usual placeholder."""


def find_contacts(text: str, folded: Folded, *, allowed: Allowed, asked: str = "") -> tuple[Contact, ...]:
    """Every contact in the text that is not on the allow-lists, in order, none inside another.

    A number that the customer gave us (in `asked`) is shown shortened instead of masked.
    """
    found = [
        *(_of_link(link) for link in find_links(text, folded, allowed=allowed)),
        *_of_numbers(find_numbers(folded), allowed, own=only_digits(asked), text=text),
    ]
    kept: list[Contact] = []
    for contact in sorted(found, key=lambda contact: (contact.span[0], -contact.span[1])):
        if kept and contact.span[1] <= kept[-1].span[1]:
            if contact.action.weight > kept[-1].action.weight:
                kept[-1] = Contact(kept[-1].kind, contact.rule, contact.action, kept[-1].span)
            continue
        kept.append(contact)
    return tuple(kept)


def _of_link(link: Link) -> Contact:
    action = Action.BLOCK if link.trick else Action.ALLOW
    return Contact(link.kind, f"contact.{link.trick or link.kind}", action, link.span)


def _of_numbers(numbers: Iterable[Number], allowed: Allowed, *, own: str, text: str) -> Iterator[Contact]:
    for number in numbers:
        if any(_same(number.digits, phone) for phone in allowed.phones):
            continue
        shown = ""
        if len(number.digits) >= _WHOLE_NUMBER and number.digits in own:
            original = text[slice(*number.span)]
            shown = f"{original[:3]}****{original[-4:]}"
        yield Contact("phone", "contact.phone", Action.ALLOW, number.span, shown)


def _same(digits: str, phone: str) -> bool:
    """Whether two numbers are the same, with or without the country code of China or the US."""
    return digits == phone or any(
        digits == code + phone or phone == code + digits for code in ("86", "1", "0086")
    )

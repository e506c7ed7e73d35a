"""A run of text that may be a host: ours, one on the local network, a stranger's, or none at all."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from dataclasses import dataclass
from typing import Literal, Protocol

from bot.guard.fold import Folded
from bot.guard.hosts import (
    FILE_ENDINGS,
    LINKING_WORDS,
    LOCAL_ENDINGS,
    MESSENGERS,
    STRONG,
    TOP_LEVEL,
    WORDS,
)

BRACKETED = r"[ ]?[\[({<【][ ]?(?:\.|。|d[o0]t|点)[ ]?[\])}>】][ ]?"
WEAK = r"。[ ]?|[ ]?点[ ]?(?=[a-z])|,?[ ]+d[o0]t,?[ ]+|[ ]\.[ ]?|\.[ ](?=(?:com|net|org|cn)\b)|,(?=com\b)"
SPLIT = re.compile(rf"(?P<hidden>{BRACKETED})|(?P<weak>{WEAK})|\.")
"""The dots of a host: written as such, in brackets, or in another way."""
_BEFORE = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]{1,15}):/{1,3}(?:[^\s/@]{1,80}@)?\Z")
_LOCAL_PART = re.compile(r"[a-z0-9._%+-]{1,64}\Z")
_HIDDEN_AT = re.compile(
    r"[a-z0-9._%+-]{1,64}[ ]?(?:(?P<bracket>[\[({][ ]?(?:at|@)[ ]?[\])}])|[ ]at[ ]|[ ]@[ ]?)[ ]?\Z"
)
_AFTER = re.compile(r"(?P<port>:\d{1,5}(?!\d))?(?P<path>[/?#][^\s<>\"'()（）【】\[\]，。；]{0,500})?")
_RELABELLED = re.compile(
    r"(?:\]\(\s?<?|\bhref\s?=\s?[\"']?|\]:[ ])(?:[a-z][a-z0-9+.-]{1,15}:/{0,3})?(?:[^\s/@]{1,80}@)?\Z"
)
_TELLING_NAME = 5  # letters; a name of ours this long is not matched by chance


class Lists(Protocol):
    """The allow-lists, as far as links need them."""

    @property
    def hosts(self) -> frozenset[str]:
        """Our hosts; their subdomains are ours too."""

    @property
    def local_hosts(self) -> frozenset[str]:
        """Hosts of devices on the customer's own network."""

    @property
    def names(self) -> frozenset[str]:
        """Product names that look like hosts (`asp.net`)."""

    @property
    def emails(self) -> frozenset[str]:
        """Our addresses."""

    @property
    def handles(self) -> frozenset[str]:
        """Our accounts, without `@`."""


@dataclass(frozen=True, slots=True)
class Link:
    """Something that a customer could follow or write to, and that is not ours."""

    kind: Literal["link", "email", "handle"]
    span: tuple[int, int]
    trick: str = ""
    """How it is disguised; empty if it is not."""


class Candidate:
    """One run that may be a host, with its surroundings."""

    def __init__(self, text: str, folded: Folded, start: int, end: int) -> None:
        self._folded = folded
        seen = folded.text
        self._start, self._end = start, end
        dots = list(SPLIT.finditer(seen, start, end))
        ends = [*(dot.start() for dot in dots), end]
        starts = [start, *(dot.end() for dot in dots)]
        self.labels = [seen[a:b].strip("-_") for a, b in zip(starts, ends, strict=True)]
        self.host = ".".join(self.labels)
        self.dots_hidden = any(dot.lastgroup for dot in dots)
        self.dots_weak = any(dot.lastgroup == "weak" for dot in dots)
        self._before = seen[max(0, start - 120) : start]
        before = _BEFORE.search(self._before)
        self.scheme = before.group("scheme") if before else ""
        after = _AFTER.match(seen, end)
        assert after is not None, "every part of the pattern is optional"
        self.has_path = after.end() > end
        self.after = after.end()
        self._next = seen[end : end + 1]
        self._from = start - len(before.group()) if before else start
        self.raw = text[slice(*folded.span(start, end))]

    def judge(self, allowed: Lists) -> Link | None:
        """What it is; None if it is ours, a local address, or not a host at all."""
        if self._next == "@":
            return None  # the part before an address or a host, judged with it
        if self._before.endswith("@"):
            return self._address(allowed)
        if not self._is_host(allowed):
            return None
        hidden_at = _HIDDEN_AT.search(self._before)
        if hidden_at and not self.scheme and (hidden_at.group("bracket") or self.dots_hidden):
            self._from = self._start - len(hidden_at.group())
            return self._link("email", "disguised")
        own = _under(self.host, allowed.hosts)
        if (own or _is_local(self.host, self.labels, allowed)) and not self._is_foreign():
            return None
        return self._link("link", self._trick(allowed, own=own))

    def _address(self, allowed: Lists) -> Link | None:
        token = self._before[:-1].rsplit(None, 1)[-1] if self._before[:-1].strip() else ""
        if "//" in token:
            self._from = self._start - 1 - len(token)
            return self._link("link", "userinfo")
        local = _LOCAL_PART.search(token)
        if local is None or not self._is_host(allowed):
            return None
        address = f"{local.group()}@{self.host}"
        if address in allowed.emails and not self._is_foreign():
            return None
        self._from = self._start - 1 - len(local.group())
        return self._link("email", "disguised" if self._is_foreign() or self.dots_hidden else "")

    def _link(self, kind: Literal["link", "email"], trick: str) -> Link:
        return Link(kind, self._folded.span(self._from, self.after), trick)

    def _trick(self, allowed: Lists, *, own: bool) -> str:
        if own or self._is_foreign():
            return "lookalike"
        if self.dots_hidden or self.scheme.startswith("hxxp"):
            return "disguised"
        if any(label.startswith("xn--") for label in self.labels):
            return "punycode"
        if _numeric(self.labels):
            return "numeric"
        if any(_imitates(self.host, host) for host in allowed.hosts):
            return "lookalike"
        return "relabelled" if _RELABELLED.search(self._before) else ""

    def _is_foreign(self) -> bool:
        """Whether folding removed letters of other scripts or hidden characters from it."""
        return any(
            (not character.isascii())
            and (
                unicodedata.category(character) in {"Cf", "Mn", "Me"}
                or (
                    character.isalpha()
                    and not unicodedata.normalize("NFKC", character).isascii()
                    and character != "点"
                )
            )
            for character in self.raw
        )

    def _is_host(self, allowed: Lists) -> bool:
        if not all(self.labels):
            return False
        if self.scheme or _numeric(self.labels):
            return bool(self.scheme)
        if self.labels[0] == "www" or self.host in MESSENGERS or _under(self.host, allowed.hosts):
            return True
        named = any(label.isalpha() or len(label) > 1 for label in self.labels[:-1])
        return named and self.host not in allowed.names and self._ends_as_host()

    def _ends_as_host(self) -> bool:
        ending = self.labels[-1]
        if self.dots_weak:
            return ending in STRONG and self.raw.rstrip().endswith(ending) and not self.labels[-2].isdigit()
        if ending in FILE_ENDINGS:
            return self.has_path and self.labels[0] not in {"", "usr"}
        if ending in WORDS:
            written = self.raw == self.raw.lower() and (ending in LINKING_WORDS or "-" in self.host)
            return self.has_path or self._before.endswith("@") or written
        return ending in TOP_LEVEL or ending.startswith("xn--")


def _under(host: str, hosts: frozenset[str]) -> bool:
    """Whether a host is one of these or a subdomain of one."""
    return any(host == own or host.endswith("." + own) for own in hosts)


def _numeric(labels: list[str]) -> bool:
    return all(label.isdigit() or re.fullmatch(r"0x[0-9a-f]+", label) for label in labels)


def _is_local(host: str, labels: list[str], allowed: Lists) -> bool:
    if labels[-1] in LOCAL_ENDINGS or _under(host, allowed.local_hosts):
        return True
    try:
        address = ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return address.is_private or address.is_link_local


def _imitates(host: str, own: str) -> bool:
    """Whether a host imitates ours: it contains our name, or differs from it by one letter."""
    if own.endswith("." + host):
        return False  # a parent domain of ours: not ours, but not an imitation
    if own in host or own.replace(".", "-") in host:
        return True
    name = own.rsplit(".", 1)[0].rsplit(".", 1)[-1]
    if len(name) < _TELLING_NAME:
        return False
    return any(name in label or _one_off(label, name) for label in host.split("."))


def _one_off(a: str, b: str) -> bool:
    if abs(len(a) - len(b)) > 1 or a == b:
        return False
    shorter, longer = sorted((a, b), key=len)
    if len(shorter) == len(longer):
        different = [i for i in range(len(a)) if a[i] != b[i]]
        first, last = different[0], different[-1]
        return first == last or a[first : last + 1] == b[first : last + 1][::-1]
    return any(longer[:i] + longer[i + 1 :] == shorter for i in range(len(longer)))

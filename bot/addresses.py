"""Addresses as settings hold them.  A ValueError says what is wrong, as a sentence about the setting."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit


def http_url(value: str) -> SplitResult:
    """The parts of an address of the web."""
    try:
        url = urlsplit(value)
        port = url.port
    except ValueError:
        raise ValueError("is not an address") from None
    if url.scheme not in {"http", "https"} or not url.hostname or port == 0:
        raise ValueError("must be an address that begins with http:// or https://")
    return url


def openai_url(value: str) -> str:
    """The address up to its version: adds `/v1` to a bare host, cuts a full endpoint after it."""
    url = http_url(value)
    if url.username or url.password:
        raise ValueError("must not hold a name or password; the key is a setting of its own")
    path = re.sub(r"/(chat/completions|completions|models)/?$", "", url.path).rstrip("/")
    if not re.search(r"/v\d+\w*(/|$)", path):
        path += "/v1"
    return url._replace(path=path, query="", fragment="").geturl()


def scheme_of(value: str, known: tuple[str, ...]) -> str:
    """What the address begins with, which has to be one of `known`."""
    scheme, colon, _ = value.partition("://")
    if not colon or scheme not in known:
        raise ValueError(
            f"must begin with {', '.join(f'{name}://' for name in known[:-1])} or {known[-1]}://"
        )
    return scheme


def is_host(value: str) -> bool:
    """Whether this is the name or the address of a host, without scheme, path and port."""
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return re.fullmatch(r"(?!-)[\w-]+(\.[\w-]+)*\.?", value) is not None
    return True

"""Requests of the API on their way in: understood or refused, never a surprise."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bot.web.api import openapi
from bot.web.api.describe import read_item
from bot.web.api.refusal import ApiError
from bot.web.api.wire import read_request
from tests.api_world import data_url, user

CHAT: dict[str, Any] = {
    "model": "support",
    "messages": [
        {"role": "system", "content": "We sell fridges.", "name": "app"},
        user("It beeps", data_url()),
        {"role": "assistant", "content": "Which light?", "tool_calls": [], "refusal": None},
        user("E4"),
    ],
    "max_tokens": 10,
    "max_completion_tokens": 10,
    "temperature": 1,
    "top_p": 1,
    "stop": ["a"],
    "stream": True,
    "stream_options": {"include_usage": True, "include_obfuscation": False},
    "seed": 1,
    "user": "u",
    "n": 1,
    "response_format": {"type": "text"},
}
ITEM: dict[str, Any] = {
    "id": "a",
    "image": data_url(),
    "prompt": "What is it?",
    "template": None,
    "language": "en",
    "max_tokens": 10,
}
ODD: list[Any] = [
    *(None, True, 0, -1, 2**70, 0.5, float("inf"), "", "x", "\ud800", "\x00" * 3, [], [None], [[]], [{}]),
    *({}, {"type": {}}, {"type": []}, {"url": 1}, {"role": "user"}, "x" * 10_000, ["x"] * 300),
]


def places(value: Any, *before: str | int) -> Iterator[tuple[str | int, ...]]:
    """Every path into a request."""
    if before:
        yield before
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, each in inner:
        yield from places(each, *before, name)


def changed(value: Any, path: tuple[str | int, ...], odd: Any) -> Any:
    """A copy with something else at one place."""
    whole = copy.deepcopy(value)
    at = whole
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = odd
    return whole


def refusals(reading: Callable[[Any], object], value: Any, path: tuple[str | int, ...]) -> list[ApiError]:
    """Of all odd values at one place."""
    found = []
    for odd in ODD:
        try:
            reading(changed(value, path, odd))
        except ApiError as error:
            found.append(error)
    return found


def test_the_request_that_is_changed_below_is_understood() -> None:
    assert read_request(CHAT).manner.max_tokens == 10
    assert read_item(ITEM, ["food"], path="")[0].prompt == "What is it?"
    known = openapi()["components"]["schemas"]
    assert set(known["ChatRequest"]["properties"]) == set(CHAT)
    assert set(known["JobItem"]["properties"]) == set(ITEM)


@pytest.mark.parametrize("path", list(places(CHAT)), ids=str)
def test_anything_anywhere_in_a_chat_is_understood_or_refused_by_name(path: tuple[str | int, ...]) -> None:
    for error in refusals(read_request, CHAT, path):
        assert error.status == 400
        assert re.split(r"[.\[]", error.param or "")[0] in CHAT


@pytest.mark.parametrize("path", list(places(ITEM)), ids=str)
def test_anything_anywhere_in_an_item_is_understood_or_refused_by_name(path: tuple[str | int, ...]) -> None:
    for error in refusals(lambda body: read_item(body, ["food"], path="items[7]."), ITEM, path):
        assert error.status == 400
        assert (error.param or "").startswith("items[7].")

"""Structured answers: values read from a model's JSON, checked, or nothing.

The result is what `read` made of the JSON (numbers, for example), never words for a customer: those go
through the guard.  Servers that can are given the schema (`Manner.schema`); whether the model kept to it is
checked here in any case.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from bot.engines import Engine
from bot.engines.answer import without_thoughts
from bot.errors import Unavailable
from prompts.prompt import Prompt

T = TypeVar("T")
_FENCED = re.compile(r"\A```(?:json)?\s*\n(.*)\n\s*```\Z", re.DOTALL | re.IGNORECASE)


async def facts(engine: Engine, prompt: Prompt, read: Callable[[object], T | None]) -> T | None:
    """What `read` makes of the model's JSON.

    None when the model cannot be asked, and when neither its likeliest answer nor another one can be read.
    `read` returns None for a value of another shape, and must not raise.
    """
    again = replace(prompt, manner=replace(prompt.manner, temperature=None))
    for attempt in (prompt, again):
        try:
            draft = await engine.draft(attempt)
        except Unavailable:
            return None
        if draft.preliminary:
            return None
        if draft.finish == "stop" and (found := read(json_in(draft.text))) is not None:
            return found
    return None


def json_in(text: str) -> object:
    """The JSON value that the whole text is, apart from a thought before it and a fence; else None."""
    text = without_thoughts(text).strip()
    if fenced := _FENCED.match(text):
        text = fenced[1]
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value

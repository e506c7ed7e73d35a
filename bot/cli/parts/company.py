"""What the model is told about the company, and what of it the guard would not let it repeat."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

from bot.cli.parts.standing import Asked, Standing
from bot.errors import BadConfiguration

if TYPE_CHECKING:
    from bot.guard import Guard

_NAMED = 10
"""So many places are named; of more, their number."""
_ITEM = re.compile(r"\s*(?:[-*+•·]|\d{1,2}[.)、])\s|\s*#")


async def company(asked: Asked) -> Standing:
    """How long the operator's text is, and where in it a reply would be stopped."""
    from bot.app.guard import build_guard  # noqa: PLC0415 - imports the whole bot
    from bot.company import read_company  # noqa: PLC0415
    from context.turns import Chat, Message  # noqa: PLC0415
    from prompts.prompts import COMPANY, Prompts, tokens  # noqa: PLC0415

    try:
        text = await asyncio.to_thread(read_company, asked.settings.data_dir)
    except BadConfiguration as error:
        return Standing("fail", str(error), COMPANY)
    if not text.strip():
        return Standing("ok", f"nothing is told about it: no {COMPANY} in {asked.settings.data_dir}")
    guard = build_guard(asked.settings.model_copy(update={"guard_url": ""}))
    try:
        stopped = [place async for place in _stopped(text, guard)]
    finally:
        await guard.close()
    told = Prompts(company=text).assemble(Message(Chat("web", "check"), "", "en"), (), {}).company
    detail = f"{COMPANY} adds about {tokens(told)} tokens to every prompt"
    if not stopped:
        return Standing("ok", detail)
    more = f" and {len(stopped) - _NAMED} places more" if len(stopped) > _NAMED else ""
    mend = "ALLOWED_HOSTS, ALLOWED_PHONES, policy.yaml, or other words: docs/company.md"
    return Standing("warn", f"{detail}; no reply may say {'; '.join(stopped[:_NAMED])}{more}", mend)


async def _stopped(text: str, guard: Guard) -> AsyncIterator[str]:
    """The places that the guard would stop, with its rules: single lines, where one line is enough."""
    for first, lines in _passages(text):
        whole = await _rules(lines, guard)
        by_line = [(number, await _rules([line], guard) & whole) for number, line in enumerate(lines, first)]
        for number, rules in by_line:
            if rules:
                yield f"line {number} ({', '.join(sorted(rules))})"
        if rest := whole.difference(*(rules for _, rules in by_line)):
            yield f"lines {first} to {first + len(lines) - 1} ({', '.join(sorted(rest))})"


async def _rules(lines: list[str], guard: Guard) -> set[str]:
    """The rules by which the guard stops a reply that says this."""
    from bot.language import language_of  # noqa: PLC0415

    language = language_of("\n".join(lines))
    said = (" " if language == "en" else "").join(line.strip() for line in lines)
    verdict = await guard.judge(said, asked="", language=language)
    # The shape is that of a reply, which a list's item is not.
    return {reason.rule for reason in verdict.reasons if not reason.rule.startswith("shape.")}


def _passages(text: str) -> Iterator[tuple[int, list[str]]]:
    """The lines of each paragraph, heading and item of a list, and the number of its first line, from 1.

    A sentence may go on in the next line, where it means something else than on its own.
    """
    lines: list[str] = []
    for number, line in enumerate([*text.split("\n"), ""], 1):
        if lines and (not line.strip() or _ITEM.match(line) or lines[0].lstrip().startswith("#")):
            yield number - len(lines), lines
            lines = []
        if line.strip():
            lines.append(line)

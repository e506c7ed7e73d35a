"""The second check: a guard model behind an OpenAI-compatible server judges question and reply together.

Understands the answers of Qwen3Guard and Llama Guard over `/chat/completions`, and `/moderations`.  It
never raises and never waits longer than its time limit; anything but a clear answer counts as an error,
and an error means `hold`.  https://github.com/QwenLM/Qwen3Guard describes the answer format.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from time import monotonic
from typing import Any, Literal

import aiohttp

from bot.guard.verdict import Action, Opinion
from context.breaker import Breaker
from prompts.neutral import neutral

Format = Literal["chat", "moderations"]

_MAX_CHARS = 8000  # of question and reply each; a guard model's context is small
_MAX_ANSWER_BYTES = 64 * 1024
_DEFAULTS = {"safe": Action.ALLOW, "controversial": Action.HOLD, "unsafe": Action.BLOCK}
_SAFETY = re.compile(r"^\s*Safety:[ \t]*(Safe|Unsafe|Controversial)\s*$", re.IGNORECASE | re.MULTILINE)
_CATEGORIES = re.compile(r"^\s*Categories:[ \t]*(.{1,400})$", re.IGNORECASE | re.MULTILINE)
_REFUSAL = re.compile(r"^\s*Refusal:[ \t]*(Yes|No)\b", re.IGNORECASE | re.MULTILINE)
_LLAMA = re.compile(r"\A\s*(safe|unsafe)\s*(?:\n\s*(S\d{1,2}(?:\s*,\s*S\d{1,2}){0,15})\s*)?\Z")
_OPENS_TAG = re.compile(r"[<＜﹤](?=[|｜/!A-Za-z])")
_OPENS_LINE = re.compile(
    r"^[ \t]*(?=(?:user|assistant|agent|system|human|safety|categories|refusal|safe|unsafe)\b)",
    re.IGNORECASE | re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class _Answer:
    label: str
    categories: tuple[str, ...] = ()
    refusal: bool = False


class _Unusable(Exception):
    """No clear answer; the message says what was wrong, never what the answer was."""


class SecondCheck:
    """A guard model.  Safe for concurrent questions; opens its connection at the first one."""

    def __init__(
        self,
        url: str,
        *,
        model: str,
        api_key: str = "",
        timeout_s: float = 5.0,
        shadow: bool = False,
        failures: int = 20,
        rest_s: float = 30.0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._url = url.rstrip("/")
        self.model = model
        self.shadow = shadow
        self._format: Format = "moderations" if "moderation" in model.lower() else "chat"
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._timeout_s = timeout_s
        self._clock = clock
        self._breaker = Breaker(failures=failures, rest_s=rest_s, clock=clock)
        self._session: aiohttp.ClientSession | None = None

    @property
    def is_suspended(self) -> bool:
        """Whether so many answers have failed that only a few questions are asked at the moment."""
        return self._breaker.is_broken

    async def close(self) -> None:
        """Close the connections.  Calling twice is harmless."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def opinion(
        self,
        asked: str,
        *,
        reply: str = "",
        photo_text: str = "",
        actions: Mapping[str, Action] | None = None,
    ) -> Opinion:
        """The guard model's opinion of the pair, or of the question alone if `reply` is empty.

        `actions` maps categories and labels, in lower case, to the action for a finding.
        """
        started = self._clock()
        opinion = Opinion(Action.HOLD, "error", model=self.model, shadow=self.shadow)
        if not self._breaker.allows():
            return replace(opinion, error="circuit open")
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._ask(_question(asked, photo_text), reply)
        except TimeoutError:
            opinion = replace(opinion, error="timeout")
        except _Unusable as error:
            opinion = replace(opinion, error=str(error))
        except (aiohttp.ClientError, OSError) as error:
            opinion = replace(opinion, error=type(error).__name__)
        except BaseException:  # the turn was cancelled
            self._breaker.left()
            raise
        else:
            self._breaker.succeeded()
            opinion = replace(
                opinion,
                action=_action(answer, actions or {}),
                label=answer.label,
                categories=answer.categories,
                refusal=answer.refusal,
            )
        if opinion.error:
            self._breaker.failed()
        return replace(opinion, ms=(self._clock() - started) * 1000)

    async def _ask(self, question: str, reply: str) -> _Answer:
        if self._format == "moderations":
            # Only the reply can be stopped; the question is included so that staff see both.
            inputs = [question, _quoted(reply)] if reply else [question]
            return _moderated(await self._post("/moderations", {"model": self.model, "input": inputs}))
        messages = [{"role": "user", "content": question}]
        if reply:
            messages.append({"role": "assistant", "content": _quoted(reply)})
        body = {"model": self.model, "messages": messages, "temperature": 0, "max_tokens": 128}
        return _read(_content(await self._post("/chat/completions", body)))

    async def _post(self, path: str, body: Mapping[str, object]) -> Any:
        if self._session is None:
            self._session = aiohttp.ClientSession()
        async with self._session.post(
            self._url + path, json=body, headers=self._headers, allow_redirects=False
        ) as response:
            if response.status != HTTPStatus.OK:
                raise _Unusable(f"http {response.status}")
            content = await response.content.read(_MAX_ANSWER_BYTES)
            while len(content) < _MAX_ANSWER_BYTES and (
                more := await response.content.read(_MAX_ANSWER_BYTES)
            ):
                content += more
        try:
            return json.loads(content)
        except ValueError as error:
            raise _Unusable("unreadable") from error


def _quoted(text: str) -> str:
    """The text, quoted so that it cannot look like part of the guard model's own template."""
    return _OPENS_LINE.sub("> ", _OPENS_TAG.sub("< ", neutral(text, max_chars=_MAX_CHARS)))


def _question(asked: str, photo_text: str) -> str:
    seen = f"\n\n(text in the photo) {_quoted(photo_text)}" if photo_text.strip() else ""
    return (_quoted(asked) + seen) or "-"


def _content(answer: Any) -> str:
    try:
        content = answer["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError) as error:
        raise _Unusable("unreadable") from error
    if not isinstance(content, str):
        raise _Unusable("unreadable")
    return content


def _read(content: str) -> _Answer:
    labels = {found.lower() for found in _SAFETY.findall(content)}
    if len(labels) == 1:
        named = _CATEGORIES.search(content)
        categories = [name.strip() for name in named.group(1).split(",")] if named else []
        refusal = _REFUSAL.search(content)
        return _Answer(
            labels.pop(),
            tuple(name for name in categories if name and name.lower() != "none"),
            refusal is not None and refusal.group(1).lower() == "yes",
        )
    llama = _LLAMA.match(content)
    if llama is None:
        raise _Unusable("unreadable")
    return _Answer(
        llama.group(1), tuple((llama.group(2) or "").replace(" ", "").split(",")) if llama.group(2) else ()
    )


def _moderated(answer: Any) -> _Answer:
    try:
        result = answer["results"][-1]
        flagged = result["flagged"]
        categories = tuple(name for name, found in result.get("categories", {}).items() if found is True)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise _Unusable("unreadable") from error
    if not isinstance(flagged, bool):
        raise _Unusable("unreadable")
    return _Answer("unsafe" if flagged else "safe", categories)


def _action(answer: _Answer, actions: Mapping[str, Action]) -> Action:
    if answer.label == "safe":
        return Action.ALLOW
    default = actions.get(answer.label, _DEFAULTS[answer.label])
    named = [actions.get(category.lower(), default) for category in answer.categories]
    return max(named, key=lambda action: action.weight, default=default)

"""Reads an answer from the wire: server-sent events are put together into one text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

from bot.engines import OnText, Usage
from bot.engines.sampling import until
from bot.errors import EngineUnavailable

_MAX_LINE_BYTES = 1 << 20


class AnswerReader:
    """Takes bytes, gives the text.  Raises `EngineUnavailable` for whatever is not an answer.

    `stop` ends it here: hanging up stops every server, while some answer 500 to the option.
    """

    def __init__(self, *, max_letters: int, on_text: OnText | None, stop: Sequence[str] = ()) -> None:
        self._max_letters = max_letters
        self._on_text = on_text
        self._stop = tuple(stop)
        self._buffer = b""
        self._pieces: list[str] = []
        self._letters = 0
        self._finish = ""
        self.usage = Usage()
        self.is_done = False
        """Whether the end mark came, or the text is longer than any answer may be."""

    def feed(self, chunk: bytes) -> None:
        """Read the next bytes of the stream, split anywhere."""
        *lines, self._buffer = (self._buffer + chunk).split(b"\n")
        if len(self._buffer) > _MAX_LINE_BYTES:
            raise EngineUnavailable("model server sent a line without end")
        for line in lines:
            if self.is_done:
                return
            self._take_line(line.strip())

    def _take_line(self, line: bytes) -> None:
        # Blank lines separate events; comments keep proxies awake; `event:` and `id:` tell us nothing.
        if not line.startswith(b"data:"):
            return
        data = line[5:].strip()
        if data == b"[DONE]":
            self.is_done = True
            return
        self._take(_parse(data))

    def take_whole(self, body: bytes) -> None:
        """Read a complete answer from a server that does not stream."""
        self._take(_parse(body))
        self.is_done = True

    def _take(self, event: dict[str, Any]) -> None:
        if "error" in event:
            raise EngineUnavailable("model server reported an error in the middle of its answer")
        if isinstance(usage := event.get("usage"), dict):
            self.usage = Usage(_count(usage, "prompt_tokens"), _count(usage, "completion_tokens"))
        choices = event.get("choices")
        if not isinstance(choices, list):
            raise EngineUnavailable("model server sent JSON of an unknown shape")
        if not choices:
            return
        choice = choices[0] if isinstance(choices[0], dict) else {}
        words = choice.get("delta") or choice.get("message") or {}
        text = words.get("content") if isinstance(words, dict) else None
        if isinstance(text, str) and text:
            self._add(text)
        self._finish = choice.get("finish_reason") or self._finish

    def _add(self, text: str) -> None:
        self._pieces.append(text)
        self._letters += len(text)
        if self._on_text is not None:
            self._on_text(text)
        if self._stop and until(whole := "".join(self._pieces), self._stop) != whole:
            self._finish = "stop"
            self.is_done = True
        if self._letters > self._max_letters:
            self._finish = "length"
            self.is_done = True

    def text(self) -> tuple[str, Literal["stop", "length"]]:
        """The whole answer and why it ended, after the end of the stream."""
        if not self._finish and not self.is_done:
            raise EngineUnavailable(f"model server's answer broke off after {self._letters} letters")
        if self._finish not in {"", "stop", "length", "eos_token", "stop_sequence"}:
            raise EngineUnavailable(f"model server ended its answer with {str(self._finish)[:20]!r}")
        text = until(without_thoughts("".join(self._pieces)), self._stop).strip()
        if not text:
            raise EngineUnavailable("model server answered without a word")
        return text, "length" if self._finish == "length" else "stop"


def _parse(data: bytes) -> dict[str, Any]:
    try:
        event = json.loads(data)
    except ValueError:
        raise EngineUnavailable("model server sent broken JSON") from None
    if not isinstance(event, dict):
        raise EngineUnavailable("model server sent JSON of an unknown shape")
    return event


def _count(usage: dict[str, Any], name: str) -> int:
    value = usage.get(name)
    return value if isinstance(value, int) and value >= 0 else 0


def without_thoughts(text: str) -> str:
    """Drop what a thinking model said to itself, where the server has no parser for it.

    Templates often open the tag inside the prompt, so that only its end is in the answer.
    """
    thoughts, end, rest = text.partition("</think>")
    if end:
        return rest
    return "" if thoughts.lstrip().startswith("<think>") else text

"""One running answer: its prompt, its tokens so far, and when it must end."""

from __future__ import annotations

import time
from typing import Any, Literal

from tokenizers.decoders import DecodeStream

from bot.engines.local.encoding import Encoded
from bot.engines.local.forms import Form
from bot.engines.local.wire import Ask, Done, Event, Said


class Row:
    """A reply as it grows, token by token."""

    def __init__(
        self, ask: Ask, prompt: Encoded, voice: Any, stop_ids: frozenset[int], form: Form | None = None
    ) -> None:
        """`form` has nothing filled in yet: it takes what was said before."""
        self.ask = ask
        self.prompt = prompt
        self.form = form
        self.said: list[int] = list(ask.said)
        """Tokens of the reply."""
        self.asked = time.monotonic()
        self.deadline = self.asked + ask.deadline_s
        self.reused = 0
        """Tokens of the prompt that did not have to be read."""
        self.finish: Literal["stop", "length"] | None = None
        """Why it ended; None while it has not."""
        self._voice = voice
        self._stop_ids = stop_ids
        self._stream = DecodeStream(skip_special_tokens=True)
        self._streamed = "".join(self._text_of(token) for token in ask.said)
        if form is not None:
            for token in ask.said:
                form.take(token)

    @property
    def is_over(self) -> bool:
        """Whether the last token has been given."""
        return self.finish is not None

    @property
    def is_late(self) -> bool:
        """Nobody waits for it any more."""
        return time.monotonic() > self.deadline

    @property
    def tokens(self) -> tuple[int, ...]:
        """Of prompt and reply so far."""
        return (*self.prompt.tokens, *self.said)

    @property
    def most(self) -> int:
        """Tokens of prompt and reply, if the reply becomes as long as it may."""
        return len(self.prompt.tokens) + self.ask.sampling.max_tokens

    def push(self, token: int) -> list[Event]:
        """Take the next token.  Returns the new text, and the whole answer after the last one."""
        if token in self._stop_ids:
            self.finish = "stop"
            return self._end()
        self.said.append(token)
        if self.form is not None:
            self.form.take(token)
        # A character may be spread over several tokens: nothing comes out until it is whole.
        piece = self._text_of(token)
        self._streamed += piece
        said = Said(self.ask.id, piece, (token,))
        if len(self.said) < self.ask.sampling.max_tokens:
            return [said]
        self.finish = "length"
        return [said, *self._end()]

    def _text_of(self, token: int) -> str:
        return self._stream.step(self._voice, token) or ""

    def _end(self) -> list[Event]:
        text = str(self._voice.decode(self.said, skip_special_tokens=True)).removesuffix("\ufffd")
        rest = text[len(self._streamed) :] if text.startswith(self._streamed) else ""
        done = Done(
            id=self.ask.id,
            text=text,
            finish=self.finish or "stop",
            prompt_tokens=len(self.prompt.tokens),
            completion_tokens=len(self.said),
            reused_tokens=self.reused,
        )
        return [Said(self.ask.id, rest, ()), done] if rest else [done]

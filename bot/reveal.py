"""Previews: what may be seen of an answer that is still being written.

Only whole sentences, and each only after the text up to some distance behind it has passed the guard's rules.
It is only a view: the final reply is what counts, and the guard judges it as a whole.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from time import monotonic

from bot.channel import Show
from bot.engines import Draft
from bot.engines.sampling import until
from bot.guard import Guard
from bot.markup import parts_of
from context.turns import Message
from prompts.prompt import Prompt

log = logging.getLogger(__name__)

EVERY_S = 0.3
"""Time between two previews, and before the first: a faster answer is shown whole anyway."""
_ENDS = frozenset("。！？.!?\n")
_THOUGHT = re.compile(r"[<◁]\s*(/?)\s*(?:think|thinking|reasoning)\s*[>▷]", re.IGNORECASE)

OnWords = Callable[[str], None]
"""Called with all approved text so far whenever there is more, and with an empty text to withdraw it."""


def view(
    show: Show, *, above: Sequence[str], is_held: Callable[[], bool], seen_first: Callable[[], None]
) -> OnWords:
    """Shows a customer an answer that is being written, below the notices above it.

    Nothing is shown once a person has the chat.  `seen_first` is called when there is something to see.
    """
    showing = noting_first(lambda words: show(parts_of("\n\n".join([*above, words]))), seen_first)

    def look(words: str) -> None:
        if not words or is_held():
            show(())
        else:
            showing(words)

    return look


def noting_first(show: OnWords, seen_first: Callable[[], None]) -> OnWords:
    """The same `show`, which also calls `seen_first` after the first words were shown."""
    is_first = True

    def shown(words: str) -> None:
        nonlocal is_first
        show(words)
        if words and is_first:
            is_first = False
            seen_first()

    return shown


class Reveals:
    """Previews the answers of one engine.

    With some thinking models the template opens the thought inside the prompt, so that a thought looks like
    an answer until it ends.  Therefore the first answer that ends normally gets no preview.  If it shows no
    end of a thought, later answers are previewed; if any answer ever shows one, none is any more.
    """

    def __init__(self, guard: Guard, *, clock: Callable[[], float] = monotonic) -> None:
        self._guard = guard
        self._clock = clock
        self._answers_at_once = False
        self._thinks_unseen = False

    def of(self, message: Message, prompt: Prompt, *, canary: str, show: OnWords | None) -> Reveal:
        """Follow the answer to a prompt, with previews for `show`."""
        is_followed = show is not None and self._answers_at_once and not self._thinks_unseen

        def passed(draft: str) -> str:
            return self._guard.reveal(
                until(draft, prompt.manner.stop),
                asked=message.text,
                language=message.language,
                system=prompt.secret,
                canary=canary,
            )

        return Reveal(passed, show if is_followed else None, clock=self._clock)

    def learn(self, said: Reveal, draft: Draft) -> None:
        """Learn from a finished answer what kind of model wrote it."""
        if draft.preliminary or draft.cache_key:
            return  # not the model's, or what is left of what it said then
        tag = _THOUGHT.search(said.raw)
        if tag and tag.group(1):
            self._thinks_unseen = True
        elif draft.finish == "stop" and said.raw:
            self._answers_at_once = True


class Reveal:
    """One answer that is being written."""

    def __init__(
        self, passed: Callable[[str], str], show: OnWords | None, *, clock: Callable[[], float]
    ) -> None:
        self._passed = passed
        self._show = show
        self._clock = clock
        self._pieces: list[str] = []
        self._shown = ""
        self._has_ended_sentence = False
        self._look_at = clock() + EVERY_S

    @property
    def raw(self) -> str:
        """Everything that the engine has said so far."""
        return "".join(self._pieces)

    def hear(self, piece: str) -> None:
        """Handle a new piece of raw text.  Never raises."""
        self._pieces.append(piece)
        if self._show is None:
            return
        self._has_ended_sentence = self._has_ended_sentence or not _ENDS.isdisjoint(piece)
        if self._has_ended_sentence and self._clock() >= self._look_at:
            try:
                self._look(self._show)
            except Exception:  # a view that breaks is no reason to be without an answer
                log.exception("an answer is not seen while it is written")
                self._show = None
            self._has_ended_sentence = False
            self._look_at = self._clock() + EVERY_S

    def _look(self, show: OnWords) -> None:
        text = self._passed(self.raw)
        if not text.startswith(self._shown) or (self._shown and not text):
            # What follows has changed what was seen, or a rule objects: the whole is for `judge`.
            self._shown, self._show = "", None
            show("")
        elif len(text) > len(self._shown):
            self._shown = text
            show(text)

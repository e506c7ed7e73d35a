"""Whole batches with `generate`: for models whose rows cannot be added and removed one by one.

Correct for every image-text-to-text model of transformers, and slower than `loop`: a batch takes as
long as its longest answer, and nobody can join meanwhile.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from bot.engines.local.encoding import Encoded, conversation_of, unthinking
from bot.engines.local.forms import Forms
from bot.engines.local.loading import Loaded
from bot.engines.local.picking import Picker
from bot.engines.local.rows import Row
from bot.engines.local.wire import Ask, Event, Failed, Limits

Emit = Callable[[Event], None]


class Batches:
    """Answers asks in left-padded batches of similar length."""

    def __init__(self, loaded: Loaded, limits: Limits, *, emit: Emit, listen: Callable[[], None]) -> None:
        self._loaded = loaded
        self._emit = emit
        self._rows = min(limits.rows, 8)
        self._context = limits.context
        self._listen = listen
        """Takes in what the bot says meanwhile: a batch lasts long, a cancel must not."""
        self._waiting: deque[tuple[Row, Any]] = deque()
        self._running: list[Row] = []
        # The tokenizer switches a flag inside itself while it encodes customers' control tokens.
        self._reading = threading.Lock()
        self._dropped: set[int] = set()
        self._vocabulary = loaded.model.get_output_embeddings().weight.shape[0]
        self._forms = Forms(loaded, self._vocabulary)
        self.faults = 0

    @property
    def running(self) -> int:
        """Answers being written."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Answers not started yet."""
        return len(self._waiting)

    def read(self, ask: Ask) -> Callable[[], None]:
        """Read the photos and count the tokens; what comes back queues it."""
        if ask.said:
            begun = Failed(ask.id, "unavailable", "an answer that was begun elsewhere cannot go on here")
            return lambda: self._emit(begun)
        conversation = conversation_of(ask)
        speaker = self._loaded.processor or self._loaded.tokenizer
        if self._loaded.processor is None:
            for message in conversation:
                message["content"] = "\n".join(p["text"] for p in message["content"] if p["type"] == "text")
        with self._reading:
            inputs = speaker.apply_chat_template(
                conversation,
                chat_template=self._loaded.chat_template,
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                sanitize_control_tokens=True,
                **unthinking(self._loaded.chat_template),
            )
        tokens = inputs["input_ids"]
        flat = tuple(tokens[0]) if tokens and isinstance(tokens[0], list) else tuple(tokens)
        if len(flat) + ask.sampling.max_tokens > self._context:
            failed = Failed(ask.id, "too_long", f"{len(flat)} tokens do not fit {self._context}")
            return lambda: self._emit(failed)
        form = self._forms.open(ask.schema)
        row = Row(ask, Encoded(flat), self._loaded.voice, self._loaded.stop_ids, form)
        return lambda: self._waiting.append((row, conversation))

    def room(self) -> dict[str, object]:
        """How much fits, for `check`."""
        return {"rows": self._rows, "context": self._context}

    def warm_up(self) -> None:
        """Learn what forms are written in; each batch is a `generate` of its own."""
        self._forms.warm_up()

    def drop(self, ask_id: int) -> None:
        """This answer is no longer wanted."""
        self._dropped.add(ask_id)

    def step(self) -> None:
        """Answer one batch to its end."""
        chosen = self._choose()
        if not chosen:
            return
        self._running = [row for row, _ in chosen]
        try:
            self._run(chosen)
        except torch.OutOfMemoryError:
            self._survive(chosen)
        finally:
            self._running = []

    def _choose(self) -> list[tuple[Row, Any]]:
        chosen: list[tuple[Row, Any]] = []
        for _ in range(len(self._waiting)):
            row, conversation = self._waiting.popleft()
            if row.ask.id in self._dropped:
                self._dropped.discard(row.ask.id)
            elif row.is_late:
                self._emit(Failed(row.ask.id, "timeout", "waited past its deadline"))
            elif len(chosen) < self._rows and (not chosen or _alike(chosen[0][0], row)):
                chosen.append((row, conversation))
            else:
                self._waiting.append((row, conversation))
        return chosen

    def _survive(self, chosen: list[tuple[Row, Any]]) -> None:
        """Out of memory: smaller batches from now on; rows without output are queued again."""
        self.faults += 1
        alone = len(chosen) == 1
        self._rows = max(1, len(chosen) // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        for row, conversation in reversed(chosen):
            if row.is_over or row.ask.id in self._dropped:
                continue
            if alone or row.said:
                self._emit(Failed(row.ask.id, "overloaded", "out of memory"))
            else:
                self._waiting.appendleft((row, conversation))

    def _run(self, chosen: list[tuple[Row, Any]]) -> None:
        rows = [row for row, _ in chosen]
        loaded = self._loaded
        speaker = loaded.processor or loaded.tokenizer
        padding: dict[str, Any] = {"padding": True}
        inputs = speaker.apply_chat_template(
            [conversation for _, conversation in chosen],
            chat_template=loaded.chat_template,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            sanitize_control_tokens=True,
            **unthinking(loaded.chat_template),
            **({"processor_kwargs": padding} if loaded.processor is not None else padding),
        ).to(loaded.model.device)
        picker = Picker(len(rows), self._vocabulary, loaded.model.device, loaded.banned_ids, loaded.stop_ids)
        for number, row in enumerate(rows):
            picker.set(number, row.ask.sampling, form=row.form)
        with torch.inference_mode():
            loaded.model.generate(
                **inputs,
                do_sample=False,
                max_new_tokens=max(row.ask.sampling.max_tokens for row in rows),
                logits_processor=LogitsProcessorList([_Picked(picker)]),
                stopping_criteria=StoppingCriteriaList([_Left(rows, self._dropped, self._listen)]),
                streamer=_PerRow(rows, self._dropped, self._emit),
                **_neutral(loaded.model.generation_config),
            )
        for row in rows:
            if row.ask.id in self._dropped:
                self._dropped.discard(row.ask.id)
            elif not row.is_over and row.is_late:
                self._emit(Failed(row.ask.id, "timeout", "not finished by its deadline"))


class _Picked(LogitsProcessor):  # type: ignore[misc]  # transformers is untyped
    """Lets the picker decide: its token keeps its place, every other goes to minus infinity."""

    def __init__(self, picker: Picker) -> None:
        self._picker = picker
        self._speak = True

    def __call__(self, _input_ids: Any, scores: Any) -> Any:
        tokens = self._picker.pick(scores, speak=self._speak)
        self._speak = False
        return torch.full_like(scores, -torch.inf).scatter_(1, tokens[:, None], 0.0)


class _Left(StoppingCriteria):  # type: ignore[misc]  # transformers is untyped
    """Says for each row whether it has ended; ended rows are padded."""

    def __init__(self, rows: list[Row], dropped: set[int], listen: Callable[[], None]) -> None:
        self._rows, self._dropped, self._listen = rows, dropped, listen

    def __call__(self, input_ids: Any, _scores: Any, **_: Any) -> Any:
        self._listen()
        over = [row.is_over or row.is_late or row.ask.id in self._dropped for row in self._rows]
        return torch.tensor(over, device=input_ids.device)


class _PerRow(BaseStreamer):  # type: ignore[misc]  # transformers is untyped
    """Gives each row its own text as the tokens come."""

    def __init__(self, rows: list[Row], dropped: set[int], emit: Emit) -> None:
        self._rows, self._dropped, self._emit = rows, dropped, emit
        self._prompt_passed = False

    def put(self, value: Any) -> None:
        if not self._prompt_passed:
            self._prompt_passed = True
            return
        for row, token in zip(self._rows, value.tolist(), strict=True):
            if row.is_over or row.is_late or row.ask.id in self._dropped:
                continue
            for event in row.push(token):
                self._emit(event)

    def end(self) -> None:
        """Nothing is held back here."""


def _alike(first: Row, other: Row) -> bool:
    shorter, longer = sorted((len(first.prompt.tokens), len(other.prompt.tokens)))
    return longer <= shorter * 1.5 + 64


def _neutral(defaults: Any) -> dict[str, Any]:
    """Switch off what a checkpoint's generation_config would do on top of our own picking."""
    settings = {
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": 50,
        "repetition_penalty": 1.0,
        "no_repeat_ngram_size": 0,
        "min_new_tokens": 0,
    }
    return {name: value for name, value in settings.items() if getattr(defaults, name, None) is not None}

"""Continuous batching: answers come and go one by one while the others go on.

Stock transformers cannot batch photo chats this way: its own continuous batching takes token ids
only.  One step of the loop is: choose who reads and who writes, run them, settle what came out.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from bot.engines.local.encoding import Encoder
from bot.engines.local.features import Features
from bot.engines.local.loading import Loaded
from bot.engines.local.memory import Memory
from bot.engines.local.picking import Picker
from bot.engines.local.prefixes import Prefixes
from bot.engines.local.reading import Reader, Reading
from bot.engines.local.rows import Row
from bot.engines.local.slots import Slots
from bot.engines.local.wire import Ask, Event, Failed, Limits

log = logging.getLogger(__name__)

PREPARED = 32
"""Rows whose photos wait as pixels (25 MB each); those of later ones are prepared when it is their turn."""
STALE = 10_000
TRIES = 3
"""How often a prompt may run out of memory: as it is, alone, and with smaller photos."""


class Loop:
    """Waiting, reading and writing answers on one model.  One thread; only `read` may run in others."""

    def __init__(self, loaded: Loaded, limits: Limits, *, emit: Callable[[Event], None]) -> None:
        self._loaded = loaded
        self._emit = emit
        self.memory = Memory.of(loaded, limits)
        self._encoder = Encoder(loaded)
        self.features = Features(loaded.model, self.memory.feature_bytes)
        self.prefixes = Prefixes(self.memory.prefix_bytes)
        self._reader = Reader(loaded, self._encoder, self.features)
        self._limits = limits
        self._context = self.memory.context
        self._waiting: deque[Row] = deque()
        self._reading: list[Reading] = []
        self._writing: list[Row] = []
        self._dropped: set[int] = set()
        self._failures: dict[int, int] = {}
        config = loaded.model.config.get_text_config()
        self._slots = Slots(config.num_hidden_layers)
        device = loaded.model.device
        vocabulary = loaded.model.get_output_embeddings().weight.shape[0]
        self._picker = Picker(limits.rows, vocabulary, device, loaded.banned_ids, loaded.stop_ids)
        self._last = torch.zeros(limits.rows, dtype=torch.long, device=device)
        """Each writing row's newest token, which no step has read yet."""
        self._deltas = torch.zeros(limits.rows, dtype=torch.long, device=device)
        """What each row's positions are ahead of its length by."""
        self.faults = 0

    @property
    def running(self) -> int:
        """Answers being read or written."""
        return len(self._reading) + len(self._writing)

    @property
    def waiting(self) -> int:
        """Answers not yet begun."""
        return len(self._waiting)

    def read(self, ask: Ask) -> Callable[[], None]:
        """Turn the ask into tokens, in any thread; what comes back queues it, in the model's own."""
        prompt = self._encoder.encode(ask)
        if len(self._waiting) >= PREPARED:
            prompt = replace(prompt, sights={})
        row = Row(ask, prompt, self._loaded.voice, self._loaded.stop_ids)
        if row.most > self._context:
            reason = f"{len(prompt.tokens)} tokens and an answer do not fit {self._context}"
            return lambda: self._emit(Failed(ask.id, "too_long", reason))
        return lambda: self._queue(row)

    def drop(self, ask_id: int) -> None:
        """Nobody waits for this answer any more: it leaves before the next step."""
        self._dropped.add(ask_id)

    @torch.inference_mode()
    def step(self) -> None:
        """Choose, run, settle."""
        self._clear_out()
        for reading, share in self._choose():
            if self._run_reading(reading, share) and not reading.left:
                self._reading.remove(reading)
                self._settle_read(reading)
        if self._writing and (tokens := self._run_writing()) is not None:
            self._settle_written(tokens)

    def _queue(self, row: Row) -> None:
        if row.ask.id in self._dropped:  # while its photos were being prepared
            self._dropped.discard(row.ask.id)
        else:
            self._waiting.append(row)

    def _clear_out(self) -> None:
        """Rows that nobody waits for leave; late ones are told so."""
        for slot in reversed(range(len(self._writing))):
            if self._is_gone(self._writing[slot]):
                self._leave(slot)
        self._reading = [reading for reading in self._reading if not self._is_gone(reading.row)]
        self._waiting = deque(row for row in self._waiting if not self._is_gone(row))
        if len(self._dropped) > STALE:  # answers that were finished before their drop arrived
            self._dropped.clear()

    def _is_gone(self, row: Row) -> bool:
        if row.ask.id in self._dropped:
            self._dropped.discard(row.ask.id)
            return True
        if row.is_late:
            self._emit(Failed(row.ask.id, "timeout", "not finished by its deadline"))
        return row.is_late

    def _choose(self) -> list[tuple[Reading, int]]:
        """Admit what fits; who reads in this step, and how many tokens each."""
        while self._waiting and self._fits(self._waiting[0]):
            if not self._admit(self._waiting.popleft()):
                break
        chosen, budget = [], self._limits.piece
        for reading in self._reading:
            if budget > 0:
                chosen.append((reading, min(budget, reading.left)))
                budget -= reading.left
        return chosen

    def _admit(self, row: Row) -> bool:
        """Begin to read a prompt, behind what is known of it already."""
        try:
            self._reading.append(Reading(row, self._loaded, self.prefixes))
        except torch.OutOfMemoryError:
            self._survive()
            self._try_again(row)
            return False
        return True

    def _fits(self, row: Row) -> bool:
        """Whether memory holds one more: every slot is as long as the longest row may become."""
        if row.ask.id in self._failures and self.running:
            return False  # ran out of memory in company: tried again alone
        if any(reading.row.ask.id in self._failures for reading in self._reading):
            return False
        rows = self.running + 1
        longest = max([row.most, *(r.row.most for r in self._reading), *(r.most for r in self._writing)])
        alone = rows == 1
        return rows <= self._limits.rows and (alone or self.memory.holds(rows, longest))

    def _run_reading(self, reading: Reading, share: int) -> bool:
        """Read one piece of a prompt.  False when memory ran out: the row is queued again or refused."""
        try:
            self._reader.read(reading, share)
        except torch.OutOfMemoryError:
            self._reading.remove(reading)
            self._survive()
            self._try_again(reading.row)
            return False
        except (ArithmeticError, LookupError, OSError, RuntimeError, TypeError, ValueError) as fault:
            if is_lost(fault):
                raise
            # One prompt's trouble: with a photo that ends too early, with a model's own checks.
            log.exception("prompt %s cannot be read", reading.row.ask.id)
            self._reading.remove(reading)
            self._emit(
                Failed(
                    reading.row.ask.id, "unavailable", f"the prompt cannot be read: {type(fault).__name__}"
                )
            )
            return False
        return True

    def _settle_read(self, reading: Reading) -> None:
        """A prompt is read: the row takes a slot and says its first token."""
        row = reading.row
        try:
            longest = max([row.most, *(other.most for other in self._writing)])
            most = min(self._limits.rows, self.memory.tokens // longest)
            self._slots.reserve(len(self._writing) + 1, longest, most_rows=most)
            slot = self._slots.join(reading.cache)
        except torch.OutOfMemoryError:
            self._survive()
            self._try_again(row)
            return
        self._failures.pop(row.ask.id, None)
        row.prompt.sights.clear()
        self._writing.append(row)
        self._picker.set(slot, row.ask.sampling, row.said)
        self._deltas[slot] = reading.delta
        tokens = self._picker.pick(reading.logits, slot, speak=not row.said)
        self._last[slot] = tokens[0]
        self._say(slot, int(tokens[0]))

    def _run_writing(self) -> Any:
        """One more token for every row; None when memory ran out and the newest row had to go."""
        device = self._last.device
        while True:
            count = len(self._writing)
            try:
                mask = self._slots.begin_step(device)
                positions = (self._slots.places + self._deltas[:count])[:, None]
                if self._loaded.image_token_id is not None:
                    positions = positions.expand(3, count, 1)
                out = self._loaded.model(
                    input_ids=self._last[:count, None],
                    position_ids=positions,
                    attention_mask=mask,
                    past_key_values=self._slots,
                    use_cache=True,
                    logits_to_keep=1,
                )
                tokens = self._picker.pick(out.logits[:, -1])
            except torch.OutOfMemoryError:
                # Nothing was settled: keys and values written twice are the same.
                if not self._survive():
                    self._pre_empt()
                if not self._writing:
                    return None
                continue
            self._slots.end_step()
            self._last[:count] = tokens
            return tokens

    def _settle_written(self, tokens: Any) -> None:
        """Every row says its token; from the last slot down, since leaving moves the last row."""
        said = tokens.tolist()
        for slot in reversed(range(len(said))):
            self._say(slot, said[slot])

    def _say(self, slot: int, token: int) -> None:
        row = self._writing[slot]
        for event in row.push(token):
            self._emit(event)
        if row.is_over:
            self._leave(slot)

    def _leave(self, slot: int) -> None:
        """The row's keys and values go to the prefixes, its slot to the last row."""
        row = self._writing[slot]
        if self.prefixes.wants(self._slots.lengths[slot] * self.memory.token_bytes):
            try:
                self.prefixes.put(row.tokens, row.prompt.spans, self._slots.keep(slot))
            except torch.OutOfMemoryError:
                self._survive()
        moved = self._slots.leave(slot)
        if moved != slot:
            self._writing[slot] = self._writing[moved]
            self._picker.move(moved, slot)
            self._last[slot] = self._last[moved]
            self._deltas[slot] = self._deltas[moved]
        self._writing.pop()

    def _survive(self) -> bool:
        """Out of memory: give back what is only there for speed.  False if there was nothing."""
        self.faults += 1
        had = bool(len(self.prefixes) or self.features.bytes)
        self.prefixes.forget()
        self.features.forget()
        self.memory.shrink()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        log.warning("out of memory: caches dropped, %s tokens admitted from now on", self.memory.tokens)
        return had

    def _try_again(self, row: Row) -> None:
        """Queue a row whose prompt did not fit: alone, then with smaller photos, then not at all."""
        tries = self._failures[row.ask.id] = self._failures.get(row.ask.id, 0) + 1
        if tries >= TRIES:
            del self._failures[row.ask.id]
            self._emit(Failed(row.ask.id, "overloaded", "out of memory while reading the prompt"))
            return
        if tries == TRIES - 1 and row.prompt.spans:
            row.prompt = self._encoder.encode(row.ask, shrink=4)
        self._waiting.appendleft(row)

    def _pre_empt(self) -> None:
        """The newest row waits again, with what it has said; the older ones go on."""
        row = self._writing[-1]
        slot = len(self._writing) - 1
        self._slots.leave(slot)
        self._writing.pop()
        if not self._writing:
            self._slots.empty()
            self._try_again(row)
            return
        self._waiting.appendleft(row)

    def room(self) -> dict[str, object]:
        """How much fits, for `check`."""
        return self.memory.describe()


def is_lost(fault: Exception) -> bool:
    """Whether the device itself is gone: nothing runs on it any more until the process is replaced."""
    return isinstance(fault, torch.AcceleratorError) or "CUDA" in str(fault)

"""Continuous batching: answers come and go one by one while the others go on.

Stock transformers cannot batch photo chats this way: its own continuous batching takes token ids
only.  One step of the loop: choose which rows read and which write, run them, process the results.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from itertools import chain, islice
from typing import Any

import torch

from bot.engines.local.decoding import Decoder
from bot.engines.local.encoding import Encoded, Encoder
from bot.engines.local.features import Features
from bot.engines.local.forms import Forms
from bot.engines.local.loading import Loaded
from bot.engines.local.memory import Memory
from bot.engines.local.picking import Picker
from bot.engines.local.prefixes import LEAST, Prefixes
from bot.engines.local.reading import Reader, Reading
from bot.engines.local.rows import Row
from bot.engines.local.shares import shares, turn_of
from bot.engines.local.slots import Slots, slot_of
from bot.engines.local.wire import Ask, Event, Failed, Limits

log = logging.getLogger(__name__)

PREPARED = 32
"""Rows with photos waiting as pixels (25 MB each); later ones are prepared when it is their turn."""
STALE = 10_000
"""Cancellations that came after their answers were finished; forgotten together."""
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
        # A GPU is launched thousands of times for a prompt, be it a word or five hundred tokens.
        self._least = max(1, limits.piece // 4) if loaded.model.device.type == "cuda" else 1
        self._context = self.memory.context
        self._waiting: deque[Row] = deque()
        self._reading: list[Reading] = []
        self._writing: list[Row] = []
        self._dropped: set[int] = set()
        self._failures: dict[int, int] = {}
        config = loaded.model.config.get_text_config()
        device = loaded.model.device
        self._slots = Slots(config.num_hidden_layers, limits.rows, device)
        self._decoder = Decoder(loaded, self._slots, limits.rows)
        vocabulary = loaded.model.get_output_embeddings().weight.shape[0]
        self._picker = Picker(limits.rows, vocabulary, device, loaded.banned_ids, loaded.stop_ids)
        self._forms = Forms(loaded, vocabulary)
        self.faults = 0

    @property
    def running(self) -> int:
        """Answers being read or written."""
        return len(self._reading) + len(self._writing)

    @property
    def writing(self) -> int:
        """Answers being written."""
        return len(self._writing)

    @property
    def waiting(self) -> int:
        """Answers not yet begun."""
        return len(self._waiting)

    def read(self, ask: Ask) -> Callable[[], None]:
        """Turn the ask into tokens, in any thread; what comes back queues it, in the model's own."""
        prompt = self._encoded(ask)
        if len(self._waiting) >= PREPARED:
            prompt = replace(prompt, sights={})
        row = Row(ask, prompt, self._loaded.voice, self._loaded.stop_ids, self._forms.open(ask.schema))
        if row.most > self._context:
            reason = f"{len(prompt.tokens)} tokens and an answer do not fit {self._context}"
            return lambda: self._emit(Failed(ask.id, "too_long", reason))
        return lambda: self._queue(row)

    def drop(self, ask_id: int) -> None:
        """This answer is no longer wanted: its row is removed before the next step."""
        self._dropped.add(ask_id)

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Record the steps that can be recorded, and learn what forms are written in, while nobody waits."""
        self._decoder.warm_up()
        self._forms.warm_up()

    @torch.inference_mode()
    def step(self) -> None:
        """Choose, run, process the results."""
        self._clear_out()
        for reading, share in self._choose():
            if self._run_reading(reading, share) and not reading.left:
                self._reading.remove(reading)
                self._settle_read(reading)
        if self._writing and (tokens := self._run_writing()) is not None:
            self._settle_written(tokens)

    def _encoded(self, ask: Ask, *, shrink: int = 1) -> Encoded:
        prompt = self._encoder.encode(ask, shrink=shrink)
        return replace(prompt, ids=torch.tensor(prompt.tokens))

    def _queue(self, row: Row) -> None:
        if row.ask.id in self._dropped:  # while its photos were being prepared
            self._dropped.discard(row.ask.id)
        else:
            self._waiting.append(row)

    def _clear_out(self) -> None:
        """Remove rows that are no longer wanted, and fail those that are late."""
        rows = [*self._writing, *(reading.row for reading in self._reading), *self._waiting]
        gone = {row.ask.id for row in rows if row.is_late or row.ask.id in self._dropped}
        for number in gone - self._dropped:
            self._emit(Failed(number, "timeout", "not finished by its deadline"))
        self._dropped -= gone
        if len(self._dropped) > STALE:
            self._dropped.clear()
        if not gone:
            return
        for slot in reversed(range(len(self._writing))):
            if self._writing[slot].ask.id in gone:
                self._leave(slot)
        self._reading = [reading for reading in self._reading if reading.row.ask.id not in gone]
        self._waiting = deque(row for row in self._waiting if row.ask.id not in gone)
        for number in gone:
            self._failures.pop(number, None)

    def _choose(self) -> list[tuple[Reading, int]]:
        """Admit what fits; who reads in this step, and how many tokens each."""
        while self._waiting and self._fits(self._waiting[0]):
            self._reading.append(Reading(self._waiting.popleft(), self._loaded, self.prefixes))
        self._reading.sort(key=lambda reading: turn_of(reading.row.asked, reading.left))
        left = shares([reading.left for reading in self._reading], self._limits.piece, self._least)
        return list(zip(self._reading, left, strict=False))

    def _fits(self, row: Row) -> bool:
        """Whether memory holds one more: every slot is as long as the longest row may become."""
        if row.ask.id in self._failures and self.running:
            return False  # ran out of memory beside others: tried again alone
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
        """A prompt has been read: the row gets a slot and its first token."""
        row, slot = reading.row, len(self._writing)
        self._share(reading)
        try:
            self._reserve(max([row.most, *(other.most for other in self._writing)]))
            self._picker.set(slot, row.ask.sampling, row.said, form=row.form)
            tokens = self._picker.pick(reading.logits, slot, speak=not row.said)
            self._slots.join(reading.cache)
        except torch.OutOfMemoryError:
            self._survive()
            self._try_again(row)
            return
        self._failures.pop(row.ask.id, None)
        row.prompt.sights.clear()
        self._writing.append(row)
        self._decoder.deltas[slot] = reading.delta
        self._decoder.last[slot] = tokens[0]
        self._say(slot, int(tokens[0]))

    def _share(self, reading: Reading) -> None:
        """Keep what a prompt has in common with those that are still to be read.

        Prefixes come from answers that have ended: without this, all that ask at once, as after a restart,
        would read the same instructions.
        """
        if not self.prefixes.wants(LEAST * self.memory.token_bytes):
            return
        ids, spans = reading.row.prompt.ids, reading.row.prompt.spans
        in_line = chain((other.row for other in self._reading if other.cache is None), self._waiting)
        ahead = islice(in_line, PREPARED)
        length = self.prefixes.lacking(ids, spans, ((row.prompt.ids, row.prompt.spans) for row in ahead))
        if not length or not self.prefixes.wants(length * self.memory.token_bytes):
            return
        try:
            kept = reading.beginning(length)
        except torch.OutOfMemoryError:
            self._forget()
            return
        self.prefixes.put(ids, [span for span in spans if span.end <= length], kept)
        for other in self._reading:
            other.look_again()

    def _reserve(self, longest: int) -> None:
        """Make room for one more row, the longest of all rows being so many tokens."""
        rows, spare = len(self._writing) + 1, self.memory.tokens
        if self._decoder.records:
            if rows <= self._slots.rows and longest <= self._slots.tokens:
                return
            # All that the budget gives, at once: a change of room costs every recorded step.
            longest = max(longest, min(self._context, self.memory.tokens // self._limits.rows))
            rows = max(rows, min(self._limits.rows, self.memory.tokens // slot_of(longest)))
        else:  # what is being read lies beside the slots until it joins them
            spare -= sum(reading.row.most for reading in self._reading)
        self._slots.reserve(rows, longest, most_rows=min(self._limits.rows, spare // slot_of(longest)))

    def _run_writing(self) -> Any:
        """One more token for every row; None when memory ran out and the newest row had to go."""
        while True:
            try:
                tokens = self._picker.pick(self._decoder.run())
            except torch.OutOfMemoryError:
                # Nothing was settled: keys and values written twice are the same.
                if not self._survive():
                    self._pre_empt()
                if not self._writing:
                    return None
                continue
            self._slots.end_step()
            self._decoder.last[: len(self._writing)] = tokens
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
                self.prefixes.put(torch.tensor(row.tokens), row.prompt.spans, self._slots.keep(slot))
            except torch.OutOfMemoryError:
                self._forget()
        moved = self._slots.leave(slot)
        if moved != slot:
            self._writing[slot] = self._writing[moved]
            self._picker.move(moved, slot)
            self._decoder.move(moved, slot)
        self._writing.pop()

    def _survive(self) -> bool:
        """Out of memory: give back what is only there for speed.  False if there was nothing."""
        self.memory.shrink()
        log.warning("out of memory: %s tokens admitted from now on", self.memory.tokens)
        return self._forget()

    def _forget(self) -> bool:
        """No room for a copy that is only there for speed, or for more: drop all of those that there are.

        False if there was none.
        """
        self.faults += 1
        had = bool(len(self.prefixes) or self.features.bytes)
        self.prefixes.forget()
        self.features.forget()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        log.warning("out of memory: caches dropped")
        return had

    def _try_again(self, row: Row) -> None:
        """Queue a row whose prompt did not fit: alone, then with smaller photos, then not at all."""
        tries = self._failures[row.ask.id] = self._failures.get(row.ask.id, 0) + 1
        if tries >= TRIES:
            del self._failures[row.ask.id]
            self._emit(Failed(row.ask.id, "overloaded", "out of memory while reading the prompt"))
            return
        if tries == TRIES - 1 and row.prompt.spans:
            row.prompt = self._encoded(row.ask, shrink=4)
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
    """Whether the device itself has failed: nothing runs on it until the process is replaced."""
    return isinstance(fault, torch.AcceleratorError) or "CUDA" in str(fault)

"""One more token for every row: a step of the model, recorded once per number of rows where it can be.

An eager step of a large model is bound by the launches of its thousand kernels, whatever the GPU.  A
recorded one (a CUDA graph) is a single launch.  It always runs 1, 2, 4, 8, ... rows: those beyond the
active ones attend to one token of their own, and their output is ignored.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import torch

from bot.engines.local.kernels import Reach
from bot.engines.local.loading import Loaded
from bot.engines.local.slots import Slots

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Recorded:
    """A step as it was recorded; `logits` (rows, vocabulary) are written anew by each replay."""

    graph: Any
    logits: Any


class Decoder:
    """The newest token of each row, and the step that reads it."""

    def __init__(self, loaded: Loaded, slots: Slots, rows: int) -> None:
        self._loaded = loaded
        self._slots = slots
        device = loaded.model.device
        self.last = torch.zeros(rows, dtype=torch.long, device=device)
        """Each writing row's newest token, which no step has read yet."""
        self.deltas = torch.zeros(rows, dtype=torch.long, device=device)
        """The difference between each row's positions and its length."""
        self._numbers = torch.arange(rows + 1, dtype=torch.int32, device=device)
        self.records = loaded.choice.steps == "recorded"
        self._recorded: dict[int, _Recorded] = {}
        self._room = (0, 0)
        self._pool: Any = None

    def move(self, source: int, target: int) -> None:
        """Move row `source` to row `target`."""
        self.last[target] = self.last[source]
        self.deltas[target] = self.deltas[source]

    def run(self) -> Any:
        """Logits (rows, vocabulary) for every living row.  Settles nothing: it may be run again."""
        count = self._slots.count
        if not self.records:
            return self._step(count, self._slots.begin_step(count, masked=not self._loaded.choice.is_flash))
        rows = bucket(count, self._slots.rows)
        self._slots.begin_step(rows, masked=False)
        recorded = self._recall(rows)
        if recorded is None:
            return self._step(rows, None)[:count]
        recorded.graph.replay()
        return recorded.logits[:count]

    def warm_up(self) -> int:
        """Record steps for every number of rows that fits, while nobody waits.  Returns how many."""
        if not self.records or self._slots.count or not self._slots.rows:
            return 0
        for rows in sorted({bucket(count, self._slots.rows) for count in range(1, self._slots.rows + 1)}):
            self._slots.begin_step(rows, masked=False)
            if self._recall(rows) is None:
                break
        return len(self._recorded)

    def _step(self, rows: int, mask: Any) -> Any:
        positions = (self._slots.places[:rows] + self.deltas[:rows])[:, None]
        if self._loaded.image_token_id is not None:
            positions = positions.expand(3, rows, 1)
        far: dict[str, Any] = {"attention_mask": mask} if mask is not None else {"reach": self._reach(rows)}
        out = self._loaded.model(
            input_ids=self.last[:rows, None],
            position_ids=positions,
            past_key_values=self._slots,
            use_cache=True,
            logits_to_keep=1,
            **far,
        )
        return out.logits[:, -1]

    def _reach(self, rows: int) -> Reach:
        numbers = self._numbers[: rows + 1]
        return Reach((self._slots.places[:rows] + 1).int(), numbers, numbers * self._slots.tokens)

    def _recall(self, rows: int) -> _Recorded | None:
        """The recorded step, recorded now if necessary; None if this device does not support it."""
        room = (self._slots.version, self._slots.rows)
        if room != self._room:  # keys and values have moved: the recorded steps use the old memory
            self._recorded.clear()
            self._pool = torch.cuda.graph_pool_handle()
            self._room = room
        if rows not in self._recorded:
            try:
                self._recorded[rows] = self._record(rows)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as fault:
                if isinstance(fault, torch.AcceleratorError):
                    raise
                log.exception("steps cannot be recorded: they run kernel by kernel from now on")
                self.records = False
                return None
        return self._recorded[rows]

    def _record(self, rows: int) -> _Recorded:
        # Libraries make their handles and choose their kernels in a first run, which is not recorded.
        # Keys and values written twice are the same.
        self._step(rows, None)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            logits = self._step(rows, None)
        return _Recorded(graph, logits)


def bucket(count: int, most: int) -> int:
    """How many rows a recorded step runs for so many living ones: the next power of two, or all there are."""
    return min(1 << max(0, count - 1).bit_length(), most)

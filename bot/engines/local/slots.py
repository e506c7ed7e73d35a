"""Keys and values of all answers being written: one slot per row, each row at its own length.

`DynamicCache` keeps rows aligned on the right: whoever joins or leaves makes every layer copy, and
every step copies the whole cache to append one token.  Here each row begins at 0 in a slot of its
own; a step writes in place, and a mask tells where each row ends.  Rows 0..count-1 are always the
living ones: the last row moves into a gap.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import Cache, DynamicCache
from transformers.cache_utils import CacheLayerMixin

CAPACITY_STEP = 256
WIDTH_STEP = 64

Kept = list[tuple[Any, Any]]
"""Keys and values by layer, each (1, heads, tokens, width): what one row leaves behind."""


class Slots(Cache):  # type: ignore[misc]  # transformers is untyped
    """The cache of a decode step.  `rows` and `tokens` are what it has room for now."""

    def __init__(self, layers: int, most_rows: int, device: Any) -> None:
        super().__init__(layers=[_SlotLayer(self) for _ in range(layers)])
        self.rows = 0
        self.tokens = 0
        self.lengths: list[int] = []
        self.width = 0
        self.version = 0
        """Another number whenever keys and values have moved to other memory."""
        self.places = torch.zeros(most_rows, dtype=torch.long, device=device)
        """Where each row's next token goes.  Always the same memory: a recorded step reads it there."""
        self.numbers = torch.arange(most_rows, device=device)

    @property
    def count(self) -> int:
        """Living rows."""
        return len(self.lengths)

    def reserve(self, rows: int, tokens: int, *, most_rows: int) -> None:
        """Make room for so many rows of so many tokens; gives back what is far too much.

        Grows to the next power of two, but not beyond `most_rows`: each change copies everything.
        """
        tokens = slot_of(tokens)
        is_wasteful = self.tokens > 2 * tokens or self.rows > 4 * rows
        if rows <= self.rows and tokens <= self.tokens and not is_wasteful:
            return
        rows = max(rows, min(1 << (rows - 1).bit_length(), most_rows))
        self.version += 1
        try:
            for layer in self.layers:
                layer.resize(rows, tokens)
        finally:  # where memory ran out on the way, the smallest layer counts; living rows fit in each
            self.rows = min(layer.room[0] for layer in self.layers)
            self.tokens = min(layer.room[1] for layer in self.layers)

    def join(self, cache: DynamicCache) -> int:
        """Take over a prompt that has been read alone.  Returns its slot, the last one."""
        slot, length = self.count, cache.get_seq_length()
        if not self.layers[-1].is_initialized:
            self.version += 1
        for layer, read in zip(self.layers, cache.layers, strict=True):
            layer.fill(slot, read.keys, read.values)
        self.lengths.append(length)
        return slot

    def keep(self, slot: int) -> Kept:
        """A copy of what this row has read and written."""
        length = self.lengths[slot]
        return [
            (
                layer.keys[slot : slot + 1, :, :length].clone(),
                layer.values[slot : slot + 1, :, :length].clone(),
            )
            for layer in self.layers
        ]

    def leave(self, slot: int) -> int:
        """End a row.  Returns the slot whose row now stands in its place (itself when it was the last)."""
        last = self.count - 1
        if slot != last:
            both = max(self.lengths[slot], self.lengths[last])
            for layer in self.layers:
                layer.keys[slot, :, :both] = layer.keys[last, :, :both]
                layer.values[slot, :, :both] = layer.values[last, :, :both]
            self.lengths[slot] = self.lengths[last]
        self.lengths.pop()
        return last

    def begin_step(self, rows: int, *, masked: bool) -> Any:
        """Prepare one more token for the first `rows` rows; those beyond the living ones hold nothing.

        Returns the mask (rows, 1, 1, width); None without one: then the rows may look at whole slots.
        """
        lengths = self.lengths + [0] * (rows - self.count)
        self.places[:rows].copy_(torch.tensor(lengths))
        if not masked:
            self.width = self.tokens
            return None
        self.width = min(self.tokens, -(-(max(lengths) + 1) // WIDTH_STEP) * WIDTH_STEP)
        numbers = torch.arange(self.width, device=self.places.device)
        return (numbers <= self.places[:rows, None])[:, None, None, :]

    def end_step(self) -> None:
        """The step succeeded: every row is one token longer.  Until then a step can be run again."""
        self.lengths = [length + 1 for length in self.lengths]

    def empty(self) -> None:
        """Give all memory back."""
        for layer in self.layers:
            layer.keys = layer.values = None
            layer.is_initialized = False
            layer.room = (0, 0)
        self.rows = self.tokens = 0
        self.lengths = []
        self.version += 1


class _SlotLayer(CacheLayerMixin):  # type: ignore[misc]  # transformers is untyped
    """One layer's slots (rows, heads, tokens, width)."""

    is_sliding = False
    is_croppable = False

    def __init__(self, slots: Slots) -> None:
        super().__init__()
        self.keys: Any = None
        self.values: Any = None
        self.is_initialized = False
        self._slots = slots
        self.room = (0, 0)
        """Rows, tokens."""

    def resize(self, rows: int, tokens: int) -> None:
        """Change the room, keeping the living rows."""
        if self.is_initialized:
            self.keys, self.values = (
                self._grown(self.keys, rows, tokens),
                self._grown(self.values, rows, tokens),
            )
        self.room = (rows, tokens)

    def fill(self, slot: int, keys: Any, values: Any) -> None:
        """Put a row that was read elsewhere (1, heads, tokens, width) into its slot."""
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
        length = keys.shape[2]
        for ours, theirs in ((self.keys, keys), (self.values, values)):
            ours[slot, :, :length] = theirs[0]
            # What an earlier row left there is masked, but a masked NaN is still a NaN.
            ours[slot, :, length:] = 0

    def lazy_initialization(self, key_states: Any, value_states: Any) -> None:
        """Take shape, number format and device of this layer from the first row."""
        rows, tokens = self.room
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys, self.values = (_slots_like(part, rows, tokens) for part in (key_states, value_states))
        self.is_initialized = True

    def update(self, key_states: Any, value_states: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
        """Write one token per row in place; returns all that the rows may look at."""
        rows = key_states.shape[0]
        # Layers may lie on several GPUs; on one, these are no copies.
        places = self._slots.places[:rows].to(key_states.device)
        numbers = self._slots.numbers[:rows].to(key_states.device)
        self.keys[numbers, :, places] = key_states[:, :, 0]
        self.values[numbers, :, places] = value_states[:, :, 0]
        width = self._slots.width
        return self.keys[:rows, :, :width], self.values[:rows, :, :width]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset; our own mask is used, so only the library's bookkeeping asks."""
        return self._slots.width + query_length - 1, 0

    def get_seq_length(self) -> int:
        """The longest row."""
        return max(self._slots.lengths, default=0)

    def get_max_length(self) -> int:
        """Room of one slot."""
        return self.room[1]

    def _grown(self, old: Any, rows: int, tokens: int) -> Any:
        new = _slots_like(old, rows, tokens)
        kept, width = min(self._slots.count, old.shape[0]), min(tokens, old.shape[2])
        new[:kept, :, :width] = old[:kept, :, :width]
        return new


def slot_of(tokens: int) -> int:
    """Room of the slot that a row of so many tokens gets: whole steps, so that slots seldom change."""
    return -(-tokens // CAPACITY_STEP) * CAPACITY_STEP


def _slots_like(part: Any, rows: int, tokens: int) -> Any:
    """Empty slots (rows, heads, tokens, width) for keys or values of this shape.

    In a GPU's memory a token's heads lie together, as the model makes them and FlashAttention wants them; a
    CPU reads head by head.
    """
    if part.device.type == "cpu":
        return part.new_zeros(rows, part.shape[1], tokens, part.shape[3])
    return part.new_zeros(rows, tokens, part.shape[1], part.shape[3]).transpose(1, 2)

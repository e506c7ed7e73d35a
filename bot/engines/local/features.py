"""The vision tower's features, cached by photo: a photo that comes with every turn is computed once."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch

from bot.engines.local.encoding import Sight, Span


@dataclass(frozen=True, slots=True)
class Seen:
    """One photo as the language model takes it, one row per photo token."""

    pooled: Any
    deep: tuple[Any, ...]
    """Qwen3-VL's deepstack: more features for its first layers.  Empty for other models."""

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(part.numel() * part.element_size() for part in (self.pooled, *self.deep))


class Features:
    """Cached features within a number of bytes; the least recently used are dropped first.

    The key is the photo's hash and its grid: the grid stands for the pixel budget.  Model and
    revision never change within one worker.
    """

    def __init__(self, model: Any, max_bytes: int) -> None:
        self._model = model
        self._max_bytes = max_bytes
        config = model.config
        self._asks_ends = config.model_type == "qwen3_vl" and (
            config.vision_config._attn_implementation == "sdpa"  # noqa: SLF001  # there is no other way to ask
        )
        self._kept: OrderedDict[tuple[str, Any], Seen] = OrderedDict()
        self.bytes = 0
        self.hits = 0
        self.misses = 0

    def find(self, span: Span) -> Seen | None:
        """The features of this photo, if still cached."""
        found = self._kept.get((span.sha256, span.grid))
        if found is None:
            self.misses += 1
            return None
        self.hits += 1
        self._kept.move_to_end((span.sha256, span.grid))
        return found

    def look(self, sight: Sight) -> Seen:
        """Run the vision tower on a photo and remember the result."""
        device = self._model.device
        time, height, width = sight.grid
        ends = torch.arange(time + 1, dtype=torch.int32) * (height * width)
        out = self._model.get_image_features(
            sight.pixels.to(device, non_blocking=True),
            torch.tensor([sight.grid], device=device),
            return_dict=True,
            # Where one photo ends: SDPA asks in every layer, and on the GPU each answer waits for all before.
            **({"image_cu_seqlens": ends} if self._asks_ends else {}),
        )
        deep = tuple(part[0] for part in getattr(out, "deepstack_features", None) or ())
        seen = Seen(out.pooler_output[0], deep)
        if (sight.sha256, sight.grid) not in self._kept:
            self._kept[sight.sha256, sight.grid] = seen
            self.bytes += seen.size
        while self.bytes > self._max_bytes and self._kept:
            _, old = self._kept.popitem(last=False)
            self.bytes -= old.size
        return seen

    def forget(self) -> None:
        """Free the memory."""
        self._kept.clear()
        self.bytes = 0


def sliced(pieces: list[tuple[Seen, int, int]]) -> Any:
    """Parts of photos, first to last token, in the shape that the model's `mm_encoder_outputs` takes."""
    depth = len(pieces[0][0].deep)
    return SimpleNamespace(
        pooler_output=[seen.pooled[first:last] for seen, first, last in pieces],
        deepstack_features=[
            [seen.deep[level][first:last] for seen, first, last in pieces] for level in range(depth)
        ],
    )

"""Counts words and photos as the local model does: its own tokenizer, its own rule for pixels.

Both are read from the checkpoint's files in the bot's process, without torch: the worker need not be asked.
Until they are there (a first download takes minutes), a formula estimates.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from bot.engines.demo import resolve
from prompts.counts import Formula

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LOOK_AGAIN_S = 30.0
_REMEMBERED = 512
"""Texts whose length is remembered: the system prompt and every turn come again and again."""

log = logging.getLogger(__name__)


class ModelCounts:
    """See `prompts.counts.Counts`; `load` makes them exact."""

    def __init__(self, model: str, *, revision: str | None = None, max_pixels: int = 1_048_576) -> None:
        """`max_pixels` as in `LocalEngine`."""
        self.exact = False
        self._model = resolve(model)
        self._revision = revision
        self._max_pixels = max_pixels
        self._formula = Formula()
        self._tokenizer: Tokenizer | None = None
        self._look: _Look | None = None
        self._counted = lru_cache(maxsize=_REMEMBERED)(self._count)

    async def load(self) -> None:
        """Return when the model's files were found and read; they are looked for again and again."""
        while not await asyncio.to_thread(self._load):  # noqa: ASYNC110 - nobody says when a download ends
            await asyncio.sleep(LOOK_AGAIN_S)
        log.info("tokens are counted with the model's own tokenizer")

    def text(self, text: str) -> int:
        """Tokens of some words."""
        return self._formula.text(text) if self._tokenizer is None else self._counted(text)

    def photo(self, width: int, height: int) -> int:
        """Tokens of a photo of that many pixels."""
        return self._formula.photo(width, height) if self._look is None else self._look.tokens(width, height)

    def _count(self, text: str) -> int:
        assert self._tokenizer is not None
        sound = text.encode("utf-8", "replace").decode()
        return len(self._tokenizer.encode(sound, add_special_tokens=False).ids)

    def _load(self) -> bool:
        words, pixels = self._file("tokenizer.json"), self._file("preprocessor_config.json")
        if words is None:
            return False
        from tokenizers import Tokenizer  # noqa: PLC0415 - only where a local model is

        self._look = _look_of(pixels, self._max_pixels) if pixels else None
        self._tokenizer = Tokenizer.from_file(str(words))
        self.exact = True
        return True

    def _file(self, name: str) -> Path | None:
        """A file of the checkpoint, where it is on this machine."""
        if (folder := Path(self._model).expanduser()).is_dir():
            return path if (path := folder / name).is_file() else None
        from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415 - only where a local model is

        found = try_to_load_from_cache(self._model, name, revision=self._revision)
        return Path(found) if isinstance(found, str) else None


class _Look:
    """Qwen's rule: sides rounded to whole merged patches, the area kept between two bounds."""

    def __init__(self, *, side: int, least: int, most: int) -> None:
        self._side = side
        self._least = least
        self._most = most

    def tokens(self, width: int, height: int) -> int:
        across, down = (max(1, round(length / self._side)) for length in (width, height))
        area = across * down * self._side**2
        if area > self._most:
            shrink = math.sqrt(width * height / self._most)
            across, down = (max(1, math.floor(length / shrink / self._side)) for length in (width, height))
        elif area < self._least:
            grow = math.sqrt(self._least / (width * height))
            across, down = (math.ceil(length * grow / self._side) for length in (width, height))
        return across * down


def _look_of(path: Path, max_pixels: int) -> _Look | None:
    """None for a processor whose rule we do not know."""
    try:
        about = json.loads(path.read_text("utf-8"))
        size = about.get("size") or {}
        least = size.get("shortest_edge") or about.get("min_pixels") or max_pixels
        most = size.get("longest_edge") or about.get("max_pixels") or max_pixels
        side = about["patch_size"] * about["merge_size"]
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    return _Look(side=side, least=min(least, max_pixels), most=min(most, max_pixels))

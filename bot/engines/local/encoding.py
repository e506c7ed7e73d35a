"""From a prompt to token ids: what a customer wrote can never become a control token or a photo."""

from __future__ import annotations

import hashlib
import io
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from bot.engines.local.loading import Loaded
from bot.engines.local.wire import Ask
from bot.errors import EngineUnavailable
from context.turns import Language
from prompts.prompt import PromptImage

UNREADABLE: dict[Language, str] = {
    "en": "[a photo that could not be read]",
    "zh": "[一张无法读取的照片]",
}
UNSEEN: dict[Language, str] = {
    "en": "[a photo, which this model cannot see]",
    "zh": "[一张照片，此模型无法查看]",
}

Grid = tuple[int, int, int]
GRIDS = 10_000
"""Photos whose size in patches is remembered, so that their pixels are prepared only if needed."""


@dataclass(frozen=True, slots=True)
class Sight:
    """One photo as the vision tower takes it."""

    sha256: str
    """Of the bytes themselves, computed here: it decides whose features are used again."""
    grid: Grid
    """Patches in time, height and width."""
    pixels: Any
    """Tensor (patches, values)."""


@dataclass(frozen=True, slots=True)
class Span:
    """Where a photo stands in the tokens."""

    start: int
    count: int
    sha256: str
    grid: Grid

    @property
    def end(self) -> int:
        """Index of the first token after it."""
        return self.start + self.count


@dataclass(frozen=True, slots=True)
class Encoded:
    """A prompt as the model reads it."""

    tokens: tuple[int, ...]
    spans: tuple[Span, ...] = ()
    jpegs: tuple[bytes, ...] = ()
    """The photos' bytes, in the order of `spans`."""
    sights: dict[str, Sight] = field(default_factory=dict)
    """Photos never seen before, already prepared."""
    max_pixels: int | None = None
    """A smaller pixel budget than usual: set where memory ran out."""
    ids: Any = None
    """The tokens as a tensor (tokens,) on the CPU, to be compared with others; None if nobody compares."""


class Encoder:
    """Turns prompts into tokens.  Safe to use from several threads: pixels are prepared side by side."""

    def __init__(self, loaded: Loaded) -> None:
        self._tokenizer = loaded.tokenizer
        self._template = loaded.chat_template
        self._image_token_id = loaded.image_token_id
        self._dtype = loaded.model.dtype
        self._pins = loaded.model.device.type == "cuda"
        self._look = loaded.processor.image_processor if loaded.processor is not None else None
        size = getattr(self._look, "size", None) or {}
        self._max_pixels: int = size.get("longest_edge") or 0
        self._min_pixels: int = size.get("shortest_edge") or 0
        self._grids: OrderedDict[tuple[str, int | None], Grid] = OrderedDict()
        # The tokenizer switches a flag inside itself while it encodes customers' control tokens.
        self._tokenizing = threading.Lock()

    def encode(self, ask: Ask, *, shrink: int = 1) -> Encoded:
        """Template, tokens, and as many photo tokens as each photo has patches.

        `shrink` divides the pixels of each photo.

        A photo that cannot be decoded becomes a few words in its place.  Raises EngineUnavailable
        when the model's own template loses a photo.
        """
        max_pixels = self._max_pixels // shrink if shrink > 1 else None
        jpegs: list[bytes] = []
        fresh: dict[str, Sight] = {}
        seen: list[tuple[str, Grid]] = []
        conversation = []
        for message in ask.messages:
            parts: list[dict[str, str]] = []
            for image in message.images:
                found = self._grid(image, fresh, max_pixels)
                if isinstance(found, str):
                    parts.append({"type": "text", "text": _note(found, ask.language)})
                    continue
                parts.append({"type": "image"})
                jpegs.append(image.jpeg)
                seen.append(found)
            parts.append({"type": "text", "text": message.text})
            conversation.append({"role": message.role, "content": self._content(parts)})
        with self._tokenizing:
            ids = self._tokenizer.apply_chat_template(
                conversation,
                chat_template=self._template,
                add_generation_prompt=True,
                tokenize=True,
                return_dict=False,
                sanitize_control_tokens=True,
                **unthinking(self._template),
            )
        tokens, spans = self._spread(ids, seen)
        return Encoded(tokens, spans, tuple(jpegs), fresh, max_pixels)

    def sight(self, jpeg: bytes, *, max_pixels: int | None = None) -> Sight:
        """Decode a photo and cut it into patches: 20 to 150 ms of CPU.  Raises OSError if unreadable."""
        assert self._look is not None
        with Image.open(io.BytesIO(jpeg)) as picture:
            size = {}
            if max_pixels is not None:
                size = {
                    "size": {"shortest_edge": min(self._min_pixels, max_pixels), "longest_edge": max_pixels}
                }
            made = self._look(images=[picture.convert("RGB")], return_tensors="pt", **size)
        grid = made["image_grid_thw"][0].tolist()
        # Narrowed as the model would, and where the GPU fetches it by itself: half of the way, no waiting.
        pixels = made["pixel_values"].to(self._dtype)
        if self._pins:
            pixels = pixels.pin_memory()
        return Sight(_sha(jpeg), (grid[0], grid[1], grid[2]), pixels)

    def _grid(
        self, image: PromptImage, fresh: dict[str, Sight], max_pixels: int | None
    ) -> tuple[str, Grid] | str:
        if self._look is None or self._image_token_id is None:
            return "unseen"
        sha = _sha(image.jpeg)
        grid = self._grids.get((sha, max_pixels))
        if grid is None:
            try:
                fresh[sha] = self.sight(image.jpeg, max_pixels=max_pixels)
            except (OSError, ValueError, SyntaxError):  # Pillow raises SyntaxError for broken chunks
                return "unreadable"
            grid = self._grids[sha, max_pixels] = fresh[sha].grid
            while len(self._grids) > GRIDS:
                self._grids.popitem(last=False)
        return sha, grid

    def _content(self, parts: list[dict[str, str]]) -> str | list[dict[str, str]]:
        # Text-only templates concatenate strings; those of vision models walk a list of parts.
        return parts if self._look is not None else "\n".join(part["text"] for part in parts)

    def _spread(
        self, ids: Sequence[int], seen: list[tuple[str, Grid]]
    ) -> tuple[tuple[int, ...], tuple[Span, ...]]:
        tokens: list[int] = []
        spans: list[Span] = []
        waiting = iter(seen)
        for token in ids:
            if token != self._image_token_id or self._look is None:
                tokens.append(token)
                continue
            sha, grid = next(waiting, ("", (0, 0, 0)))
            if not sha:
                raise EngineUnavailable("the chat template shows more photos than were sent")
            count = grid[0] * grid[1] * grid[2] // self._look.merge_size**2
            spans.append(Span(len(tokens), count, sha, grid))
            tokens.extend([token] * count)
        if len(spans) != len(seen):
            raise EngineUnavailable("the chat template does not show every photo")
        return tuple(tokens), tuple(spans)


def conversation_of(ask: Ask) -> list[dict[str, Any]]:
    """Messages with decoded pictures for a stock processor, which does all the rest itself."""
    conversation: list[dict[str, Any]] = []
    for message in ask.messages:
        parts: list[dict[str, Any]] = []
        for image in message.images:
            try:
                picture = Image.open(io.BytesIO(image.jpeg)).convert("RGB")
            except (OSError, SyntaxError):
                parts.append({"type": "text", "text": _note("unreadable", ask.language)})
            else:
                parts.append({"type": "image", "image": picture})
        parts.append({"type": "text", "text": message.text})
        conversation.append({"role": message.role, "content": parts})
    return conversation


def unthinking(template: str) -> dict[str, bool]:
    """Asks models that think aloud by default to answer at once: customers see every word."""
    return {"enable_thinking": False} if "enable_thinking" in template else {}


def _note(code: str, language: Language) -> str:
    return (UNSEEN if code == "unseen" else UNREADABLE)[language]


def _sha(jpeg: bytes) -> str:
    return hashlib.sha256(jpeg).hexdigest()

"""Read a prompt in pieces: each row alone, photos in, keys and values out."""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache

from bot.engines.local.encoding import Encoder, Span
from bot.engines.local.features import Features, Seen, sliced
from bot.engines.local.loading import Loaded
from bot.engines.local.prefixes import Prefixes
from bot.engines.local.rows import Row
from bot.engines.local.slots import Kept


class Reading:
    """A row whose prompt is being read: `done` tokens of it are in `cache`."""

    def __init__(self, row: Row, loaded: Loaded, prefixes: Prefixes) -> None:
        """Takes no memory for keys and values yet: that is for `begin`, when its turn has come."""
        self.row = row
        self.ids = torch.tensor(row.tokens) if row.said else row.prompt.ids
        """Of prompt and reply (tokens,), on the CPU."""
        self.cache: DynamicCache | None = None
        self.done = 0
        self._loaded = loaded
        self._prefixes = prefixes
        self._known = prefixes.find(self.ids, row.prompt.spans)[0]
        self.positions: Any = None
        """Of prompt and reply (3, 1, tokens) or (1, tokens), once begun."""
        self.delta = 0
        """What positions behind the prompt are ahead of the token's number by."""
        self.logits: Any = None
        """Of the next token (1, vocabulary), once everything is read."""
        self.seen: dict[int, Seen] = {}
        """Photos by number, held until the row has read past them."""

    @property
    def left(self) -> int:
        """Tokens still to be read; before it has begun, as far as is known then."""
        return len(self.ids) - (self._known if self.cache is None else self.done)

    def beginning(self, length: int) -> Kept:
        """A copy of what was read of its first tokens."""
        assert self.cache is not None
        layers = self.cache.layers
        return [(one.keys[:, :, :length].clone(), one.values[:, :, :length].clone()) for one in layers]

    def look_again(self) -> None:
        """More may be known of its beginning than when it was admitted."""
        if self.cache is None:
            self._known = self._prefixes.find(self.ids, self.row.prompt.spans)[0]

    def begin(self) -> None:
        """Take over what is known of its beginning.  Calling twice is harmless."""
        if self.cache is not None:
            return
        cache = DynamicCache(config=self._loaded.model.config.get_text_config())
        self.positions, self.delta = positions_of(self.row, self._loaded)
        self.done = self.row.reused = self._prefixes.take(self.ids, self.row.prompt.spans, cache)
        self.cache = cache


class Reader:
    """Runs prompts through the model, piece by piece."""

    def __init__(self, loaded: Loaded, encoder: Encoder, features: Features) -> None:
        self._loaded = loaded
        self._encoder = encoder
        self._features = features

    def read(self, reading: Reading, most: int) -> int:
        """Read up to `most` more tokens; returns how many.  Fails as a whole: nothing is half read."""
        reading.begin()
        first, last = reading.done, min(reading.done + most, len(reading.ids))
        device = self._loaded.model.device
        photos = {}
        if pieces := self._photos(reading, first, last):
            photos = {"mm_encoder_outputs": {"image": sliced(pieces)}}
        out = self._loaded.model(
            input_ids=reading.ids[None, first:last].to(device),
            # Explicit positions: the model would otherwise take the offset of whichever chat ran last.
            position_ids=reading.positions[..., first:last],
            past_key_values=reading.cache,
            use_cache=True,
            logits_to_keep=1,
            **photos,
        )
        reading.done = last
        reading.seen = {
            number: seen for number, seen in reading.seen.items() if self._is_ahead(reading, number)
        }
        if not reading.left:
            reading.logits = out.logits[:, -1]
        return last - first

    def _photos(self, reading: Reading, first: int, last: int) -> list[tuple[Seen, int, int]]:
        """The photos, and which part of each, that stand between two tokens."""
        pieces = []
        for number, span in enumerate(reading.row.prompt.spans):
            begin, end = max(first, span.start), min(last, span.end)
            if begin >= end:
                continue
            if number not in reading.seen:
                reading.seen[number] = self._see(reading.row, number, span)
            pieces.append((reading.seen[number], begin - span.start, end - span.start))
        return pieces

    def _see(self, row: Row, number: int, span: Span) -> Seen:
        if (known := self._features.find(span)) is not None:
            return known
        sight = row.prompt.sights.pop(span.sha256, None) or self._encoder.sight(
            row.prompt.jpegs[number], max_pixels=row.prompt.max_pixels
        )
        return self._features.look(sight)

    @staticmethod
    def _is_ahead(reading: Reading, number: int) -> bool:
        return reading.row.prompt.spans[number].end > reading.done


def positions_of(row: Row, loaded: Loaded) -> tuple[Any, int]:
    """Positions of prompt and reply, (3, 1, tokens) or (1, tokens), and what later ones are ahead by.

    A photo takes fewer positions than tokens, so that everything behind it stands earlier than its index.
    """
    device = loaded.model.device
    count, asked = len(row.tokens), len(row.prompt.tokens)
    plain = torch.arange(count)[None]
    if loaded.image_token_id is None:
        return plain.to(device), 0
    if not row.prompt.spans:
        return plain.expand(3, 1, count).to(device), 0
    # On the CPU: the library's code asks for single numbers, and each would wait for the whole GPU.
    ids = row.prompt.ids[None]
    positions, deltas = loaded.model.model.get_rope_index(
        input_ids=ids,
        mm_token_type_ids=(ids == loaded.image_token_id).int(),
        image_grid_thw=torch.tensor([span.grid for span in row.prompt.spans]),
    )
    delta = int(deltas[0, 0])
    reply = (plain[:, asked:] + delta).expand(3, 1, count - asked)
    return torch.cat([positions, reply], dim=-1).to(device), delta

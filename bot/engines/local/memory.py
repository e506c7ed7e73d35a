"""How many tokens fit beside the weights, and what the caches may take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bot.engines.local.loading import Loaded
from bot.engines.local.sizes import MIB, bytes_per_token, free_bytes
from bot.engines.local.slots import slot_of
from bot.engines.local.wire import Limits

TYPICAL_CHAT = 4096
"""Tokens of five turns with three photos."""
LEAST_TOKENS = 2048
"""However little memory there is: one short question has to fit."""


@dataclass(slots=True)
class Memory:
    """Budgets in bytes; `tokens` shrinks if memory runs out in spite of them."""

    token_bytes: int
    """Keys and values of one token, all layers."""
    kv_bytes: int
    """For answers that are being read or written."""
    prefix_bytes: int
    """For keys and values of earlier answers (`Prefixes`)."""
    feature_bytes: int
    """For photos as the vision tower saw them (`Features`)."""
    context: int
    """Tokens of the longest prompt and its reply together."""
    rows: int
    """Answers being read or written at the same time, at most."""

    @classmethod
    def of(cls, loaded: Loaded, limits: Limits) -> Memory:
        """Divide what is free on the devices of a loaded model."""
        config = loaded.model.config.get_text_config()
        token_bytes = bytes_per_token(config, loaded.model.dtype)
        return cls.divide(free_bytes(loaded.choice.device), token_bytes, limits, config)

    @classmethod
    def divide(cls, free: int, token_bytes: int, limits: Limits, config: Any) -> Memory:
        """Most of it for running answers, the rest for the caches that make them faster."""
        kv_bytes = limits.kv_bytes or int(free * 0.6)
        features = min(int(free * 0.1), 2048 * MIB)
        most = getattr(config, "max_position_embeddings", limits.context)
        return cls(
            token_bytes=token_bytes,
            kv_bytes=kv_bytes,
            prefix_bytes=int(free * 0.25) if limits.prefix_bytes is None else limits.prefix_bytes,
            feature_bytes=features if limits.feature_bytes is None else limits.feature_bytes,
            context=min(limits.context, most, max(LEAST_TOKENS, kv_bytes // token_bytes)),
            rows=limits.rows,
        )

    @property
    def tokens(self) -> int:
        """Tokens that fit into the slots."""
        return self.kv_bytes // self.token_bytes

    def holds(self, rows: int, longest: int) -> bool:
        """Whether so many slots of this length fit."""
        return rows * slot_of(longest) <= self.tokens

    def shrink(self) -> None:
        """Memory ran out: allow a fifth less from now on, but never nothing."""
        self.kv_bytes = max(self.kv_bytes * 4 // 5, LEAST_TOKENS * self.token_bytes)

    def describe(self) -> dict[str, object]:
        """For `check`: what fits, in the operator's words."""
        return {
            "rows": self.rows,
            "context": self.context,
            "kv_tokens": self.tokens,
            "chats_at_once": min(self.rows, max(1, self.tokens // TYPICAL_CHAT)),
            "chats_remembered": self.prefix_bytes // (self.token_bytes * TYPICAL_CHAT),
            "kv_bytes": self.kv_bytes,
            "prefix_bytes": self.prefix_bytes,
            "feature_bytes": self.feature_bytes,
        }

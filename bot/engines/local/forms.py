"""Answers constrained to a JSON schema: only tokens that fit are drawn.

A model that is asked for JSON returns it most of the time; one that is constrained always does, unless its
answer is cut.  What the values mean is not guaranteed: the caller checks them (`bot.engines.structured`).
"""

from __future__ import annotations

import json
import logging
import threading
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import llguidance.hf
import torch
from llguidance import LLMatcher, LLTokenizer

from bot.engines.local.loading import Loaded

if TYPE_CHECKING:
    from llguidance._lib import JsonCompileOptions

log = logging.getLogger(__name__)

REMEMBERED = 32
"""Schemas whose grammar is cached; the bot itself uses only a handful."""
STYLE: JsonCompileOptions = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""One way to write the same JSON: otherwise a model may indent until its tokens are used up."""

BITS = torch.tensor([[bool(byte >> place & 1) for place in range(8)] for byte in range(256)])
"""Bytes, spelt out from the lowest bit: a look into this table is a tenth of the work of shifting."""


class Forms:
    """Grammars for one model's tokens.  Safe to use from several threads."""

    def __init__(self, loaded: Loaded, vocabulary: int) -> None:
        """`vocabulary` is the width of the logits: more than the tokenizer knows, in many models."""
        self._tokenizer = loaded.tokenizer
        self._vocabulary = vocabulary
        self._alphabet: LLTokenizer | None = None
        self._is_learned = False
        self._learning = threading.Lock()
        self._grammar = lru_cache(maxsize=REMEMBERED)(_grammar)

    def warm_up(self) -> None:
        """Learn the tokenizer's alphabet: a second with a large vocabulary, in which nobody should wait."""
        with self._learning:
            if self._is_learned:
                return
            self._is_learned = True
            try:
                self._alphabet = llguidance.hf.from_tokenizer(self._tokenizer, n_vocab=self._vocabulary)
            except Exception as fault:  # noqa: BLE001  # an unusual tokenizer costs the form, not the model
                log.warning("no answer can be held to a schema: %s: %s", type(fault).__name__, fault)

    def open(self, schema: str) -> Form | None:
        """The constraint for a schema; None without one, or if it is not supported."""
        if not schema:
            return None
        self.warm_up()
        if self._alphabet is None:
            return None
        try:
            matcher = LLMatcher(self._alphabet, self._grammar(schema), log_level=0)
            fault = matcher.get_error()
        except ValueError as refused:
            fault = str(refused)
        if fault:
            log.warning("an answer cannot be held to its schema: %s", fault.partition("\n")[0])
            return None
        return Form(matcher, self._vocabulary)


class Form:
    """One answer's place in its grammar."""

    def __init__(self, matcher: LLMatcher, vocabulary: int) -> None:
        self._matcher = matcher
        self._vocabulary = vocabulary

    def allowed(self) -> Any:
        """Which tokens may come next (vocabulary,), on the CPU; once it is filled in, those that end it."""
        bits = torch.frombuffer(bytearray(self._matcher.compute_bitmask()), dtype=torch.uint8)
        return BITS[bits.int()].flatten()[: self._vocabulary]

    def take(self, token: int) -> None:
        """The next token was drawn."""
        self._matcher.consume_token(token)


def _grammar(schema: str) -> str:
    return LLMatcher.grammar_from_json_schema(json.loads(schema), overrides=STYLE)

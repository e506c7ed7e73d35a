"""Draw the next token of many rows at once, each row with its own settings.

The order is that of transformers' `generate`: repetition penalty, temperature, top_k, top_p.  One
thing differs on purpose: the penalty looks at the reply only.  Over the prompt it would punish the
words of the manual, model numbers and the customer's own language.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from bot.engines.local.forms import Form
from bot.engines.sampling import Sampling

NUCLEUS = 1024
"""Only this many of the likeliest tokens are ever drawn: sorting a vocabulary of 152,000 costs more than
the rest of the step, and a nucleus that wide is noise."""


class Picker:
    """Settings and history of `rows` rows, on the device of the logits."""

    def __init__(
        self,
        rows: int,
        vocabulary: int,
        device: Any,
        banned: Sequence[int] = (),
        stops: Iterable[int] = (),
    ) -> None:
        """`vocabulary` is the width of the logits; `banned` are never drawn, `stops` end a reply."""
        self._temperature = torch.ones(rows, 1, device=device)
        self._top_p = torch.ones(rows, 1, device=device)
        self._top_k = torch.full((rows, 1), NUCLEUS, device=device)
        self._penalty = torch.ones(rows, 1, device=device)
        self._seen = torch.zeros(rows, vocabulary, dtype=torch.bool, device=device)
        self._banned = torch.tensor(list(banned), dtype=torch.long, device=device)
        self._stops = torch.tensor(sorted(stops), dtype=torch.long, device=device)
        self._plain = [True] * rows
        self._forms: list[Form | None] = [None] * rows

    def set(
        self, row: int, sampling: Sampling, said: Sequence[int] = (), *, form: Form | None = None
    ) -> None:
        """Begin a reply in this row; `said` are tokens it has already given, `form` what it is held to."""
        self._temperature[row] = sampling.temperature
        self._top_p[row] = sampling.top_p
        self._top_k[row] = sampling.top_k or NUCLEUS
        self._penalty[row] = sampling.repetition_penalty
        self._plain[row] = sampling.temperature == 0 and sampling.repetition_penalty == 1
        self._seen[row] = False
        self._forms[row] = form
        if said:
            self._seen[row, torch.tensor(list(said), device=self._seen.device)] = True

    def move(self, source: int, target: int) -> None:
        """Let row `target` be what row `source` was."""
        for state in (self._temperature, self._top_p, self._top_k, self._penalty, self._seen):
            state[target] = state[source]
        self._plain[target] = self._plain[source]
        self._forms[target] = self._forms[source]

    def pick(self, logits: Any, first: int = 0, *, speak: bool = False) -> Any:
        """Next tokens (rows,) for the rows `first`, `first + 1`, ... of logits (rows, vocabulary).

        With `speak`, none of them ends the reply: an answer says something.
        """
        rows = slice(first, first + logits.shape[0])
        logits = self._held(logits.float(), first)
        if len(self._banned):
            logits = logits.index_fill(-1, self._banned, -torch.inf)
        if speak:
            logits = logits.index_fill(-1, self._stops, -torch.inf)
        if all(self._plain[rows]):
            return logits.argmax(-1)
        penalty, seen = self._penalty[rows], self._seen[rows, : logits.shape[-1]]
        logits = torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)
        tokens = self._draw(logits, rows)
        self._seen[rows].scatter_(1, tokens[:, None], value=True)
        return tokens

    def _held(self, logits: Any, first: int) -> Any:
        """Of rows that are held to a form, only what it allows."""
        held = {row: form for row, form in enumerate(self._forms[first:][: len(logits)]) if form is not None}
        if not held:
            return logits
        logits = logits.clone()
        for row, form in held.items():
            logits[row].masked_fill_(~form.allowed().to(logits.device), -torch.inf)
        return logits

    def _draw(self, logits: Any, rows: slice) -> Any:
        temperature = self._temperature[rows]
        greedy = temperature == 0
        logits = logits / torch.where(greedy, 1.0, temperature)
        best, tokens = logits.topk(min(NUCLEUS, logits.shape[-1]), dim=-1)
        allowed = torch.arange(best.shape[-1], device=best.device) < self._top_k[rows]
        best = best.masked_fill(~allowed, -torch.inf)
        chances = best.softmax(-1)
        # The nucleus keeps the token that crosses the line, as everywhere.
        outside = chances.cumsum(-1) - chances >= self._top_p[rows]
        chances = chances.masked_fill(outside, 0.0)
        # Dividing by exponential noise and taking the largest draws in proportion, without a sync.
        drawn = (chances / torch.empty_like(chances).exponential_().clamp_min_(1e-10)).argmax(-1)
        drawn = torch.where(greedy[:, 0], 0, drawn)
        return tokens.gather(1, drawn[:, None])[:, 0]

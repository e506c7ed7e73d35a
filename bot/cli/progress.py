"""A progress bar for long jobs: one line on a terminal, nothing anywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

_WIDTH = 24
_EVERY_S = 0.1


class Progress:
    """Counts up to `total` on `stream`: how many are done, how fast, time left, failures."""

    def __init__(self, total: int, *, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._total = total
        self._stream = stream if stream.isatty() else None
        self._clock = clock
        self._began = clock()
        self._shown_at = float("-inf")
        self._done = 0
        self._failed = 0

    def step(self, *, failed: bool) -> None:
        """One more is done."""
        self._done += 1
        self._failed += failed
        now = self._clock()
        if self._stream is not None and (now - self._shown_at >= _EVERY_S or self._done == self._total):
            self._shown_at = now
            self._stream.write(f"\r{self.line()}\x1b[K")
            self._stream.flush()

    def close(self) -> None:
        """End the line, and leave it on the screen."""
        if self._stream is not None and self._done:
            self._stream.write("\n")
            self._stream.flush()

    def line(self) -> str:
        """The bar as text."""
        share = self._done / self._total if self._total else 1.0
        bar = ("#" * round(share * _WIDTH)).ljust(_WIDTH, ".")
        rate = self._done / max(self._clock() - self._began, 1e-6)
        left = _duration((self._total - self._done) / rate) if rate else "?"
        failed = f", {self._failed} failed" if self._failed else ""
        return f"[{bar}] {self._done}/{self._total} {share:4.0%}  {rate:.1f}/s  {left} left{failed}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

"""A circuit breaker: after repeated failures calls are refused for a while, then one tries again."""

from __future__ import annotations

import time
from collections.abc import Callable


class Breaker:
    """Says whether a call should be attempted.  For one event loop.

    After `failures` in a row it refuses calls for `rest_s` seconds.  Then one call goes through as a probe,
    and the others are refused until it has reported.  Each failed probe doubles the next rest, up to
    `longest_s` (`rest_s` unless given).
    """

    def __init__(
        self,
        *,
        failures: int = 1,
        rest_s: float,
        longest_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = failures
        self._rest_s = rest_s
        self._longest_s = rest_s if longest_s is None else longest_s
        self._clock = clock
        self._failures = 0
        self._rests = 0
        self._again_at = 0.0
        self._is_probing = False

    @property
    def is_broken(self) -> bool:
        """Whether it is open: from the last failure allowed to the next success."""
        return self._rests > 0

    def allows(self) -> bool:
        """Whether a call may be made now.  The caller then reports one of the three outcomes below."""
        if not self.is_broken:
            return True
        if self._is_probing or self._clock() < self._again_at:
            return False
        self._is_probing = True
        return True

    def succeeded(self) -> None:
        """The call was answered."""
        self._failures = self._rests = 0
        self._is_probing = False

    def failed(self) -> None:
        """The call failed or took too long.  Of concurrent calls that fail, only one counts."""
        self._failures += 1
        if self._failures < self._limit or (self.is_broken and not self._is_probing):
            return
        self._is_probing = False
        # The exponent is bounded so that years of failures do not make a number no float holds.
        self._again_at = self._clock() + min(self._longest_s, self._rest_s * 2.0 ** min(self._rests, 30))
        self._rests += 1

    def left(self) -> None:
        """The call says nothing about the service: it was cancelled, or refused for a reason of its own."""
        self._is_probing = False

"""A breaker: what keeps failing is left alone for a while, then one call at a time tries again."""

from __future__ import annotations

import time
from collections.abc import Callable


class Breaker:
    """Says whether a call is worth making.  For one event loop.

    After `failures` in a row it rests for `rest_s`; each probe that fails makes the next rest twice as
    long, up to `longest_s` (`rest_s`, unless given).  After a rest one call goes through as a probe, and
    the others are refused until it has reported.
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
        """True from the failure that was one too many to the next success."""
        return self._rests > 0

    def allows(self) -> bool:
        """True when a call may be made now.  Whoever makes it reports one of the three below."""
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
        """The call was not answered, or not in time.  Of calls that were under way together, one counts."""
        self._failures += 1
        if self._failures < self._limit or (self.is_broken and not self._is_probing):
            return
        self._is_probing = False
        # The exponent is bounded so that years of failures do not make a number no float holds.
        self._again_at = self._clock() + min(self._longest_s, self._rest_s * 2.0 ** min(self._rests, 30))
        self._rests += 1

    def left(self) -> None:
        """Nothing was learned: the caller went away, or it answered that it cannot do this."""
        self._is_probing = False

"""A breaker: after a failure the next calls are spared the waiting, and one at a time tries again."""

from __future__ import annotations

import time
from collections.abc import Callable


class Breaker:
    """Says whether a call is worth making.  For one event loop.

    The first failure makes it rest for `rest_s`, each further one twice as long, up to `longest_s`.
    After a rest one call goes through as a probe; the others are refused until it has answered.
    """

    def __init__(
        self, *, rest_s: float = 0.5, longest_s: float = 15.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rest_s = rest_s
        self._longest_s = longest_s
        self._clock = clock
        self._failures = 0
        self._again_at = 0.0

    @property
    def is_broken(self) -> bool:
        """True from a failure to the next success."""
        return self._failures > 0

    def allows(self) -> bool:
        """True when a call may be made now.  Its outcome has to be reported."""
        if not self._failures:
            return True
        now = self._clock()
        if now < self._again_at:
            return False
        self._fail(now)  # this caller is the probe; its success puts everything right
        return True

    def succeeded(self) -> None:
        """The call was answered."""
        self._failures = 0

    def failed(self) -> None:
        """The call was not answered, or not in time.  Many at once count as one."""
        if not self._failures:
            self._fail(self._clock())

    def _fail(self, now: float) -> None:
        self._again_at = now + min(self._longest_s, self._rest_s * 2.0 ** min(self._failures, 30))
        self._failures += 1

"""What keeps failing is left alone for a while, then one call at a time tries again."""

from __future__ import annotations

import pytest

from context.breaker import Breaker
from tests.clock import Clock


@pytest.mark.parametrize("failures", [1, 3])
def test_calls_go_through_until_so_many_fail_in_a_row(clock: Clock, failures: int) -> None:
    breaker = Breaker(failures=failures, rest_s=1, clock=clock)
    for _ in range(failures - 1):
        breaker.failed()
    breaker.succeeded()
    for _ in range(failures):
        assert breaker.allows()
        assert not breaker.is_broken
        breaker.failed()
    assert breaker.is_broken
    assert not breaker.allows()


def test_after_a_rest_one_call_tries_for_all(clock: Clock) -> None:
    breaker = Breaker(rest_s=1, clock=clock)
    breaker.failed()
    clock.move(1)
    assert [breaker.allows() for _ in range(4)] == [True, False, False, False]
    clock.move(100)
    assert not breaker.allows(), "the probe takes as long as it takes"
    breaker.succeeded()
    assert all(breaker.allows() for _ in range(4))


def test_a_probe_that_learned_nothing_leaves_the_next_call_to_try(clock: Clock) -> None:
    breaker = Breaker(rest_s=1, clock=clock)
    breaker.failed()
    clock.move(1)
    assert breaker.allows()
    breaker.left()
    assert breaker.is_broken
    assert breaker.allows()


@pytest.mark.parametrize(("longest_s", "expected"), [(5, [1, 2, 4, 5, 5]), (None, [1, 1, 1, 1, 1])])
def test_rests_grow_to_a_limit_and_start_short_after_a_success(
    clock: Clock, longest_s: float | None, expected: list[float]
) -> None:
    breaker = Breaker(rest_s=1, longest_s=longest_s, clock=clock)
    breaker.failed()
    rests = []
    for _ in expected:
        began = clock.now
        while not breaker.allows():
            clock.move(0.5)
        rests.append(clock.now - began)
        breaker.failed()
    assert rests == expected
    while not breaker.allows():
        clock.move(0.5)
    breaker.succeeded()
    breaker.failed()
    clock.move(1)
    assert breaker.allows()


def test_many_failures_at_once_are_one(clock: Clock) -> None:
    breaker = Breaker(rest_s=1, longest_s=100, clock=clock)
    for _ in range(500):
        breaker.failed()
    clock.move(1)
    assert breaker.allows()

"""After a failure most calls are spared, and one at a time tries again."""

from __future__ import annotations

from context.breaker import Breaker
from tests.clock import Clock


def test_calls_go_through_until_one_fails(clock: Clock) -> None:
    breaker = Breaker(clock=clock)
    assert all(breaker.allows() for _ in range(3))
    breaker.failed()
    assert breaker.is_broken
    assert not breaker.allows()


def test_after_a_rest_one_call_tries_for_all(clock: Clock) -> None:
    breaker = Breaker(rest_s=1, clock=clock)
    breaker.failed()
    clock.move(1)
    assert [breaker.allows() for _ in range(4)] == [True, False, False, False]
    breaker.succeeded()
    assert all(breaker.allows() for _ in range(4))


def test_a_probe_that_never_comes_back_does_not_close_it_for_good(clock: Clock) -> None:
    breaker = Breaker(rest_s=1, clock=clock)
    breaker.failed()
    clock.move(1)
    assert breaker.allows()
    clock.move(2)
    assert breaker.allows()


def test_rests_grow_to_a_limit_and_start_short_after_a_success(clock: Clock) -> None:
    breaker = Breaker(rest_s=1, longest_s=5, clock=clock)
    breaker.failed()
    rests = []
    for _ in range(5):
        began = clock.now
        while not breaker.allows():
            clock.move(0.5)
        rests.append(clock.now - began)
        breaker.failed()
    assert rests == [1, 2, 4, 5, 5]
    breaker.succeeded()
    breaker.failed()
    clock.move(1)
    assert breaker.allows()


def test_many_failures_at_once_are_one(clock: Clock) -> None:
    breaker = Breaker(rest_s=1, clock=clock)
    for _ in range(500):
        breaker.failed()
    clock.move(1)
    assert breaker.allows()

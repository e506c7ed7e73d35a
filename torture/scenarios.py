"""What is done to the bot, by name.  The order is that of the card."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.bot_api import faults
from torture import deaths, stores, telegram
from torture.arena import Arena, Size


@dataclass(frozen=True, slots=True)
class Scenario:
    """One way of going wrong."""

    name: str
    play: Callable[[Arena, Size], Awaitable[None]]
    """Starts the bot in the arena, breaks something and mends it.  Raises `CannotRun`."""
    quick: Size
    full: Size
    model_s: float = 0.05
    ours_only: bool = False
    """Whether it needs to know the bot from inside."""
    is_idle: bool = False
    """Whether it mostly waits: such ones need not take turns with the others."""

    @property
    def what(self) -> str:
        """One line about it."""
        return (self.play.__doc__ or "").partition("\n")[0]


def _conflict() -> faults.Fault:
    return faults.refused(409, "Conflict: terminated by other getUpdates request")


SMALL, LARGE = Size(20, 40, 1), Size(100, 400, 1)

SCENARIOS = (
    Scenario("well", telegram.well, SMALL, LARGE),
    Scenario("kill -9", deaths.killed, Size(20, 40, 2), Size(200, 1000, 50), model_s=0.15),
    Scenario(
        "kill -9, webhook",
        deaths.killed_behind_a_webhook,
        Size(20, 30, 1),
        Size(200, 400, 20),
        model_s=0.15,
        ours_only=True,
    ),
    Scenario(
        "kill -9, PostgreSQL",
        deaths.killed_on_postgres,
        Size(20, 30, 1),
        Size(200, 1000, 50),
        model_s=0.15,
        ours_only=True,
    ),
    Scenario(
        "kill -9, two workers",
        deaths.one_of_two_killed,
        Size(20, 30, 1),
        Size(200, 1000, 50),
        model_s=0.15,
        ours_only=True,
    ),
    Scenario("kill -9 coming in", deaths.killed_coming_in, SMALL, SMALL, model_s=0.5, ours_only=True),
    Scenario("kill -9 going out", deaths.killed_going_out, SMALL, SMALL, model_s=0.1, ours_only=True),
    Scenario("SIGTERM", deaths.stopped, Size(20, 40, 2), Size(100, 300, 6), model_s=0.5),
    Scenario("repeated updates", telegram.repeated, SMALL, Size(100, 800, 1)),
    Scenario("429", telegram.flooded, SMALL, LARGE),
    Scenario("cut connections", telegram.cut_off, SMALL, LARGE),
    Scenario("no connection", telegram.unreachable, SMALL, LARGE),
    Scenario("502 pages", telegram.bad_gateway, SMALL, LARGE),
    Scenario("hanging sends", telegram.hanging, SMALL, LARGE, is_idle=True),
    Scenario("poll: 401", telegram.refused(faults.unauthorized), SMALL, Size(100, 100, 3), is_idle=True),
    Scenario("poll: 404", telegram.refused(faults.missing), SMALL, Size(100, 100, 3), is_idle=True),
    Scenario("poll: 409", telegram.refused(_conflict), SMALL, Size(100, 100, 3), is_idle=True),
    Scenario("poll: half-open", telegram.half_open, SMALL, LARGE, is_idle=True),
    Scenario("Redis killed", stores.redis_killed, SMALL, Size(100, 400, 4)),
    Scenario("PostgreSQL restarted", stores.postgres_restarted, SMALL, Size(100, 400, 4), ours_only=True),
    Scenario("disk full", stores.disk_full, SMALL, Size(100, 400, 3), ours_only=True),
    Scenario("clock jumps", stores.clock_jumps, SMALL, Size(20, 100, 1)),
)

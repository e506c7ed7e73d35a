"""Whatever happens in whatever order, the ledger keeps its promises; and the tests would notice if not."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from bot import sender
from context import arrivals, claims, inbox, open_turns, outbox
from context.db import Database
from context.statement import Statement
from tests.clock import Clock
from tests.ledger_life import Life, Step, Violation
from tests.ledger_promises import check

STEPS = (
    # As often as they stand here.
    *("say", "say", "show", "album", "edit", "command", "deliver", "deliver", "deliver", "repeat"),
    *("claim",) * 6,
    *("go",) * 12,
    *("crash", "stop", "renew", "wait", "wait", "wait", "take_over", "hand_back"),
)
lives = st.lists(
    st.tuples(st.sampled_from(STEPS), st.integers(0, 7), st.integers(0, 30)), min_size=30, max_size=70
)
_names = itertools.count(1)


class Theatre:
    """A database on which one life after the other is played."""

    def __init__(self, url: str) -> None:
        self._runner = asyncio.Runner()
        self._clock = Clock()
        self.db = Database(url, clock=self._clock)

    def play(self, steps: list[Step]) -> None:
        self._runner.run(self._play(steps))

    async def _play(self, steps: list[Step]) -> None:
        life = Life(self.db, self._clock, next(_names))
        try:
            await life.play(steps)
            await check(life)
        except BaseException:  # what it left must not disturb the next life
            await self.db.write(lambda connection: connection.exec_driver_sql("DELETE FROM lanes"))
            raise
        finally:
            for _, run in life.runs:
                assert run.task is not None
                run.task.cancel()
            await asyncio.gather(*(run.task for _, run in life.runs if run.task), return_exceptions=True)

    def close(self) -> None:
        self._runner.run(self.db.close())
        self._runner.close()


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Lives are full of errors on purpose; they need not be printed for each."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def theatre(database_url: str) -> Iterator[Theatre]:
    theatre = Theatre(database_url)
    yield theatre
    theatre.close()


def test_promises_hold_in_every_life(theatre: Theatre) -> None:
    @settings(
        max_examples=100 if theatre.db.is_sqlite else 15,
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large),
    )
    @given(lives)
    def play(steps: list[Step]) -> None:
        theatre.play(steps)

    play()


def replaced(statement: Statement, old: str, new: str) -> Statement:
    """The same statement with a fault in it."""
    assert re.search(old, statement.text), old
    return Statement(re.sub(old, new, statement.text))


def forgets_what_is_unique(patch: pytest.MonkeyPatch, db: Database) -> None:
    patch.setattr(
        arrivals, "_INSERT", replaced(arrivals._INSERT, ":source,", ":source || lower(hex(randomblob(4))),")
    )
    with db._engine.begin() as connection:
        connection.exec_driver_sql("DROP INDEX messages_once")


def gives_back_for_never(patch: pytest.MonkeyPatch, db: Database) -> None:
    patch.setattr(inbox, "_AGAIN", replaced(inbox._AGAIN, r"due_at = CASE.*?END,", "due_at = NULL,"))


def never_looks_for_the_dead(patch: pytest.MonkeyPatch, db: Database) -> None:
    patch.setattr(claims, "_EXPIRED", claims._EXPIRED.replace("<= :now", "< 0 * :now"))


def drops_the_fence(patch: pytest.MonkeyPatch, db: Database) -> None:
    patch.setattr(outbox, "_compare", lambda batch, fence: None)


def answers_the_newest_first(patch: pytest.MonkeyPatch, db: Database) -> None:
    patch.setattr(claims, "_one_turn", lambda waiting: (tuple(waiting[-1:]), False))


def forgets_what_was_taken(patch: pytest.MonkeyPatch, db: Database) -> None:
    patch.setattr(outbox, "_TAKE", replaced(outbox._TAKE, "id IN :ids", "id IN :ids AND id % 2 = 0"))


def does_not_count_doubts(patch: pytest.MonkeyPatch, db: Database) -> None:
    patch.setattr(outbox, "_PART", replaced(outbox._PART, r"unsure \+ :doubts", "unsure + 0 * :doubts"))


def takes_a_failure_for_a_delivery(patch: pytest.MonkeyPatch, db: Database) -> None:
    patch.setattr(sender, "RESENDS_AFTER_FAILURE", 0)


def supersedes_without_end(patch: pytest.MonkeyPatch, db: Database) -> None:
    patch.setattr(claims, "SUPERSEDE_LIMIT", 1_000)


def does_not_see_who_holds_a_chat(patch: pytest.MonkeyPatch, db: Database) -> None:
    patch.setattr(outbox, "_STATE", replaced(outbox._STATE, r"\(SELECT holder[^)]*\)", "NULL"))


def talks_on_after_a_takeover(patch: pytest.MonkeyPatch, db: Database) -> None:
    patch.setattr(outbox, "_was_taken_over", lambda connection, batch, turn: False)


def forgets_half_an_answer(patch: pytest.MonkeyPatch, db: Database) -> None:
    patch.setattr(
        open_turns,
        "_PARTS",
        replaced(open_turns._PARTS, "direction = 'out'", "direction = 'out' AND number = 1"),
    )


def keeps_an_outdated_original(patch: pytest.MonkeyPatch, db: Database) -> None:
    patch.setattr(arrivals, "_REPLACE", replaced(arrivals._REPLACE, "id = :id", "id = -:id"))


FAULTS: dict[Callable[[pytest.MonkeyPatch, Database], None], str] = {
    forgets_what_is_unique: "stored",
    gives_back_for_never: "is waiting",
    never_looks_for_the_dead: "rest|is waiting",
    drops_the_fence: "two workers speak|claim",
    answers_the_newest_first: "behind",
    forgets_what_was_taken: "twice|other messages|rest|waiting",
    does_not_count_doubts: "doubted|never said",
    takes_a_failure_for_a_delivery: "too early",
    supersedes_without_end: "superseded",
    does_not_see_who_holds_a_chat: "a person holds",
    talks_on_after_a_takeover: "a person holds",
    forgets_half_an_answer: "for ever",
    keeps_an_outdated_original: "outdated",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_planted_fault_is_caught(
    fault: Callable[[pytest.MonkeyPatch, Database], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theatre = Theatre(f"sqlite:///{tmp_path}/bot.db")
    fault(monkeypatch, theatre.db)
    with pytest.raises(Violation, match=FAULTS[fault]):
        play_many_lives(theatre)
    theatre.close()


def play_many_lives(theatre: Theatre) -> None:
    dice = random.Random(22)  # finds each of them soon
    for _ in range(300):
        theatre.play([(dice.choice(STEPS), dice.randrange(8), dice.randrange(31)) for _ in range(60)])

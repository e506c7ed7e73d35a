"""What must hold of a ledger when a life is over, read from its tables and from what was delivered."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import combinations
from typing import Any

from sqlalchemy.engine import Row

from tests.ledger_life import RESENDS, RESENDS_AFTER_FAILURE, Life, Violation


async def check(life: Life) -> None:
    """Raises `Violation`."""
    where = f"chat LIKE 'telegram:{life.name}0_'"

    async def rows(table: str) -> list[Row[Any]]:
        query = f"SELECT * FROM {table} WHERE {where}"
        order = "" if table == "lanes" else " ORDER BY id"
        return list(await life.db.read(lambda c: c.exec_driver_sql(query + order).all()))

    messages, turns, lanes = await rows("messages"), await rows("turns"), await rows("lanes")
    incoming = [row for row in messages if row.direction == "in"]
    parts = [row for row in messages if row.direction == "out"]
    stored_once(life, incoming)
    nothing_lost(incoming)
    answered_by_one_turn(incoming, turns)
    in_order(life, incoming, parts)
    doubles_are_counted(life, parts)
    all_said(life, turns, parts)
    for lane in lanes:
        if (lane.attempts, lane.crashes, lane.superseded) != (0, 0, 0):
            raise Violation(f"a lane at rest remembers {lane.attempts, lane.crashes, lane.superseded}")


def stored_once(life: Life, incoming: list[Row[Any]]) -> None:
    stored = Counter(row.source for row in incoming)
    expected = Counter(arrival.source for arrival in life.arrived)
    if stored != expected:
        raise Violation(f"stored {stored - expected} too often, {expected - stored} not at all")


def nothing_lost(incoming: list[Row[Any]]) -> None:
    """Of every message the newest version that says something new was taken into a turn."""
    versions = defaultdict(list)
    for row in incoming:
        if row.state not in {"taken", "replaced", "ignored"}:
            raise Violation(f"message {row.id} is {row.state}: nobody answered it")
        versions[row.chat, row.message_id].append(row)
    for rows in versions.values():
        edits = [row for row in rows if row.edited and row.state != "ignored"]
        newest = edits[-1] if edits else next(row for row in rows if row.state != "ignored")
        if newest.state != "taken":
            states = [(row.id, row.state, row.text) for row in rows]
            raise Violation(f"message {newest.id}, the newest of its kind, is {newest.state}: {states}")


def answered_by_one_turn(incoming: list[Row[Any]], turns: list[Row[Any]]) -> None:
    """What a turn says it answers and what its messages say are the same; no message is in two."""
    taken = defaultdict(set)
    for row in incoming:
        if row.state == "taken":
            taken[row.turn_id].add(row.id)
    seen: set[int] = set()
    for turn in turns:
        if turn.state == "superseded":
            continue
        if turn.state not in {"closed", "failed"}:
            raise Violation(f"turn {turn.id} is {turn.state} for ever")
        answered = {int(word) for word in turn.text.split()}
        if answered & seen:
            raise Violation(f"messages {answered & seen} were answered twice")
        if answered != taken.pop(turn.id, set()):
            raise Violation(f"turn {turn.id} answered other messages than it took")
        seen |= answered
    if taken:
        raise Violation(f"messages were taken into turns that answered nothing: {dict(taken)}")


def in_order(life: Life, incoming: list[Row[Any]], parts: list[Row[Any]]) -> None:
    """Who wrote first, by arrival and by the customer's own count, is answered no later."""
    edited = {(row.chat, row.message_id) for row in incoming if row.edited}
    plain = [row for row in incoming if (row.chat, row.message_id) not in edited]
    for one, other in combinations(plain, 2):
        if one.chat == other.chat and one.position < other.position and one.turn_id > other.turn_id:
            raise Violation(f"message {one.id} was answered behind {other.id}")
    sure = {part.id: (part.turn_id, part.number) for part in parts if not part.unsure}
    said = defaultdict(list)
    for chat, part in life.channel.delivered:
        if part in sure:
            said[chat].append(sure[part])
    for places in said.values():
        if places != sorted(places):
            raise Violation(f"said out of order: {places}")


def doubles_are_counted(life: Life, parts: list[Row[Any]]) -> None:
    heard = Counter(part for _, part in life.channel.delivered)
    for part in parts:
        if heard[part.id] > 1 + part.unsure:
            raise Violation(
                f"part {part.id} was heard {heard[part.id]} times and doubted {part.unsure} times"
            )
        if part.state == "sent" and not heard[part.id]:
            raise Violation(f"part {part.id} counts as sent and was never heard")
        if heard[part.id] and part.state == "dead" and not part.unsure:
            raise Violation(f"part {part.id} was heard and counts as never said")


def all_said(life: Life, turns: list[Row[Any]], parts: list[Row[Any]]) -> None:
    states = {turn.id: turn.state for turn in turns}
    for part in parts:
        if part.state in {"pending", "sending"}:
            raise Violation(f"part {part.id} is {part.state} for ever")
        is_silenced = part.error == "a person took the chat"
        broke, failed = life.channel.broke[part.id], life.channel.failed[part.id]
        is_doubted_enough = broke > RESENDS or (broke + failed and part.unsure > RESENDS_AFTER_FAILURE)
        if part.state == "ambiguous" and not is_silenced and not is_doubted_enough:
            raise Violation(f"part {part.id} was taken for said too early, after {part.unsure} doubts")
        if states[part.turn_id] == "closed" and part.state == "dead" and not is_silenced:
            raise Violation(f"part {part.id} of a closed turn was not said")

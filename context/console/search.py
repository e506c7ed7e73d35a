"""Full-text search over all questions and answers, in Chinese and English.

Chinese has no spaces, so runs of it are cut into overlapping pairs of characters; other words stay whole.
Both databases index the same tokens and give the same results without an extension.  Among 200,000 messages,
pairs found 98.5 % of all matches and nothing else; trigrams found 82 %, since most Chinese words have two
characters.  What pairs miss are fragments of Latin words.  Model, template, verdict and so on are tokens as
well, so that one index answers every query.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from context.db import Database
from context.statement import Statement
from context.turns import Chat

MERGE_PAGES = 200
"""Pages of the index that are merged in one step, some milliseconds."""
MOST_CHARS = 8000
"""Characters of each text that are indexed: a customer may paste a whole book."""
MOST_TOKENS = 32
"""Tokens of one query that are used."""
CANDIDATES = 2000
"""Newest hits that are filtered by properties of the whole conversation."""

_RUNS = re.compile(r"([\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+)|(\w+)")
_ALL = 2**62
"""Larger than the id of any turn."""
_BEGINS = "*"
"""Ends a token that is searched as a prefix."""


@dataclass(frozen=True, slots=True)
class Query:
    """A query; empty fields do not restrict it."""

    text: str = ""
    model: str = ""
    template: str = ""
    """`support@1a2b3c4d5e`, as the turn's record has it."""
    verdict: str = ""
    """`allow`, `hold` or `block`."""
    since: float | None = None
    until: float | None = None
    """Unix seconds; `since` is included, `until` is not."""

    @property
    def is_empty(self) -> bool:
        """Whether no field is set."""
        return not (self.text.strip() or self.model or self.template or self.verdict) and (
            self.since is None and self.until is None
        )


@dataclass(frozen=True, slots=True)
class Hit:
    """A turn that was found."""

    turn_id: int
    chat: Chat
    name: str
    """The customer's name in the channel."""
    at: float
    text: str
    reply: str
    origin: str
    state: str


class Search:
    """Finds turns, newest first."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def find(
        self, query: Query, *, chips: Mapping[str, str | int] | None = None, before: int = 0, limit: int = 30
    ) -> list[Hit]:
        """Up to `limit` turns older than the turn `before` (0: from the newest on).

        `chips` restrict it to conversations of the list: column of `listing` -> value.
        """

        def work(connection: Connection) -> list[Hit]:
            statement, values = _statement(connection, query, chips or {}, before)
            if statement is None:
                return []
            rows = connection.execute(statement, values | {"limit": limit}).all()
            return [_hit(row) for row in rows]

        return await self._db.read(work)


def index_in(connection: Connection, rows: Sequence[Row[Any]]) -> None:
    """Index turns (rows of `turns`) within the caller's transaction, replacing earlier entries."""
    is_sqlite = connection.dialect.name == "sqlite"
    values = []
    for row in rows:
        record = json.loads(row.record)
        drafted = record.get("draft") or ""
        words = " ".join(
            token for text in (row.text, row.reply, drafted) for token in _pieces(text[:MOST_CHARS])
        )
        values.append({"turn": row.id, "words": words, "facets": " ".join(_facets(row.origin, record))})
    if not values:
        return
    if is_sqlite:
        connection.execute(_DROP_FTS, [{"turn": value["turn"]} for value in values])
        connection.execute(_ADD_FTS, values)
    else:
        for value in values:
            tokens = sorted({*value["words"].split(), *value["facets"].split()})
            connection.execute(_ADD_GIN, {"turn": value["turn"], "tokens": tokens})


def erase_in(connection: Connection, chat: Chat, *, upto: int = _ALL) -> None:
    """Remove a chat's turns, up to one, from the index.  Call it before they are deleted."""
    is_sqlite = connection.dialect.name == "sqlite"
    connection.execute(_ERASE_FTS if is_sqlite else _ERASE_GIN, {"chat": chat.key, "upto": upto})


def merge_in(connection: Connection, pages: int) -> bool:
    """Merge some of SQLite's index, so that its older segments and the erased words in them go.

    Begin with `-MERGE_PAGES`, go on with `MERGE_PAGES` while it is True: https://sqlite.org/fts5.html#the_merge_command
    """
    driver: Any = connection.connection.driver_connection
    before = driver.total_changes
    connection.execute(_MERGE_FTS, {"pages": pages})
    return int(driver.total_changes) - before > 1 or pages < 0


def words_of(text: str) -> tuple[str, ...]:
    """The words of a query, folded like the index, to be highlighted in the hits."""
    return tuple(match.group(0) for match in _RUNS.finditer(fold(text)))


def fold(text: str) -> str:
    """The text with its width and case normalised."""
    return unicodedata.normalize("NFKC", text).lower()


def _pieces(text: str) -> Iterator[str]:
    for chinese, word in _RUNS.findall(fold(text)):
        if word:
            yield word
        else:
            yield from (chinese[i : i + 2] for i in range(len(chinese) - 1))
            yield chinese[-1]  # any other character begins a pair


def _phrases(text: str) -> list[list[str]]:
    """The phrases of a query: each word, and each run of Chinese as its pairs in sequence."""
    phrases = []
    for chinese, word in _RUNS.findall(fold(text)):
        if word:
            phrases.append([word])
        elif len(chinese) == 1:
            phrases.append([chinese + _BEGINS])
        else:
            phrases.append([chinese[i : i + 2] for i in range(len(chinese) - 1)])
    return phrases[:MOST_TOKENS]


def _facets(origin: str, record: Mapping[str, Any]) -> Iterator[str]:
    verdict = record.get("verdict")
    yield _facet("origin", origin)
    yield _facet("model", str(record.get("model") or origin))
    yield _facet("template", str(record.get("prompt") or ""))
    if isinstance(verdict, dict):
        yield _facet("verdict", str(verdict.get("action")))


def _facet(name: str, value: str) -> str:
    """A token for a property, which no customer's word can equal."""
    return f"{name}0{hashlib.blake2b(value.lower().encode(), digest_size=6).hexdigest()}"


def _statement(
    connection: Connection, query: Query, chips: Mapping[str, str | int], before: int
) -> tuple[sa.TextClause | None, dict[str, Any]]:
    phrases = _phrases(query.text)
    if query.text.strip() and not phrases:  # nothing but punctuation: nothing is found by it
        return None, {}
    named = {"model": query.model, "template": query.template, "verdict": query.verdict}
    facets = [_facet(name, value) for name, value in named.items() if value]
    values: dict[str, Any] = {"candidates": CANDIDATES if chips else 1_000_000}
    where = []
    if before:
        where.append("{id} < :before")
        values["before"] = before
    for bound, moment, sign in (("since", query.since, ">="), ("until", query.until, "<")):
        if moment is not None:
            where.append(f"{{id}} {sign} :{bound}")
            values[bound] = _turn_at(connection, moment)
    is_sqlite = connection.dialect.name == "sqlite"
    if phrases or facets:
        where.insert(0, "search MATCH :match" if is_sqlite else "tokens @@ CAST(:match AS tsquery)")
        values["match"] = (_fts if is_sqlite else _tsquery)(phrases, facets)
        source, name = "search", "rowid" if is_sqlite else "turn_id"
    else:
        source, name = "turns", "id"
    on_chat = " AND ".join(f"l.{column} = :chip_{column}" for column in chips) or "1 = 1"
    values |= {f"chip_{column}": value for column, value in chips.items()}
    condition = " AND ".join(where).replace("{id}", name) or "1 = 1"
    limit = ":candidates" if chips else ":limit"
    # Only names of ours are put together here; every value is bound.
    return (
        sa.text(f"""
        SELECT t.id, t.chat, t.opened_at, substr(t.text, 1, 2000) AS text, substr(t.reply, 1, 2000) AS reply,
               t.origin, t.state, COALESCE(l.name, '') AS name
        FROM (SELECT {name} AS id FROM {source} WHERE {condition} ORDER BY {name} DESC LIMIT {limit}) AS found
        JOIN turns t ON t.id = found.id LEFT JOIN listing l ON l.chat = t.chat
        WHERE {on_chat} ORDER BY t.id DESC LIMIT :limit"""),  # noqa: S608
        {key: value for key, value in values.items() if key != "candidates" or chips},
    )


def _fts(phrases: Sequence[Sequence[str]], facets: Sequence[str]) -> str:
    said = [
        f'words : "{phrase[0][:-1]}" *' if phrase[0].endswith(_BEGINS) else f'words : "{" ".join(phrase)}"'
        for phrase in phrases
    ]
    return " AND ".join([*said, *(f'facets : "{facet}"' for facet in facets)])


def _tsquery(phrases: Sequence[Sequence[str]], facets: Sequence[str]) -> str:
    tokens = [token for phrase in phrases for token in phrase]
    return " & ".join(
        f"'{token[:-1]}':*" if token.endswith(_BEGINS) else f"'{token}'" for token in [*tokens, *facets]
    )


def _turn_at(connection: Connection, moment: float) -> int:
    """The first turn opened at this time or later, by bisection: turns are numbered in order of time."""
    low, high = 1, int(connection.execute(_NEWEST).scalar_one()) + 1
    while low < high:
        middle = (low + high) // 2
        row = connection.execute(_FROM, {"id": middle}).first()
        if row is None or row.opened_at >= moment:
            high = middle
        else:
            low = row.id + 1
    return low


def _hit(row: Row[Any]) -> Hit:
    return Hit(
        row.id, Chat.parse(row.chat), row.name, row.opened_at, row.text, row.reply, row.origin, row.state
    )


_DROP_FTS = Statement("DELETE FROM search WHERE rowid = :turn")
_ADD_FTS = Statement("INSERT INTO search (rowid, words, facets) VALUES (:turn, :words, :facets)")
_ERASE_FTS = sa.text(
    "DELETE FROM search WHERE rowid IN (SELECT id FROM turns WHERE chat = :chat AND id <= :upto)"
)
_MERGE_FTS = sa.text("INSERT INTO search (search, rank) VALUES ('merge', :pages)")
_ADD_GIN = sa.text("""
    INSERT INTO search (turn_id, tokens) VALUES (:turn, array_to_tsvector(CAST(:tokens AS text[])))
    ON CONFLICT (turn_id) DO UPDATE SET tokens = excluded.tokens""")
_ERASE_GIN = sa.text(
    "DELETE FROM search WHERE turn_id IN (SELECT id FROM turns WHERE chat = :chat AND id <= :upto)"
)
_NEWEST = sa.text("SELECT COALESCE(MAX(id), 0) FROM turns")
_FROM = sa.text("SELECT id, opened_at FROM turns WHERE id >= :id ORDER BY id LIMIT 1")

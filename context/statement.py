"""SQL as the ledger writes it: handed to the driver as it stands.

There is nothing to compile in a text that is written out whole, yet SQLAlchemy goes through its compiler
for every call of a `text()`: 7 us for an UPDATE and 35 us for a SELECT, on top of the 8 and 22 us of
the call itself.  A message in the ledger is some twenty of them.
"""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, CursorResult

_NAME = re.compile(r"(?<![:\w\\]):(\w+)(?![:\w])")
"""`:name` as `text()` reads it: neither `a::cast` nor what stands behind a backslash."""


class Statement(sa.TextClause):
    """`text()` with a shorter way to the driver.  Its values are what the driver takes: no types, no casts.

    A list among the values stands for `(a, b, ...)`, and a list of nothing for `(NULL)`, in which nothing is
    found.  Many rows are a list of values, as for any statement, and hold no lists.
    """

    inherit_cache = True

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._ready: dict[tuple[Any, ...], str] = {}
        """What a driver is given, by its way of writing names and the length of each list."""

    def _execute_on_connection(
        self, connection: Connection, distilled_params: Any, execution_options: Any
    ) -> CursorResult[Any]:
        """What `Connection.execute` asks of every statement."""
        values: Any = distilled_params
        lists: dict[str, Any] = {}
        if len(distilled_params) == 1:
            values = distilled_params[0]
            lists = {name: value for name, value in values.items() if isinstance(value, list | tuple)}
        style = connection.dialect.paramstyle
        shape = (style, *((name, len(value)) for name, value in lists.items()))
        sql = self._ready.get(shape)
        if sql is None:
            sql = self._ready[shape] = self._for_driver(
                style, {name: len(value) for name, value in lists.items()}
            )
        for name, value in lists.items():
            values = values | {f"{name}_{number}": one for number, one in enumerate(value)}
        return connection.exec_driver_sql(sql, values or None, execution_options)

    def _for_driver(self, style: str, lists: dict[str, int]) -> str:
        """SQLite takes `:name` as it stands, psycopg wants `%(name)s` and every other percent sign twice."""
        place = "%({})s" if style == "pyformat" else ":{}"

        def places(found: re.Match[str]) -> str:
            name = found[1]
            if name not in lists:
                return place.format(name)
            return (
                f"({', '.join(place.format(f'{name}_{number}') for number in range(lists[name])) or 'NULL'})"
            )

        return _NAME.sub(places, self.text.replace("%", "%%") if style == "pyformat" else self.text)

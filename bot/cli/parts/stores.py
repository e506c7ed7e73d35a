"""What is stored, and for how long: the database, the staff in it, Redis."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from bot.cli.parts.standing import Asked, Standing, standing_of


async def database(asked: Asked) -> Standing:
    """The database and the version of its schema."""
    from context.db import StoreDown  # noqa: PLC0415 - sqlalchemy
    from context.upkeep.schema import NEWEST, schema_of  # noqa: PLC0415

    try:
        number = await asyncio.to_thread(schema_of, asked.settings.database)
    except StoreDown as error:
        return Standing("fail", str(error), "DATABASE_URL, or the server it names")
    if number is None:
        return Standing("ok", f"will be made in {asked.settings.data_dir}")
    if number > NEWEST:
        return Standing("fail", f"schema {number}, this version knows {NEWEST}", "run the newer version")
    return Standing("ok", f"schema {number}" + (f", the start makes it {NEWEST}" if number < NEWEST else ""))


async def retention(asked: Asked) -> Standing:
    """How long records are kept."""
    from bot.app.records import lifetimes  # noqa: PLC0415 - sqlalchemy
    from bot.cli.retention import in_words  # noqa: PLC0415

    return Standing("ok", f"kept: {in_words(lifetimes(asked.settings))}")


async def staff(asked: Asked) -> Standing:
    """Whether anybody may use the console."""
    from context.db import StoreDown  # noqa: PLC0415 - sqlalchemy
    from context.upkeep.schema import staff_of  # noqa: PLC0415

    try:
        accounts = await asyncio.to_thread(staff_of, asked.settings.database)
    except StoreDown as error:
        return Standing("fail", str(error), "DATABASE_URL, or the server it names")
    if not accounts:
        return Standing(
            "warn", "nobody may use the console at /staff", "python -m bot staff add NAME --role admin"
        )
    return Standing("ok", f"accounts for the console at /staff: {accounts}")


async def redis(asked: Asked) -> Standing:
    """The operator's Redis, or a private one that is started for the check."""
    from context.redis_server import RedisRefuses, open_redis  # noqa: PLC0415 - may start a server

    mend = "REDIS_URL, or the server it names"
    with tempfile.TemporaryDirectory() as folder:  # the bot's own may be in use
        try:
            async with open_redis(asked.settings.redis_url.get_secret_value() or None, Path(folder)) as redis:
                health = await redis.health()
                if redis.kind == "private" and health.state == "ok":
                    return Standing("ok", "a private server starts on this machine")
                if redis.kind == "server" and health.state != "ok":
                    return Standing("fail", health.detail, mend)
                return standing_of(health, "apt install redis-server, or REDIS_URL")
        except RedisRefuses as error:
            return Standing("fail", str(error), mend)

"""`python -m bot check`: the state of every part, and how to fix what is wrong.

Safe beside a running bot: it changes nothing that the bot uses.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace

from bot.cli.parts import MENDS, PARTS, Asked, Look, Standing
from bot.errors import BadConfiguration, BotError
from bot.settings import Settings

PART_TIMEOUT_S = 90.0
"""The slowest check is loading torch from a slow disk."""


async def run(parts: Sequence[str] = (), *, online: bool, as_json: bool) -> int:
    """Check the named parts, or all, and print their states; returns 1 if one fails, 2 for an unknown part.

    Raises BadConfiguration.
    """
    if unknown := [part for part in parts if part not in PARTS]:
        print(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}", file=sys.stderr)
        return 2
    settings = Settings.read()
    standings: dict[str, Standing] = {}
    for part in parts or PARTS:
        standing = await _tried(PARTS[part], Asked(settings, online))
        if standing.state == "fail" and not standing.mend:
            standing = replace(standing, mend=MENDS.get(part, ""))
        standings[part] = _without(settings.secrets, standing)
        if not as_json:
            _print_line(part, standings[part])
    if as_json:
        print(json.dumps({part: asdict(standing) for part, standing in standings.items()}, indent=2))
    return int(any(standing.state == "fail" for standing in standings.values()))


def _print_line(part: str, standing: Standing) -> None:
    colour = {"ok": "32", "warn": "33", "fail": "31"}[standing.state]
    mark = f"{standing.state:4}"
    if sys.stdout.isatty() and "NO_COLOR" not in os.environ:
        mark = f"\033[{colour}m{mark}\033[0m"
    print(f"{mark}  {part:9} {standing.detail}", flush=True)
    if standing.mend:
        print(f"{'':17}-> {standing.mend}", flush=True)


def _without(secrets: Iterable[str], standing: Standing) -> Standing:
    """Error messages of libraries contain addresses, and addresses may contain a token or password."""
    detail = standing.detail
    for secret in secrets:
        detail = detail.replace(secret, "[hidden]")
    return replace(standing, detail=detail)


async def _tried(look: Look, asked: Asked) -> Standing:
    try:
        async with asyncio.timeout(PART_TIMEOUT_S):
            return await look(asked)
    except TimeoutError:
        return Standing("fail", f"gave no answer within {PART_TIMEOUT_S:.0f} s")
    except BadConfiguration as error:
        return Standing("fail", "; ".join(error.problems))
    except BotError as error:
        return Standing("fail", str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, it belongs in the table, and the next part is looked at
        return Standing("fail", f"{type(error).__name__}: {error}")

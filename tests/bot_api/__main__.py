"""The server in a process of its own, driven over HTTP; for benchmarks and for trying the bot by hand.

::

    python -m tests.bot_api --port 8081
    curl localhost:8081/control/say -d '{"chat": 1, "text": "the AC shows E4"}'
    curl localhost:8081/control/converse -d '{"chats": 50, "turns": 5, "photos": false}'
    curl localhost:8081/control/sent?chat=1
"""

from __future__ import annotations

import argparse
import asyncio
import logging

import uvloop

from tests.bot_api.control import Control
from tests.bot_api.server import TOKEN, BotApiServer


async def serve(arguments: argparse.Namespace) -> None:
    server = BotApiServer(
        token=arguments.token, port=arguments.port, latency_s=arguments.latency_ms / 1000, remember=False
    )
    server.extra = Control(server).answer
    async with server:
        print(f"TELEGRAM_API_URL={server.url} TELEGRAM_BOT_TOKEN={server.token}", flush=True)
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bot_api", description="A Telegram Bot API server.")
    parser.add_argument("--port", type=int, default=0, help="0: a free one; the first line printed names it")
    parser.add_argument("--token", default=TOKEN)
    parser.add_argument("--latency-ms", type=float, default=0.0, help="added to every call")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    uvloop.run(serve(arguments))


if __name__ == "__main__":
    main()

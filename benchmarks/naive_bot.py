"""The yardstick: the bot one writes in an afternoon, with python-telegram-bot's defaults.

The same work done naively: history as one JSON value in Redis, a Jinja prompt, the openai client,
`reply_text`.  Nothing is stored before it is confirmed, nothing is checked, nothing survives a crash.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
from typing import Any

import jinja2
from openai import AsyncOpenAI
from redis.asyncio import Redis
from telegram import Update
from telegram.ext import Application, ContextTypes, MessageHandler, filters

SYSTEM = jinja2.Template("You are a support assistant for {{ product }}. Answer briefly.")
USER = jinja2.Template("Customer: {{ text }}")

redis = Redis.from_url(os.environ["REDIS_URL"])
model = AsyncOpenAI(base_url=os.environ["MODEL_URL"], api_key="none")


async def answer(update: Update, _context: ContextTypes.DEFAULT_TYPE) -> None:
    """One message, start to end."""
    message, chat = update.effective_message, update.effective_chat
    assert message is not None
    assert chat is not None
    key = f"history:{chat.id}"
    history: list[dict[str, Any]] = json.loads(await redis.get(key) or "[]")
    text = USER.render(text=message.text or message.caption or "")
    content: Any = text
    if message.photo:
        file = await max(message.photo, key=lambda size: size.width).get_file()
        photo = base64.b64encode(await file.download_as_bytearray()).decode()
        url = f"data:image/jpeg;base64,{photo}"
        content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}]
    system = {"role": "system", "content": SYSTEM.render(product="air conditioners")}
    messages: list[Any] = [system, *history, {"role": "user", "content": content}]
    completion = await model.chat.completions.create(model="stub-model", messages=messages, max_tokens=512)
    reply = completion.choices[0].message.content or ""
    history += [{"role": "user", "content": text}, {"role": "assistant", "content": reply}]
    await redis.set(key, json.dumps(history[-10:]))
    await message.reply_text(reply)


def main() -> None:
    """Poll with the library's defaults; updates run side by side as its documentation shows."""
    url = os.environ["TELEGRAM_API_URL"]
    application = (
        Application.builder()
        .token(os.environ["TELEGRAM_BOT_TOKEN"])
        .base_url(f"{url}/bot")
        .base_file_url(f"{url}/file/bot")
        .concurrent_updates(True)
        .build()
    )
    application.add_handler(MessageHandler(filters.TEXT | filters.PHOTO, answer))
    asyncio.set_event_loop(asyncio.new_event_loop())
    application.run_polling()


if __name__ == "__main__":
    main()

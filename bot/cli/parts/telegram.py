"""Telegram."""

from __future__ import annotations

from bot.cli.parts.standing import Asked, Standing


async def telegram(asked: Asked) -> Standing:
    """The token, and with `--online` whether Telegram takes it."""
    token = asked.settings.telegram_bot_token.get_secret_value()
    if not token:
        return Standing("warn", "no token: the chat page only", "TELEGRAM_BOT_TOKEN, from @BotFather")
    how = "webhook" if asked.settings.telegram_webhook_url else "polling"
    if not asked.online:
        return Standing("ok", f"token of bot {token.partition(':')[0]}, {how}; not asked (--online)")
    from bot.telegram.api import BotApi  # noqa: PLC0415 - heavy

    api = BotApi(token, url=asked.settings.telegram_api_url)
    try:
        await api.open()
        me = await api.me()
    finally:
        await api.close()
    return Standing("ok", f"@{me.username}, {how}")

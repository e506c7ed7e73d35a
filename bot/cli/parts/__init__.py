"""The parts that `python -m bot check` looks at: the state of each, and how to fix it.

Each part is built as `bot.app` builds it, tried, and closed again.
"""

from __future__ import annotations

from bot.cli.parts import answers, company, machine, model, stores, telegram
from bot.cli.parts.standing import Asked, Look, Standing

__all__ = ["MENDS", "PARTS", "Asked", "Look", "Standing"]

PARTS: dict[str, Look] = {
    "python": machine.python,
    "settings": machine.settings,
    "data": machine.data,
    "database": stores.database,
    "retention": stores.retention,
    "staff": stores.staff,
    "redis": stores.redis,
    "photos": answers.photos,
    "ocr": answers.ocr,
    "gpu": machine.gpu,
    "model": model.model,
    "prompts": answers.prompts,
    "company": company.company,
    "guard": answers.guard,
    "telegram": telegram.telegram,
    "port": machine.port,
}

_AFRESH = "rm -r .venv, then python3 run: installs everything anew"
MENDS = {
    "telegram": "TELEGRAM_BOT_TOKEN, TELEGRAM_API_URL, or the network and proxy in between",
    "model": "MODEL_URL, MODEL, MODEL_API_KEY, or the server they name",
    "guard": "GUARD_URL, GUARD_MODEL, GUARD_API_KEY, or the server they name",
    "photos": _AFRESH,
    "ocr": _AFRESH,
}
"""How to fix a part that failed without a word about it."""

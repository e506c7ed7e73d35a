"""The model: on this machine or on a server."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from bot.cli.parts.standing import Asked, Standing
from bot.errors import EngineUnavailable
from bot.settings import Settings

GIB = 1024**3


async def model(asked: Asked) -> Standing:
    """The model: its server, or whether it is on this machine and fits."""
    if asked.settings.model_url and asked.online:
        return await _model_server(asked.settings)
    if asked.settings.model_url:
        return Standing("ok", f"{asked.settings.model_url}; not asked (--online)")
    from bot.app.engines import DEFAULT_MODEL, has_gpu  # noqa: PLC0415 - hangs on everything
    from bot.engines.demo import resolve  # noqa: PLC0415

    model = asked.settings.model or (DEFAULT_MODEL if has_gpu() else "")
    if not model:
        return Standing(
            "warn", "none: OCR and rules answer", "MODEL_URL, or MODEL after python3 run --with gpu"
        )
    missing = await asyncio.to_thread(_missing, resolve(model))
    return missing or await _outlook(model, asked.settings)


def _missing(model: str) -> Standing | None:
    """What is wrong if the model is not on this machine; None if it is."""
    if Path(model).exists():
        if (Path(model) / "config.json").is_file():
            return None
        return Standing("fail", f"{model} holds no config.json", "MODEL: the folder of a downloaded model")
    # https://huggingface.co/docs/huggingface_hub/guides/manage-cache
    cache = os.environ.get("HF_HUB_CACHE") or f"{os.environ.get('HF_HOME') or '~/.cache/huggingface'}/hub"
    if (Path(cache).expanduser() / f"models--{model.replace('/', '--')}" / "snapshots").is_dir():
        return None
    return Standing("warn", f"{model} is not on this machine: the first start downloads it")


async def _outlook(model: str, settings: Settings) -> Standing:
    """Whether the model fits, without loading it."""
    from bot.engines.local.outlook import outlook  # noqa: PLC0415

    try:
        found = await outlook(model, quantisation=settings.model_quantization or "none")
    except EngineUnavailable as error:
        return Standing("fail", str(error), "MODEL, MODEL_QUANTIZATION, or MODEL_URL for a model elsewhere")
    weights, free = (float(str(found[name])) / GIB for name in ("weights_bytes", "free_bytes"))
    detail = f"{model}: {weights:.1f} GB of {found['dtype']} for {free:.1f} GB on {found['device']}"
    if not found["fits"]:
        return Standing("fail", detail, "MODEL_QUANTIZATION=4bit, or a smaller MODEL")
    chats = f"{found['chats_at_once']} chats at once, {found['chats_remembered']} remembered"
    runner = "continuous batching" if found["runner"] == "rows" else "static batches"
    chosen = f"{runner}, steps {found['steps']}, attention {found['attention']}"
    reasons = found["reasons"]
    why = f" ({'; '.join(map(str, reasons))})" if isinstance(reasons, list) and reasons else ""
    return Standing("ok", f"{detail}, {chats}; {chosen}{why}")


async def _model_server(settings: Settings) -> Standing:
    from bot.app.engines import build_model  # noqa: PLC0415 - hangs on everything

    engine = build_model(settings)
    assert engine is not None, "MODEL_URL is set"
    try:
        await engine.start()
        health = await engine.health()
        if health.state == "ok":
            return Standing("ok", health.detail)
        mend = "MODEL_URL, MODEL, MODEL_API_KEY, or the server they name"
        return Standing("warn", f"{health.detail}; meanwhile OCR and rules answer", mend)
    finally:
        await engine.close()

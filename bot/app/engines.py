"""The engine that the settings choose: a model server, a local model, or OCR and rules alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from bot.app.stores import namespace
from bot.engines import Engine
from bot.engines.cached import CachedEngine
from bot.engines.fallback import FallbackEngine
from bot.engines.first_available import FirstAvailable
from bot.engines.ocr import Reader
from bot.engines.sampling import Sampling
from bot.errors import BadConfiguration
from bot.guard import Guard
from bot.metrics import Metrics
from bot.settings import Settings
from context.cache import DraftCache
from context.redis_server import RedisServer

if TYPE_CHECKING:
    from bot.engines.local.counting import ModelCounts

DEFAULT_MODEL = "Qwen/Qwen3-VL-8B-Instruct"
"""The model on a machine with a GPU, unless told otherwise (Apache-2.0, 17.5 GB in bf16)."""


def build_engine(
    settings: Settings,
    *,
    reader: Reader | None,
    keep: Callable[[Engine], Engine] | None = None,
) -> Engine:
    """The engine that the settings choose, with OCR and rules as a fallback; `keep` wraps the model alone.

    `reader` reads photos for the fallback, and is closed by whoever made it.
    """
    fallback = FallbackEngine(reader=reader)
    model = build_model(settings)
    if model is None:
        return fallback
    return FirstAvailable([keep(model) if keep else model, fallback], patience_s=settings.model_timeout_s)


def keeping(
    settings: Settings, model: Engine, *, redis: RedisServer, guard: Guard, metrics: Metrics
) -> Engine:
    """The model, with a cache for its drafts if the operator wants one."""
    if not settings.cache_ttl_s:
        return model
    about = {"server": settings.model_url, "quantisation": settings.model_quantization}
    return CachedEngine(
        model,
        cache=DraftCache(redis.client, namespace=namespace(settings), ttl_s=settings.cache_ttl_s),
        about=asdict(Sampling()) | about,
        policy=lambda: guard.policy.version,
        count=metrics.cache,
    )


def build_model(settings: Settings) -> Engine | None:
    """The model without a fallback; None if the settings name none and there is no GPU."""
    if settings.model_url:
        # The import costs a second and 30 MB that a bot without a model server need not spend.
        from bot.engines.remote import RemoteEngine  # noqa: PLC0415

        return RemoteEngine(
            url=settings.model_url,
            model=settings.model,
            api_key=settings.model_api_key.get_secret_value(),
            timeout_s=settings.model_timeout_s,
            sampling=Sampling(),
        )
    model = _local_model(settings)
    if not model:
        return None
    from bot.engines.local import LocalEngine  # noqa: PLC0415

    return LocalEngine(
        model=model,
        quantisation=settings.model_quantization or "none",
        timeout_s=settings.model_timeout_s,
        sampling=Sampling(),
    )


def build_counts(settings: Settings) -> ModelCounts | None:
    """The local model's token counter; None without a local model."""
    model = "" if settings.model_url else _local_model(settings)
    if not model:
        return None
    from bot.engines.local.counting import ModelCounts  # noqa: PLC0415 - only where a local model is

    return ModelCounts(model)


def _local_model(settings: Settings) -> str:
    """The model to run on this machine; empty if the settings name none and there is no GPU."""
    can_load = find_spec("torch") is not None
    model = settings.model or (DEFAULT_MODEL if can_load and has_gpu() else "")
    if model and not can_load:
        raise BadConfiguration([f"MODEL: {model} needs torch and transformers: python3 run --with gpu"])
    return model


def has_gpu() -> bool:
    """Whether there is an NVIDIA GPU; finds out without importing torch."""
    return any(Path("/dev").glob("nvidia[0-9]*"))

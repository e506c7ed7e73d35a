"""What each kind of OpenAI-compatible server calls things, and what it refuses.

The portable core (`messages`, `max_tokens`, `temperature`, `top_p`, `stream`) is the same everywhere;
everything else is an extra.  TensorRT-LLM and `transformers serve` refuse a request for one unknown
field; the others drop what they do not know.  Read in the servers' sources, early 2026.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from bot.engines.sampling import Sampling

_NO_THINKING: Mapping[str, Any] = {"chat_template_kwargs": {"enable_thinking": False}}


@dataclass(frozen=True, slots=True)
class Dialect:
    """One server's way of saying what the portable core cannot."""

    name: str
    penalty: str = ""
    """Field of the repetition penalty; empty where there is none."""
    penalty_base: float = 0.0
    """Subtracted from our penalty, where no penalty is 0 instead of 1."""
    top_k: bool = False
    usage: bool = True
    """Counts tokens in a stream when asked with `stream_options`."""
    health: str = ""
    """Path beside `/v1` that answers 5xx while the engine behind the HTTP server is not well."""
    lists_badly: bool = False
    """Its list of models tells nothing: it is slow, or fails, while the server is well."""
    holds_to_schema: bool = True
    """Takes OpenAI's `response_format` with a JSON schema, or lives without it once it was refused."""
    always: Mapping[str, Any] = field(default_factory=dict)
    """Sent with every request: switches thinking off where that is done per request."""

    def extras(self, sampling: Sampling) -> dict[str, Any]:
        """Fields beside the portable core; leaving them all out is always allowed."""
        extras: dict[str, Any] = dict(self.always)
        if self.usage:
            extras["stream_options"] = {"include_usage": True}
        if self.penalty:
            extras[self.penalty] = round(sampling.repetition_penalty - self.penalty_base, 4)
        if self.top_k and sampling.top_k:
            extras["top_k"] = sampling.top_k
        return extras

    def form(self, schema: str) -> dict[str, Any]:
        """Holds one answer to a JSON schema (as JSON), where the server can; empty for no schema."""
        if not schema or not self.holds_to_schema:
            return {}
        named = {"name": "answer", "schema": json.loads(schema), "strict": True}
        return {"response_format": {"type": "json_schema", "json_schema": named}}


GENERIC = Dialect("generic", penalty="repetition_penalty")
"""Unknown server: asks for the penalty, and lives without extras once they were refused."""

DIALECTS: Mapping[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        Dialect("vllm", health="/health", penalty="repetition_penalty", top_k=True, always=_NO_THINKING),
        Dialect("sglang", health="/health", penalty="repetition_penalty", top_k=True, always=_NO_THINKING),
        Dialect("trtllm", health="/health", penalty="repetition_penalty", top_k=True),
        Dialect("llamacpp", health="/health", penalty="repeat_penalty", top_k=True, always=_NO_THINKING),
        # Ollama takes its penalty from the model's own parameters only.
        Dialect("ollama"),
        # `transformers serve` computes repetition_penalty = 1 + frequency_penalty.
        Dialect(
            "transformers",
            health="/health",
            penalty="frequency_penalty",
            penalty_base=1.0,
            # It lists the hub's cache, not what it serves, and answers 500 where there is no cache folder.
            lists_badly=True,
            holds_to_schema=False,
            always=_NO_THINKING,
        ),
        GENERIC,
    )
}

_OWNERS = {
    "vllm": "vllm",
    "sglang": "sglang",
    "tensorrt_llm": "trtllm",
    "llamacpp": "llamacpp",
    "library": "ollama",
}
"""`owned_by` in the list of models; the others fill in something that does not tell."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Answer to a GET: the status, and the body where it is a JSON object."""

    status: int
    body: Mapping[str, Any]


class Get(Protocol):
    """Asks the server for a path; None when it does not answer."""

    async def __call__(self, path: str, /) -> Probe | None:
        """One GET, with its time limit."""


async def detect(listing: Probe, get_root: Get) -> Dialect:
    """Recognise the server from its list of models, else from paths that only it has."""
    for model in models_of(listing):
        if name := _OWNERS.get(str(model.get("owned_by"))):
            return DIALECTS[name]
    props, ollama, load, sglang = await asyncio.gather(
        get_root("/props"), get_root("/api/version"), get_root("/load_model"), get_root("/get_model_info")
    )
    if props is not None and "default_generation_settings" in props.body:
        return DIALECTS["llamacpp"]
    if ollama is not None and "version" in ollama.body:
        return DIALECTS["ollama"]
    if load is not None and load.status == 405:  # noqa: PLR2004 - only `transformers serve` has POST there
        return DIALECTS["transformers"]
    if sglang is not None and "model_path" in sglang.body:
        return DIALECTS["sglang"]
    return GENERIC


def models_of(listing: Probe) -> list[Mapping[str, Any]]:
    """Entries of `/v1/models`; empty for anything of another shape."""
    data = listing.body.get("data")
    return [entry for entry in data if isinstance(entry, dict)] if isinstance(data, list) else []

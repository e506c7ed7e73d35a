"""Predicts what would be chosen on this machine, and how much would fit, without loading any weights.

`check` uses this before the first start: it is better to learn that a model of 17 GB does not fit before
downloading it.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from dataclasses import asdict

from bot.engines.demo import resolve
from bot.engines.local.process import ROOT
from bot.engines.local.wire import Limits, Quantisation, Wish
from bot.errors import EngineUnavailable

OUTLOOK_S = 80.0
"""Importing torch and transformers takes six CPU seconds: half a minute on a busy machine."""


async def outlook(
    model: str, *, quantisation: Quantisation = "none", device: str = "auto"
) -> dict[str, object]:
    """Choice and room as JSON values; asks a child process, so that the bot stays light.

    Keys: `device`, `dtype`, `attention`, `runner`, `steps`, `reasons`, `weights_bytes`, `free_bytes`, `fits`,
    `rows`, `context`, `kv_tokens`, `chats_at_once`, `chats_remembered`.  Raises EngineUnavailable with the
    reason.
    """
    wish = Wish(resolve(model), device=device, quantisation=quantisation)
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bot.engines.local.outlook",
        json.dumps(asdict(wish)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(OUTLOOK_S):
            out, errors = await child.communicate()
    except TimeoutError as late:
        raise EngineUnavailable(f"{model}: no outlook within {OUTLOOK_S:.0f} s") from late
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    lines = out.decode().splitlines()
    if child.returncode or not lines:
        words = errors.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise EngineUnavailable(f"{model}: {words[-1]}")
    found: dict[str, object] = json.loads(lines[-1])
    if reason := found.get("refused"):
        raise EngineUnavailable(str(reason))
    return found


def measure(wish: Wish, limits: Limits) -> dict[str, object]:
    """Build the model without weights and compute the sizes."""
    # This half runs in the child only.
    from bot.engines.local import choices, kernels, loading, memory, sizes  # noqa: PLC0415

    device, dtype, reasons = choices.choose_device(wish.device)
    quantisation, quantising = choices.choose_quantisation(wish, dtype)
    attention, why = choices.choose_attention(device, dtype)
    config, auto = loading.read_config(wish)
    model = loading.blank(config, auto, dtype)
    processor, tokenizer = loading.load_processor(wish, config)
    loading.chat_template_of(processor, tokenizer)
    loading.voice_of(tokenizer)
    runner, because = choices.choose_runner(model)
    slow = "" if runner == "batches" else kernels.why_no_flash(device, dtype, config.get_text_config())
    is_recorded = runner == "rows" and not slow and quantisation == "none"
    weights = sizes.weights_bytes(model, dtype.itemsize, quantisation)
    token_bytes = sizes.bytes_per_token(config.get_text_config(), dtype)
    if device == "cpu":
        free, left = sizes.machine_bytes(), sizes.free_bytes(device)
    else:
        free = sizes.free_bytes(device)
        left = max(0, free - weights)
    room = memory.Memory.divide(left, token_bytes, limits, config.get_text_config())
    return {
        "model": wish.model,
        "device": device,
        "dtype": str(dtype).removeprefix("torch."),
        "quantisation": quantisation,
        "attention": ", ".join(
            f"{part or 'text'}: {kind if part or slow or runner == 'batches' else kernels.FLASH}"
            for part, kind in attention.items()
        ),
        "runner": runner,
        "steps": "recorded" if is_recorded else "eager",
        "reasons": [
            *reasons,
            *why,
            *quantising.reasons,
            *because,
            *([loading.BLIND] if processor is None else []),
            *([slow] if slow and device != "cpu" else []),
        ],
        "weights_bytes": weights,
        "free_bytes": free,
        "fits": weights <= free and room.tokens >= memory.TYPICAL_CHAT,
        **room.describe(),
    }


def main() -> None:
    """The child: one JSON line on standard output."""
    gc.disable()  # a fifth of the time, for objects that the imports keep until it ends
    wish = Wish(**json.loads(sys.argv[1]))
    try:
        found = measure(wish, Limits())
    except EngineUnavailable as fault:
        found = {"refused": f"MODEL={wish.model}: {fault}"}
    except Exception as fault:  # noqa: BLE001  # whatever a checkpoint makes the libraries raise
        from bot.engines.local.loading import reason_of  # noqa: PLC0415

        found = {"refused": f"MODEL={wish.model}: {reason_of(fault)}"}
    print(json.dumps(found))  # noqa: T201  # this is how it answers


if __name__ == "__main__":
    main()

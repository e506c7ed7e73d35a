"""All that is asked of a GPU, the most important first; without one, the same at a tiny size."""

from __future__ import annotations

import dataclasses
import importlib.util
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from benchmarks.local_engine.arms import Result, one_at_a_time, quantile
from benchmarks.local_engine.asks import forced, long_asks
from benchmarks.local_engine.desk import serve
from benchmarks.local_engine.models import large_config, random_model, roomiest, save, tiny_config
from benchmarks.local_engine.reuse import reuse
from bot.engines.local.choices import choose_steps
from bot.engines.local.loading import Loaded, load
from bot.engines.local.wire import Ask, Limits, Quantisation, Wish
from bot.engines.local.worker import SWITCH_S


def on_gpu(layers: int | None) -> None:
    """All that is asked of a GPU, the most important first; without one, the same at a tiny size."""
    trial = trial_on(layers)
    sys.setswitchinterval(SWITCH_S)  # as the worker does
    clock = synchronised(trial.loaded.choice.device)
    asks = long_asks(trial.loaded, max(trial.sizes), trial.context, trial.side, trial.length)
    one_at_a_time(trial.loaded, [dataclasses.replace(asks[0], sampling=forced(4))], clock)
    # Before anything is replaced in the model: the yardstick is the stock one.
    naive = one_at_a_time(trial.loaded, asks[: min(4, max(trial.sizes))], clock)
    with tempfile.TemporaryDirectory(dir=roomiest(trial.loaded)) as folder:
        begun = time.perf_counter()
        save(trial.loaded, Path(folder))
        print(f"saved for loading in 8 and 4 bits in {time.perf_counter() - begun:.0f} s")
        is_flash, steps, reasons = choose_steps(
            trial.loaded.model, "rows", {"": trial.loaded.choice.device}, "none"
        )
        print(f"steps {steps}, FlashAttention {is_flash}: {', '.join(reasons)}\n")
        choice = dataclasses.replace(trial.loaded.choice, is_flash=is_flash, steps=steps)
        trial = dataclasses.replace(trial, loaded=dataclasses.replace(trial.loaded, choice=choice))
        at_once(trial, asks, naive, clock)
        again_and_again(trial, asks, clock)
        with_instructions(trial, clock)
        eager = dataclasses.replace(choice, steps="eager")
        reuse(dataclasses.replace(trial.loaded, choice=eager), clock)
        in_few_bits(trial, asks, Path(folder), clock)


@dataclass(frozen=True)
class Trial:
    """What is measured on a device: the model, and how much of everything."""

    loaded: Loaded
    sizes: tuple[int, ...]
    context: int
    side: int
    length: int
    budget: int

    @property
    def limits(self) -> Limits:
        """Room for as many chats as are asked for; the same in all arms."""
        return Limits(
            rows=max(self.sizes),
            kv_bytes=self.budget,
            prefix_bytes=self.budget // 4,
            feature_bytes=self.budget // 20,
        )


def trial_on(layers: int | None) -> Trial:
    """1, 8, 32 and 64 chats of 2,048 tokens with one photo of 1,024, 128 tokens each; tiny without a GPU."""
    if not torch.cuda.is_available():
        print("no CUDA device: trying the script on the CPU with a tiny configuration\n")
        torch.set_num_threads(1)
        loaded = random_model(tiny_config, "cpu", torch.float32, max_pixels=256 * 256)
        print(f"CPU, torch {torch.__version__}, transformers {transformers.__version__}")
        return Trial(loaded, sizes=(1, 2), context=256, side=256, length=8, budget=2**28)

    def config_of(tokenizer: Any) -> Any:
        config = large_config(tokenizer)
        config.text_config.num_hidden_layers = layers or config.text_config.num_hidden_layers
        return config

    loaded = random_model(config_of, "cuda", torch.bfloat16, max_pixels=1024 * 1024)
    name = torch.cuda.get_device_name()
    print(f"{name}, torch {torch.__version__}, transformers {transformers.__version__}")
    return Trial(loaded, sizes=(1, 8, 32, 64), context=2048, side=1024, length=128, budget=40 * 2**30)


def at_once(trial: Trial, asks: list[Ask], naive: Result, clock: Callable[[], float]) -> None:
    """All ask in the same instant.  Roofline: all weights once a step, and all keys and values."""
    moved = bytes_per_step(trial.loaded)
    bandwidth = measured_bandwidth(trial.loaded.choice.device, clock)
    print(f"measured bandwidth {bandwidth / 1e9:.0f} GB/s, weights read per step {moved / 1e9:.1f} GB")
    print(f"generate, one at a time: {naive.rate:.1f} tokens/s over {len(naive.last)} requests\n")
    print("| chats | steps | tokens/s | x generate | ms a step | of the roofline ", end="")
    print("| first word p50 s | p99 s | answer p99 s |\n|---|---|---|---|---|---|---|---|---|")
    eager = dataclasses.replace(trial.loaded, choice=dataclasses.replace(trial.loaded.choice, steps="eager"))
    for size in trial.sizes:
        is_both = trial.loaded.choice.steps == "recorded" and size in {1, 32}
        for arm in [eager, trial.loaded] if is_both else [trial.loaded]:
            served = serve(arm, asks[:size], trial.limits, clock)
            floor = (moved + size * (trial.context + trial.length / 2) * served.token_bytes) / bandwidth
            first, last = served.first, served.last
            print(
                f"| {size} | {arm.choice.steps} | {served.rate:.0f} | {served.rate / naive.rate:.1f} "
                f"| {served.step * 1000:.1f} | {floor / served.step:.0%} | {statistics.median(first):.2f} "
                f"| {quantile(first, 0.99):.2f} | {quantile(last, 0.99):.2f} |",
                flush=True,
            )


def again_and_again(trial: Trial, asks: list[Ask], clock: Callable[[], float]) -> None:
    """Each of up to 32 chats asks again when it has been answered: how long the first words take then."""
    chats = min(32, max(trial.sizes))
    fresh = dataclasses.replace(trial.limits, prefix_bytes=0, feature_bytes=0)
    served = serve(trial.loaded, asks[:chats], fresh, clock, rounds=4)
    first = served.first[chats:]
    print(
        f"\n{chats} chats that each ask again when answered, nothing reused: {served.rate:.0f} tokens/s, "
        f"first word p50 {statistics.median(first):.2f} s, p99 {quantile(first, 0.99):.2f} s "
        f"({len(first)} asks after the first {chats})\n",
        flush=True,
    )


def with_instructions(trial: Trial, clock: Callable[[], float]) -> None:
    """Up to 32 ask at once, as in `at_once`; three eighths of each prompt are the bot's own instructions."""
    chats, common = min(32, max(trial.sizes)), 3 * trial.context // 8
    asks = long_asks(trial.loaded, chats, trial.context, trial.side, trial.length, common=common)
    served = serve(trial.loaded, asks, trial.limits, clock)
    print(
        f"{chats} chats at once, about {common} of their {trial.context} tokens the same instructions: "
        f"{served.rate:.0f} tokens/s, first word p50 {statistics.median(served.first):.2f} s, "
        f"p99 {quantile(served.first, 0.99):.2f} s\n",
        flush=True,
    )


def in_few_bits(trial: Trial, asks: list[Ask], folder: Path, clock: Callable[[], float]) -> None:
    """The same weights by the bot's own loader, in 8 and 4 bits: seconds to load, bytes, speed."""
    if importlib.util.find_spec("bitsandbytes") is None:
        print("8 and 4 bits: not measured, bitsandbytes is not installed")
        return
    print(
        "| weights | loaded in s | GB | chats | tokens/s | ms a step |\n|---|---|---|---|---|---|", flush=True
    )
    trial.loaded.model.to("cpu")  # the GPU holds one model at a time
    kinds: tuple[Quantisation, ...] = ("none", "8bit", "4bit")
    for kind in kinds:
        in_so_many_bits(kind, trial, asks, folder, clock)


def in_so_many_bits(
    kind: Quantisation, trial: Trial, asks: list[Ask], folder: Path, clock: Callable[[], float]
) -> None:
    begun = time.perf_counter()
    wish = Wish(str(folder), device=trial.loaded.choice.device, quantisation=kind)
    narrow = load(wish, on_progress=lambda _stage, _done: None)
    seconds = time.perf_counter() - begun
    # Lengths are forced, as in all arms.
    narrow = dataclasses.replace(narrow, stop_ids=frozenset(), banned_ids=trial.loaded.banned_ids)
    for size in sorted({1, min(32, max(trial.sizes))}):
        served = serve(narrow, asks[:size], trial.limits, clock)
        print(
            f"| {kind} | {seconds:.1f} | {narrow.choice.weights_bytes / 1e9:.1f} | {size} "
            f"| {served.rate:.0f} | {served.step * 1000:.1f} |",
            flush=True,
        )


def synchronised(device: str) -> Callable[[], float]:
    def clock() -> float:
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    return clock


def bytes_per_step(loaded: Loaded) -> int:
    """Weights that one token needs: everything but the vision tower and the table of embeddings."""
    parts = loaded.model.model.language_model.layers.parameters()
    head = loaded.model.lm_head.weight
    return sum(p.numel() * p.element_size() for p in parts) + head.numel() * head.element_size()


def measured_bandwidth(device: str, clock: Callable[[], float]) -> float:
    """Bytes per second of a large copy, read and write counted."""
    count = 2**30 if device == "cuda" else 2**26
    source, target = (torch.empty(count, dtype=torch.uint8, device=device) for _ in range(2))
    target.copy_(source)
    begun = clock()
    for _ in range(10):
        target.copy_(source)
    return 20 * count / (clock() - begun)

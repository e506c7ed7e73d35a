"""How much continuous batching and reuse are worth: one run, all arms, CPU time as the clock.

    python benchmarks/engine.py              # CPU: random Qwen3-VL of 100 million weights, one thread
    python benchmarks/engine.py --quick      # the same with a tenth of the work
    python benchmarks/engine.py --gpu        # Qwen3-VL-8B's configuration with random weights, bf16

Lengths of the answers are forced, the same in every arm.  A burst of N requests arrives at 0.  On a
CPU the clock is the process's own CPU time, which other programs do not bend; on a GPU it is the wall.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import importlib.util
import math
import queue
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bot.engines.demo.drawings import any_light, draw, jpeg
from bot.engines.demo.miniature import build_config, build_tokenizer, save_processor
from bot.engines.local import shares as shares_module
from bot.engines.local.choices import choose_attention, choose_steps
from bot.engines.local.encoding import Encoder, conversation_of
from bot.engines.local.loading import Loaded, load, load_processor
from bot.engines.local.loop import Loop
from bot.engines.local.wire import Ask, Choice, Done, Event, Limits, Quantisation, Said, Wish
from bot.engines.local.worker import READERS, SWITCH_S
from bot.engines.sampling import Sampling
from context.turns import Photo
from prompts.prompt import PromptImage, PromptMessage

TABLES = ("batching", "beside", "reuse", "windows")
WORDS = (
    *("the", "light", "on", "your", "machine", "is", "red", "and", "blinks", "twice"),
    *("please", "press", "reset", "for", "five", "seconds", "then", "wait"),
)


@dataclass(frozen=True)
class Result:
    """One arm: when each request got its first and its last word, and all that was said."""

    first: list[float]
    last: list[float]
    tokens: int
    words: dict[int, tuple[int, ...]]

    @property
    def rate(self) -> float:
        """Tokens per second until the last word of all."""
        return self.tokens / max(self.last)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--gpu", action="store_true")
    options.add_argument("--quick", action="store_true")
    options.add_argument("--only", choices=TABLES, help="one table of the four on a CPU")
    options.add_argument("--sizes", type=int, nargs="+", help="chats at once, in the first table")
    options.add_argument("--layers", type=int, help="fewer layers than the 8B has, to try the script")
    chosen = options.parse_args()
    torch.manual_seed(1)
    if chosen.gpu:
        on_gpu(chosen.layers)
        return
    torch.set_num_threads(1)
    clock = time.process_time
    loaded = random_model(small_config, "cpu", torch.float32, max_pixels=640 * 480)
    weights = sum(p.numel() for p in loaded.model.parameters())
    print(f"random Qwen3-VL, {weights / 1e6:.0f} M weights, float32, torch {torch.__version__}, 1 thread\n")
    for table in (chosen.only,) if chosen.only else TABLES[: 3 if chosen.quick else 4]:
        match table:
            case "batching":
                batching(loaded, chosen.sizes or ((4, 8) if chosen.quick else (16, 32, 64)), clock)
            case "beside":
                beside_long_ones(loaded, clock)
            case "reuse":
                reuse(loaded, clock)
            case _:
                windows(loaded, clock)


def batching(loaded: Loaded, sizes: Sequence[int], clock: Callable[[], float]) -> None:
    asks = short_asks(max(sizes))
    naive = one_at_a_time(loaded, asks, clock)
    print("| N | arm | tokens/s | x | p50 s | p99 s | p99 x | first word p50 s | x | as generate |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for size in sizes:
        base = first_of(naive, size)
        show(size, "generate, one at a time", base, base, naive)
        show(size, "static, left-padded, 16", static(loaded, asks[:size], clock, 16), base, naive)
        show(size, f"continuous, {size} rows", continuous(loaded, asks[:size], clock, size), base, naive)
    print()


def show(size: int, arm: str, result: Result, base: Result, naive: Result) -> None:
    same = sum(words == naive.words[number] for number, words in result.words.items()) / len(result.words)
    p50, p99 = (quantile(result.last, q) for q in (0.5, 0.99))
    first = quantile(result.first, 0.5)
    print(
        f"| {size} | {arm} | {result.rate:.1f} | {result.rate / base.rate:.2f} | {p50:.1f} | {p99:.1f} "
        f"| {quantile(base.last, 0.99) / p99:.2f} | {first:.2f} | {quantile(base.first, 0.5) / first:.1f} "
        f"| {same:.0%} |",
        flush=True,
    )


def beside_long_ones(loaded: Loaded, clock: Callable[[], float]) -> None:
    """32 asks at once, every fourth of 750 tokens with a photo: who gets the first word when."""
    dice = random.Random(2)
    asks = []
    for number in range(1, 33):
        is_long = number % 4 == 1
        text = " ".join(dice.choices(WORDS, k=450 if is_long else 40))
        pictures = (image(dice, 640, 480),) if is_long else ()
        asks.append(Ask(number, (PromptMessage("user", text, pictures),), forced(24), 3600))
    print("| read | first word p50 s | short p50 s | short p99 s | long p50 s | long p99 s |")
    print("|---|---|---|---|---|---|")
    ours = shares_module.OVERTAKEN_S
    for name, overtaken_s in (("in order of arrival", 0.0), ("the shortest first", ours)):
        shares_module.OVERTAKEN_S = overtaken_s
        first = continuous(loaded, asks, clock, 32, piece=512).first
        long = first[::4]
        short = [seconds for number, seconds in enumerate(first) if number % 4]
        waits = [(first, 0.5), (short, 0.5), (short, 0.99), (long, 0.5), (long, 0.99)]
        print(f"| {name} | {' | '.join(f'{quantile(some, q):.2f}' for some, q in waits)} |", flush=True)
    shares_module.OVERTAKEN_S = ours
    print()


def reuse(loaded: Loaded, clock: Callable[[], float]) -> None:
    """Five turns, photos of 300 tokens in turns 1, 2 and 4: CPU seconds until each first word."""
    arms = {
        "nothing": Limits(rows=1, prefix_bytes=0, feature_bytes=0),
        "photos as seen": Limits(rows=1, prefix_bytes=0),
        "photos and prefixes": Limits(rows=1),
    }
    print("| kept | turn 1 | 2 | 3 | 4 | 5 | all | saved |")
    print("|---|---|---|---|---|---|---|---|")
    base = 0.0
    for name, limits in arms.items():
        costs = conversation(loaded, clock, limits, turns=5, photos=(1, 2, 4), window=(5, 5))
        base = base or sum(costs)
        columns = " | ".join(f"{cost:.2f}" for cost in costs)
        print(f"| {name} | {columns} | {sum(costs):.1f} | {1 - sum(costs) / base:.0%} |", flush=True)
    print()


def windows(loaded: Loaded, clock: Callable[[], float]) -> None:
    """Twelve turns, five with a photo: what a window of five costs, and one trimmed three turns at a time."""
    nothing, everything = Limits(rows=1, prefix_bytes=0, feature_bytes=0), Limits(rows=1)
    print("| window | nothing kept | photos and prefixes | saved |")
    print("|---|---|---|---|")
    for name, window in (("the last 5 turns", (5, 5)), ("3 to 5 turns, trimmed by 3", (3, 5))):
        base, kept = (
            sum(conversation(loaded, clock, limits, turns=12, photos=(1, 2, 4, 7, 10), window=window))
            for limits in (nothing, everything)
        )
        print(f"| {name} | {base:.1f} | {kept:.1f} | {1 - kept / base:.0%} |", flush=True)
    print()


def conversation(
    loaded: Loaded,
    clock: Callable[[], float],
    limits: Limits,
    *,
    turns: int,
    photos: tuple[int, ...],
    window: tuple[int, int],
) -> list[float]:
    """Seconds until the first word of each turn.  A window longer than its most is cut to its least."""
    dice = random.Random(5)
    least, most = window
    events: list[Event] = []
    loop = Loop(loaded, limits, emit=events.append)
    system = PromptMessage("system", " ".join(WORDS * 3))
    kept: list[tuple[PromptMessage, PromptMessage]] = []
    costs = []
    for turn in range(1, turns + 1):
        pictures = (image(dice, 640, 480),) if turn in photos else ()
        asked = PromptMessage("user", " ".join(dice.sample(WORDS, len(WORDS))), pictures)
        earlier = [message for pair in kept for message in pair]
        sampling = Sampling(temperature=0, repetition_penalty=1, max_tokens=24)
        queue = loop.read(Ask(turn, (system, *earlier, asked), sampling, 600))
        begun = clock()
        queue()
        while not any(isinstance(event, Said) and event.id == turn for event in events):
            loop.step()
        costs.append(clock() - begun)
        while loop.running:
            loop.step()
        said = next(event.text for event in events if isinstance(event, Done) and event.id == turn)
        kept.append((asked, PromptMessage("assistant", said)))
        if len(kept) > most:
            kept = kept[-least:]
    return costs


def one_at_a_time(loaded: Loaded, asks: list[Ask], clock: Callable[[], float]) -> Result:
    """The usual snippet: `generate` per request, in order of arrival."""
    return in_batches(loaded, asks, clock, 1)


def static(loaded: Loaded, asks: list[Ask], clock: Callable[[], float], size: int) -> Result:
    """Left-padded batches in order of arrival; each lasts as long as its longest answer."""
    return in_batches(loaded, asks, clock, size)


def in_batches(loaded: Loaded, asks: list[Ask], clock: Callable[[], float], size: int) -> Result:
    first, last, words, total = [], [], {}, 0
    inputs = [
        loaded.processor.apply_chat_template(
            [conversation_of(ask) for ask in asks[start : start + size]],
            chat_template=loaded.chat_template,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
        ).to(loaded.model.device)
        for start in range(0, len(asks), size)
    ]
    begun = clock()
    for number, batch in enumerate(inputs):
        members = asks[number * size : (number + 1) * size]
        longest = max(ask.sampling.max_tokens for ask in members)
        with torch.inference_mode():
            out = loaded.model.generate(
                **batch,
                do_sample=False,
                max_new_tokens=longest,
                min_new_tokens=longest,
                suppress_tokens=list(loaded.banned_ids),
            )
        done = clock() - begun
        for row, ask in enumerate(members):
            said = out[row, batch["input_ids"].shape[1] :][: ask.sampling.max_tokens].tolist()
            words[ask.id] = tuple(said)
            total += len(said)
            # Nothing is shown before it returns, as in the snippet.
            first.append(done)
            last.append(done)
    return Result(first, last, total, words)


def continuous(
    loaded: Loaded, asks: list[Ask], clock: Callable[[], float], rows: int, *, piece: int = 2048
) -> Result:
    """Our loop: all asks are there at 0."""
    words: dict[int, list[int]] = {ask.id: [] for ask in asks}
    first: dict[int, float] = {}
    last: dict[int, float] = {}
    begun = 0.0

    def hear(event: Event) -> None:
        last[event.id] = clock() - begun
        first.setdefault(event.id, last[event.id])
        if isinstance(event, Said):
            words[event.id].extend(event.tokens)

    loop = Loop(loaded, Limits(rows=rows, piece=piece, prefix_bytes=0, feature_bytes=0), emit=hear)
    read = [loop.read(ask) for ask in asks]
    begun = clock()
    for put in read:
        put()
    while loop.running or loop.waiting:
        loop.step()
    total = sum(map(len, words.values()))
    said = {number: tuple(tokens) for number, tokens in words.items()}
    ids = [ask.id for ask in asks]
    return Result([first[number] for number in ids], [last[number] for number in ids], total, said)


def first_of(result: Result, size: int) -> Result:
    """The first requests of a one-at-a-time run: what came later did not touch them."""
    words = dict(list(result.words.items())[:size])
    return Result(result.first[:size], result.last[:size], sum(map(len, words.values())), words)


def short_asks(count: int) -> list[Ask]:
    """Some 46 tokens of prompt, half of them with a photo of 48 tokens; answers of 8 to 200 tokens."""
    dice = random.Random(11)
    asks = []
    for number in range(1, count + 1):
        text = " ".join(dice.choices(WORDS, k=dice.randrange(10, 30)))
        pictures = (image(dice, 256, 192),) if number % 2 else ()
        length = min(200, max(8, round(math.exp(dice.gauss(4.0, 0.6)))))
        asks.append(Ask(number, (PromptMessage("user", text, pictures),), forced(length), 3600))
    return asks


def forced(length: int) -> Sampling:
    return Sampling(temperature=0, repetition_penalty=1, max_tokens=length)


def image(dice: random.Random, width: int, height: int) -> PromptImage:
    picture = draw(any_light(dice), dice).resize((width, height))
    return PromptImage(Photo("", width, height), jpeg(picture))


def quantile(values: list[float], q: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(q * len(ordered)) - 1)]


def tiny_config(tokenizer: Any) -> Any:
    """Large enough to try a script."""
    return build_config(tokenizer, hidden=64, layers=4, depth=3, deepstack=[0, 1])


def small_config(tokenizer: Any) -> Any:
    """The 8B's proportions at 100 million weights: the vision tower is a seventh of the whole."""
    config = build_config(tokenizer, hidden=640, layers=14, depth=8, deepstack=[3])
    config.text_config.update(
        {
            "vocab_size": 32_000,
            "intermediate_size": 1920,
            "num_attention_heads": 10,
            "num_key_value_heads": 2,
            "head_dim": 64,
        }
    )
    config.text_config.rope_parameters["mrope_section"] = [12, 10, 10]
    config.vision_config.update({"hidden_size": 320, "intermediate_size": 1280, "num_heads": 5})
    return config


def large_config(tokenizer: Any) -> Any:
    """Qwen3-VL-8B-Instruct's published configuration, with this tokenizer's marks."""
    marks = build_config(tokenizer, hidden=64, layers=1, depth=1, deepstack=[])
    return Qwen3VLConfig(
        text_config={
            "vocab_size": 151_936,
            "hidden_size": 4096,
            "intermediate_size": 12_288,
            "num_hidden_layers": 36,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "max_position_embeddings": 262_144,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 5e6,
                "mrope_section": [24, 20, 20],
                "mrope_interleaved": True,
            },
        },
        vision_config={
            "depth": 27,
            "hidden_size": 1152,
            "intermediate_size": 4304,
            "num_heads": 16,
            "out_hidden_size": 4096,
            "num_position_embeddings": 2304,
            "deepstack_visual_indexes": [8, 16, 24],
        },
        image_token_id=marks.image_token_id,
        video_token_id=marks.video_token_id,
        vision_start_token_id=marks.vision_start_token_id,
        vision_end_token_id=marks.vision_end_token_id,
    )


def random_model(
    config_of: Callable[[Any], Any], device: str, dtype: torch.dtype, *, max_pixels: int
) -> Loaded:
    """A model that was never trained, as the loader would hand it over; it never ends an answer itself."""
    tokenizer = build_tokenizer([" ".join(WORDS)], 600)
    config = config_of(tokenizer)
    attention, _ = choose_attention(device, dtype)
    config._attn_implementation = attention if len(attention) > 1 else attention[""]  # noqa: SLF001  # no other way
    torch.set_default_dtype(dtype)
    with torch.device(device):
        model = Qwen3VLForConditionalGeneration(config).eval()
    torch.set_default_dtype(torch.float32)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    with tempfile.TemporaryDirectory() as folder:
        save_processor(Path(folder), tokenizer, min_pixels=64 * 64, max_pixels=max_pixels)
        config.save_pretrained(folder)
        processor, tokenizer = load_processor(Wish(folder, max_pixels=max_pixels), config)
    choice = Choice("random", "local", device, str(dtype), "none", str(attention), "rows", device)
    return Loaded(
        model=model,
        processor=processor,
        tokenizer=tokenizer,
        voice=tokenizer.backend_tokenizer,
        chat_template=processor.chat_template,
        stop_ids=frozenset(),
        # What the tokenizer cannot spell must not be said; half of the vocabulary would not decode.
        banned_ids=tuple(range(3, 8)),
        image_token_id=config.image_token_id,
        choice=choice,
    )


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


def save(loaded: Loaded, folder: Path) -> None:
    """As a published checkpoint has it."""
    size = loaded.processor.image_processor.size
    loaded.model.save_pretrained(folder)
    save_processor(
        folder, loaded.tokenizer, min_pixels=size["shortest_edge"], max_pixels=size["longest_edge"]
    )


def roomiest(loaded: Loaded) -> str | None:
    """The folder in memory where it holds the weights twice over: a slow disk would take minutes."""
    weights = sum(p.numel() * p.element_size() for p in loaded.model.parameters())
    memory = Path("/dev/shm")  # a fresh folder is made in it
    return str(memory) if memory.is_dir() and shutil.disk_usage(memory).free > 2 * weights else None


@dataclass(frozen=True)
class Served:
    """Seconds from each ask to its first and last word, in order of asking, and the whole."""

    first: list[float]
    last: list[float]
    rate: float
    """Tokens per second, from the first ask to the last word."""
    step: float
    """Median seconds of a step in which everybody writes and nobody reads."""
    token_bytes: int


def serve(
    loaded: Loaded, asks: list[Ask], limits: Limits, clock: Callable[[], float], *, rounds: int = 1
) -> Served:
    """All asks come at 0 and are prepared by threads, as in the worker; later rounds when answered."""
    gc.collect()  # the loop before this one, and its slots
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    desk = Desk(loaded, limits)
    desk.put(dataclasses.replace(asks[0], id=0, sampling=forced(4)))
    desk.run(1)
    desk.loop.warm_up()
    desk.forget()
    begun = clock()
    for ask in asks:
        desk.put(ask, rounds - 1)
    desk.run(len(asks) * rounds, everybody=len(asks))
    took = clock() - begun
    step = statistics.median(desk.steps) if desk.steps else float("nan")
    first, last = (list(seen.values()) for seen in (desk.first, desk.last))
    return Served(first, last, desk.tokens / took, step, desk.loop.memory.token_bytes)


class Desk:
    """A loop, the threads that prepare for it, and the times at which things were heard."""

    def __init__(self, loaded: Loaded, limits: Limits) -> None:
        self.loop = Loop(loaded, limits, emit=self._hear)
        self.first: dict[int, float] = {}
        self.last: dict[int, float] = {}
        self.steps: list[float] = []
        self.tokens = 0
        self._asked: dict[int, tuple[Ask, float, int]] = {}
        self._ready: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._readers = ThreadPoolExecutor(READERS)

    def put(self, ask: Ask, again: int = 0) -> None:
        """Ask; and as often again, each time when it has been answered."""
        self._asked[ask.id] = (ask, time.perf_counter(), again)
        self._readers.submit(lambda: self._ready.put(self.loop.read(ask)))

    def run(self, answers: int, *, everybody: int = 0) -> None:
        """Until so many answers are given; keeps the times of steps in which everybody wrote."""
        while len(self.last) < answers:
            while not (self._ready.empty() and (self.loop.running or self.loop.waiting)):
                self._ready.get()()
            before, was = time.perf_counter(), self.loop.writing
            self.loop.step()
            if was == self.loop.writing == everybody:
                self.steps.append(time.perf_counter() - before)

    def forget(self) -> None:
        """What came before does not count, and nothing of it is used again."""
        self.loop.prefixes.forget()
        self.loop.features.forget()
        self.first.clear()
        self.last.clear()
        self.tokens = 0

    def _hear(self, event: Event) -> None:
        ask, asked, again = self._asked[event.id]
        since = time.perf_counter() - asked
        self.first.setdefault(event.id, since)
        if isinstance(event, Said):
            self.tokens += len(event.tokens)
        elif isinstance(event, Done):
            self.last[event.id] = since
            if again:
                self.put(dataclasses.replace(ask, id=ask.id + 1000), again - 1)
        else:
            raise SystemExit(f"ask {event.id}: {event.reason}")


def long_asks(loaded: Loaded, count: int, context: int, side: int, length: int) -> list[Ask]:
    dice = random.Random(3)
    asks = []
    for number in range(1, count + 1):
        picture = image(dice, side, side)
        system = PromptMessage("system", " ".join(dice.choices(WORDS, k=40)))
        bare = Ask(0, (system, PromptMessage("user", "", (picture,))), forced(1), 3600)
        room = context - len(Encoder(loaded).encode(bare).tokens)
        text = " ".join(dice.choices(WORDS, k=max(1, room)))
        asks.append(Ask(number, (system, PromptMessage("user", text, (picture,))), forced(length), 3600))
    return asks


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


if __name__ == "__main__":
    main()

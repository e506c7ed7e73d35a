"""How much continuous batching and reuse are worth: one run, all arms, CPU time as the clock.

    python benchmarks/engine.py              # CPU: random Qwen3-VL of 100 million weights, one thread
    python benchmarks/engine.py --quick      # the same with a tenth of the work
    python benchmarks/engine.py --gpu        # Qwen3-VL-8B's configuration with random weights, bf16

Lengths of the answers are forced, the same in every arm.  A burst of N requests arrives at 0.  On a
CPU the clock is the process's own CPU time, which other programs do not bend; on a GPU it is the wall.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.local_engine.batching import batching, beside_long_ones
from benchmarks.local_engine.gpu import on_gpu
from benchmarks.local_engine.models import random_model, small_config
from benchmarks.local_engine.reuse import reuse, together, windows

TABLES = ("batching", "beside", "reuse", "together", "windows")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--gpu", action="store_true")
    options.add_argument("--quick", action="store_true")
    options.add_argument("--only", choices=TABLES, help="one table of the five on a CPU")
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
    for table in (chosen.only,) if chosen.only else TABLES[: 3 if chosen.quick else None]:
        match table:
            case "batching":
                batching(loaded, chosen.sizes or ((4, 8) if chosen.quick else (16, 32, 64)), clock)
            case "beside":
                beside_long_ones(loaded, clock)
            case "reuse":
                reuse(loaded, clock)
            case "together":
                together(loaded, clock)
            case _:
                windows(loaded, clock)


if __name__ == "__main__":
    main()

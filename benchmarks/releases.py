"""How soon a gray release stops a worse candidate, and how seldom one that is just as good.

    python benchmarks/releases.py [--share 50] [--lives 200]

Chats are drawn with the usual shares of bad ones (`USUAL`), each measure for itself; one measure of the
candidate's is worse.  The comparisons are those of a running bot (`bot.release.evidence`).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bot.release.evidence import LOOK_EVERY, Share, worse

USUAL = {"held": 0.05, "fallback": 0.01, "handoff": 0.12, "slow": 0.10, "disliked": 0.03}
WORSE = (("held", 0.35), ("held", 0.15), ("fallback", 0.10), ("handoff", 0.25))
LONGEST = 1000


def life(dice: np.random.Generator, its: Mapping[str, float], *, share: float, chats: int) -> int | None:
    """Chats that the candidate got before it was stopped; None if it was not."""
    others = round(LOOK_EVERY * (1 - share) / share)
    bad = {measure: [0, 0] for measure in USUAL}
    for look in range(1, chats // LOOK_EVERY + 1):
        for measure, counts in bad.items():
            counts[0] += int(dice.binomial(LOOK_EVERY, its[measure]))
            counts[1] += int(dice.binomial(others, USUAL[measure]))
        arms = {
            measure: (Share(counts[0], look * LOOK_EVERY), Share(counts[1], look * others))
            for measure, counts in bad.items()
        }
        if worse(look, arms) is not None:
            return look * LOOK_EVERY
    return None


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--share", type=float, default=50)
    parser.add_argument("--lives", type=int, default=200)
    options = parser.parse_args()
    dice, share = np.random.default_rng(7), options.share / 100
    print(f"{' '.join(['python benchmarks/releases.py', *sys.argv[1:]])}, {time.strftime('%Y-%m-%d')}")
    equal = [life(dice, USUAL, share=share, chats=LONGEST // 2) for _ in range(5 * options.lives)]
    stopped = sum(end is not None for end in equal)
    print(f"  just as good: {stopped} of {len(equal)} stopped within {LONGEST // 2} of its chats")
    for measure, rate in WORSE:
        ends = [
            life(dice, {**USUAL, measure: rate}, share=share, chats=LONGEST) for _ in range(options.lives)
        ]
        found = [end for end in ends if end is not None]
        cuts = statistics.quantiles(found, n=10)
        print(
            f"  {measure} {USUAL[measure]:.0%} -> {rate:.0%}: {len(found)} of {len(ends)} stopped; "
            f"after {statistics.median(found):.0f} chats, nine in ten after {cuts[8]:.0f}"
        )


if __name__ == "__main__":
    main()

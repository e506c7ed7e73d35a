"""What the guard costs: CPU a KB of the search and of the whole deterministic pass, memory, false alarms.

    python benchmarks/guard.py [terms]

Replies are put together from the harmless lines of the tests, 1 KB each. Ratios come from the same run;
the rounds of all methods are interleaved, and the best of each counts. pyahocorasick is compared where
it is installed.
"""

from __future__ import annotations

import asyncio
import gc
import random
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import process_time

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from bot.guard import Action, Guard, Policy, load_policy  # noqa: E402
from bot.guard.contacts import Allowed  # noqa: E402
from bot.guard.fold import fold  # noqa: E402
from bot.guard.rules import check  # noqa: E402
from bot.guard.terms import Term, Terms  # noqa: E402

LINES = [
    line
    for line in (ROOT / "tests" / "guard" / "harmless.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]
CHINESE = [line for line in LINES if re.search("[一-鿿]", line)]
ENGLISH = [line for line in LINES if line.isascii()]
SYSTEM = "You are the assistant of a customer-service desk for technical devices. Promise nothing. " * 40
ROUNDS = 7


def replies(lines: Sequence[str], *, count: int = 60) -> list[str]:
    """Replies of one KB each."""
    rolls = random.Random(len(lines))
    made = []
    for _ in range(count):
        text = ""
        while len(text.encode()) < 1024:
            text += rolls.choice(lines) + " "
        made.append(text)
    return made


def generated_terms(count: int) -> list[Term]:
    """Words of 4 to 12 Latin letters and of 2 to 5 Chinese characters, half of each."""
    rolls = random.Random(6)
    letters = "abcdefghijklmnopqrstuvwxyz"
    made: set[str] = set()
    while len(made) < count // 2:
        made.add("".join(rolls.choices(letters, k=rolls.randint(7, 14))))
    while len(made) < count:
        made.add("".join(chr(rolls.randint(0x4E00, 0x8FFF)) for _ in range(rolls.randint(2, 5))))
    return [Term(word, "generated", Action.BLOCK) for word in sorted(made)]


def cost(work: dict[str, Callable[[str], object]], texts: Sequence[str]) -> dict[str, float]:
    """Best CPU microseconds a KB of each."""
    size = sum(len(text.encode()) for text in texts) / 1024
    best = dict.fromkeys(work, float("inf"))
    for _ in range(ROUNDS):
        for name, call in work.items():
            spent = 0.0
            for text in texts:
                call(text)  # what another method pushed out of the processor's cache comes back
                started = process_time()
                call(text)
                spent += process_time() - started
            best[name] = min(best[name], spent / size * 1e6)
    return best


def resident_kb() -> int:
    """Memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4


def search(terms: Sequence[Term]) -> None:
    """The search alone, beside the usual ways of doing it."""
    words = [term.text for term in terms]
    gc.collect()
    before, started = resident_kb(), process_time()
    ours = Terms(tuple(terms))
    built, grown = process_time() - started, (resident_kb() - before) / 1024
    pattern = re.compile("|".join(map(re.escape, words)))
    work: dict[str, Callable[[str], object]] = {
        "this guard (ahocorasick_rs, overlapping)": ours.matches,
        "naive loop": lambda text: [word for word in words if word in text],
        "re alternation": pattern.findall,
    }
    try:
        import ahocorasick
    except ImportError:
        print("pyahocorasick is not installed: left out")
    else:
        automaton = ahocorasick.Automaton()
        for word in words:
            automaton.add_word(word, word)
        automaton.make_automaton()
        work["pyahocorasick"] = lambda text: list(automaton.iter(text))
    texts = [fold(text).text for text in replies(LINES, count=12)]
    costs = cost(work, texts)
    base = costs["this guard (ahocorasick_rs, overlapping)"]
    print(f"\n{len(terms):,} terms: built in {built:.2f} s CPU, {grown:.1f} MB")
    print("| search | us a KB | ratio |\n|---|---|---|")
    for name, value in costs.items():
        print(f"| {name} | {value:,.1f} | {value / base:,.1f} |")


def whole_pass(terms: Sequence[Term], policy: Policy) -> None:
    """Every rule on replies of one KB."""
    from dataclasses import replace

    large = replace(policy, terms=Terms((*policy.terms.terms, *terms)))
    allowed = Allowed.of(large.allow)

    def judge(text: str) -> object:
        return check(
            text,
            policy=large,
            allowed=allowed,
            asked="E4",
            language="en" if text.isascii() else "zh",
            system=SYSTEM,
            canary="k7Qz93Lm",
        )

    judge("自杀")  # loads the segmenter's dictionary
    listen = Guard(policy=large).inspect
    print("\n| whole deterministic pass | us a KB | listening to as much from a customer |\n|---|---|---|")
    for name, lines in (("English", ENGLISH), ("Chinese", CHINESE), ("mixed", LINES)):
        costs = cost({"judge": judge, "listen": listen}, replies(lines))
        print(f"| {name} | {costs['judge']:,.0f} | {costs['listen']:,.0f} |")


async def false_alarms() -> None:
    """The held-out harmless lines of the tests, through the bundled policy."""
    guard = Guard()
    stopped = masked = 0
    for line in LINES:
        verdict = await guard.judge(line, asked="", language="en" if line.isascii() else "zh")
        stopped += verdict.action is not Action.ALLOW
        masked += verdict.action is Action.ALLOW and verdict.text != line
    print(f"\n{len(LINES)} harmless lines: {stopped} held or blocked, {masked} masked")


def main() -> None:
    """Run all of it."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 60_000
    terms = generated_terms(count)
    search(terms)
    whole_pass(terms, load_policy())
    asyncio.run(false_alarms())


if __name__ == "__main__":
    main()

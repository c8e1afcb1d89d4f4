"""Times the composer and the rules, as a ratio to rendering the prompt, over dealt hands."""

import time
from collections.abc import Callable
from random import Random
from statistics import median

from poem.composer import compose
from poem.game import builtin_game
from poem.hand import deal, draw_candidates
from poem.prompt import render_prompt
from poem.rules import check

HANDS = 2000


def main() -> None:
    """Median and 99th percentile in milliseconds for each."""
    game, rng = builtin_game(), Random(1)
    deck = game.deck
    hands = [(deal(deck, rng), draw_candidates(deck, rng)) for _ in range(HANDS)]
    answers = [compose(game, hand, titles, 0).answer for hand, titles in hands]
    prompt = _times(lambda n: render_prompt(game.instructions, *hands[n]))
    rows = {
        "render_prompt": prompt,
        "compose": _times(lambda n: compose(game, *hands[n], 1)),
        "check": _times(lambda n: check(answers[n], *hands[n])),
    }
    print(f"{'what':14} {'p50 ms':>8} {'p99 ms':>8} {'ratio':>7}")
    for name, times in rows.items():
        print(f"{name:14} {median(times):8.3f} {times[HANDS * 99 // 100]:8.3f} {median(times) / median(prompt):6.1f}x")


def _times(work: Callable[[int], object]) -> list[float]:
    found = []
    for n in range(HANDS):
        start = time.perf_counter()
        work(n)
        found.append((time.perf_counter() - start) * 1e3)
    return sorted(found)


if __name__ == "__main__":
    main()

"""Phases of teaching, 100 hands to 50,000 → whether the next may begin, and what it costs and takes."""

import json
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from random import Random
from typing import Any

from poem.game import Game
from poem.hand import deal, draw_candidates
from poem_build.data.hands import Split
from poem_build.data.poems import CHARACTERS, poem_asks
from poem_build.errors import GateError
from poem_build.recipe.teaching import Teaching
from poem_build.teacher.money import FREE, Price, Prices, expected
from poem_build.teacher.protocol import HOUR, Play, Usage

PHASES = (100, 500, 5_000, 50_000)
GATES = (0.2, 0.5, 0.7)
"""What the student's mean score must be of the teacher's after each phase, for the next to begin."""
_HELD_OUT: dict[Split, float] = {"valid": 0.1, "test": 0.1}


@dataclass(frozen=True)
class Estimate:
    """What so many hands take: questions, tokens, dollars, seconds at the rate that they may be asked at."""

    hands: int
    usage: Usage
    usd: float
    seconds: float

    def told(self, yen_per_dollar: float, *, batch: bool = False, free: bool = False) -> str:
        """In one line. A batch is answered within a day; how fast a machine of one's own is, nobody knows here."""
        time = f"{self.seconds / 3600:.1f} h" if self.seconds >= 3600 else f"{self.seconds / 60:.1f} min"
        time = "up to 24 h" if batch else "" if free else time
        tokens = self.usage.prompt + self.usage.cached
        return (
            f"{self.hands:>7,} asks  {tokens:>12,} tokens in  {self.usage.output:>11,} out  "
            f"${self.usd:>9.4f}  ¥{self.usd * yen_per_dollar:>9,.1f}  {time:>9}"
        ).rstrip()


def sizes(hands: int) -> dict[Split, int]:
    """Hands of each split, 8:1:1."""
    rest = {split: round(hands * share) for split, share in _HELD_OUT.items()}
    return {"train": hands - sum(rest.values()), **rest}


def phase_of(hands: int) -> int:
    """The phase that so many hands belong to: the first that has as many."""
    return next((phase for phase, size in enumerate(PHASES) if hands <= size), len(PHASES) - 1)


def estimate(hands: int, one: Usage, price: Price, per_minute: float, *, batch: bool = False) -> Estimate:
    """What the hands take if each is like that one and none is asked twice; what is cached is kept all the while."""
    seconds = hands * 60 / per_minute
    stored = max(one.stored, one.cached * seconds / HOUR) if hands else 0
    usage = Usage(one.prompt * hands, one.cached * hands, one.output * hands, stored)
    return Estimate(hands, usage, price.of(usage, batch=batch), seconds)


def sample_usage(game: Game, spec: Teaching, price: Price, *, batch: bool = False) -> Usage:
    """The tokens of one poem, by a hand of the game; what the teacher keeps for us is cached, but not for a batch."""
    rng = Random("a sample")
    ask = next(poem_asks(game, [Play(deal(game.deck, rng), draw_candidates(game.deck, rng))], 0))
    return expected(ask, CHARACTERS, price, spec.kept_s(batch=batch))


def table_of(one: Usage, price: Price, prices: Prices, per_minute: float, *, batch: bool = False) -> str:
    """All phases, and what each takes."""
    rows = [estimate(hands, one, price, per_minute, batch=batch) for hands in PHASES]
    told = (row.told(prices.yen_per_dollar, batch=batch, free=price is FREE) for row in rows)
    return "\n".join(f"phase {n}  {line}" for n, line in enumerate(told))


def check_gate(phase: int, report: Path) -> dict[str, Any] | None:
    """What the report says of the phase before; None for the first, which needs none.

    Raises `GateError` if there is no report, or the student is not far enough.
    """
    if phase == 0:
        return None
    least = GATES[phase - 1]
    remedy = "`poem-build eval` makes it; --force goes on without, and is recorded"
    try:
        ratio = json.loads(report.read_text("utf-8"))["teacher_ratio"]
        mean = float(ratio["mean"])
        if isnan(mean):  # it is below nothing, and would pass
            raise ValueError("not a number")
    except OSError as error:
        raise GateError(f"{report}: phase {phase} needs the report on phase {phase - 1}; {remedy}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise GateError(f"{report}: teacher_ratio: has no mean; {remedy}") from error
    if mean < least:
        raise GateError(
            f"{report}: teacher_ratio.mean: {mean:.0%} of the teacher's score after phase {phase - 1}, {least:.0%} are "
            f"needed for phase {phase}; improve the training first, or --force, which is recorded"
        )
    return {"teacher_ratio": ratio, "needed": least}

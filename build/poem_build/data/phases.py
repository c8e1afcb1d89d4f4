"""Phases of teaching, 100 hands to 50,000 → whether the next may begin, and what it costs and takes."""

import json
from contextlib import suppress
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from random import Random
from shlex import quote
from typing import Any

from poem.game import Game
from poem.hand import deal, draw_candidates
from poem_build.data.hands import Split
from poem_build.data.poems import CHARACTERS, poem_asks
from poem_build.data.taught import FOLDER, told_of
from poem_build.errors import DatasetError, GateError
from poem_build.models.files import model_digest
from poem_build.recipe.teaching import Teaching
from poem_build.store.artifact import made_from
from poem_build.store.digest import CACHE, Digests
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


def check_gate(phase: int, out: Path, game: Game, work: str, teacher: str) -> dict[str, Any] | None:
    """What the report in `out` says of a student of the phase before; None for the first, which needs none.

    A phase that was let through once is so again. `work` and `teacher` are options for the commands of a remedy. Raises
    `GateError` if there is no report on such a student, or it is not far enough.
    """
    if phase == 0:
        return None
    told, poems, report = _told(out, game), out / FOLDER, out / "eval" / "report.json"
    if told.get("phase") == phase and told.get("gate"):
        return dict(told["gate"])
    before, least, written = phase - 1, GATES[phase - 1], told.get("phase") == phase - 1
    student = _student(out) if written else ""
    commands = [
        *([] if written else [f"poem-build teacher run{work}{teacher} --phase {before}"]),
        *([] if student else [f"poem-build run{work} --taught {quote(str(poems))}"]),
        f"poem-build eval{work} --taught {quote(str(poems))}",
    ]
    remedy = f"`{' && '.join(commands)}` makes it; --force goes on without, and is recorded"
    judged, ratio = _said(report)
    if not student or judged != student:
        wrong = f"is on no student of the poems in {poems}"
        wrong = wrong if written else f"{poems} has no poems of phase {before} for this deck"
        wrong = wrong if report.is_file() else "is not there"
        raise GateError(f"{report}: {wrong}; phase {phase} needs the report on phase {before}: {remedy}")
    try:
        mean = float(ratio["mean"])
        if isnan(mean):  # it is below nothing, and would pass
            raise ValueError("not a number")
    except (ValueError, KeyError, TypeError) as error:
        raise GateError(f"{report}: teacher_ratio: has no mean; {remedy}") from error
    if mean < least:
        raise GateError(
            f"{report}: teacher_ratio.mean: {mean:.0%} of the teacher's score after phase {before}, {least:.0%} are "
            f"needed for phase {phase}; improve the training first, or --force, which is recorded"
        )
    return {"teacher_ratio": ratio, "needed": least}


def _told(out: Path, game: Game) -> dict[str, Any]:
    """What is said of the teacher's poems in `out`; nothing if there are none for this deck."""
    with suppress(DatasetError):
        told = told_of(out / FOLDER)
        return told if told.get("game_digest") == game.deck.digest else {}
    return {}


def _student(out: Path) -> str:
    """The digest of the model in `out` if it was trained there on the teacher's poems as they lie there; or nothing."""
    model, learnt = made_from(out, "gguf"), made_from(out, "adapter").get("dataset")
    if learnt is None or learnt.key.inputs.get("taught") != Digests(out / CACHE).place(out / FOLDER):
        return ""
    return model_digest(model["gguf"].files) if "adapter" in model else ""


def _said(report: Path) -> tuple[str, Any]:
    """The digest of the model that a report is on, and the ratio of its score to the teacher's, as they stand there."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        content = json.loads(report.read_text("utf-8"))
        return str(content["provenance"]["gguf"]), content.get("teacher_ratio")
    return "", None

"""The verdict on the answer to one hand: what it tells, how many make a score, and how they are kept."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

FILE = "answers.jsonl"
MALFORMED = "malformed"


class Verdict(BaseModel):
    """What a judge found in the answer to one hand."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    judge: str
    asked: str
    """Who was asked, and how: `model, shape constrained`, say."""
    pairs: list[tuple[str, str]]
    candidates: list[str]
    text: str
    """As it came."""
    ended: str
    broken: list[str]
    """The rules that it breaks; `malformed` for what is no answer."""

    @property
    def passed(self) -> bool:
        """Whether nothing was found."""
        return not self.broken


class Score(BaseModel):
    """How many hands were answered within all rules, and what was wrong with the others."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    hands: int
    passed: int
    malformed: int
    broken: dict[str, int]

    @property
    def share(self) -> float:
        """The share that passed."""
        return self.passed / self.hands


def score(verdicts: Sequence[Verdict]) -> Score:
    """The verdicts in figures; a rule counts once a hand."""
    broken = Counter(rule for verdict in verdicts for rule in verdict.broken)
    malformed = broken.pop(MALFORMED, 0)
    return Score(
        hands=len(verdicts),
        passed=sum(verdict.passed for verdict in verdicts),
        malformed=malformed,
        broken=dict(broken.most_common()),
    )


def write_verdicts(path: Path, verdicts: Iterable[Verdict]) -> None:
    """One JSON object a line."""
    lines = (json.dumps(verdict.model_dump(mode="json"), ensure_ascii=False) + "\n" for verdict in verdicts)
    path.write_text("".join(lines), "utf-8")


def read_verdicts(path: Path) -> list[Verdict]:
    """The verdicts of a file that was written so."""
    return [Verdict.model_validate_json(line) for line in path.read_bytes().splitlines()]

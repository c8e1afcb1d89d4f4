"""What was seen and what the recipe asks for → a red line: it holds, or it refuses in one line that says both."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from poem_build.errors import GateError

Sense = Literal["at least", "at most", "above"]


@dataclass(frozen=True)
class RedLine:
    """One figure that a recipe's `[gate]` has a word on."""

    key: str
    """Of the `[gate]`."""
    what: str
    seen: float
    """NaN for what was not measured, which never holds."""
    asked: float
    remedy: str
    sense: Sense = "at least"
    shown: str = ".1%"
    """How both figures are written."""
    note: str = ""
    """What else belongs to the figure that was seen."""
    whole_training: bool = True
    """Whether only a training that was not cut short can reach it; another is then told of it and not refused."""
    sure: bool = True
    """Whether more would not turn it: a report on few hands lets pass what its interval does not rule out."""

    @property
    def holds(self) -> bool:
        """Whether what was seen is what is asked for."""
        return is_so(self.seen, self.sense, self.asked)

    @property
    def measured(self) -> bool:
        """Whether there is a figure at all."""
        return not math.isnan(self.seen)

    @property
    def figure(self) -> str:
        """What was seen, for people."""
        note = f" ({self.note})" if self.note else ""
        return f"{self.seen:{self.shown}}{note}" if self.measured else "not measured"

    @property
    def limit(self) -> str:
        """What is asked for, for people."""
        return f"{self.sense} {self.asked:{self.shown}}"


def is_so(seen: float, sense: Sense, asked: float) -> bool:
    """Whether a figure is `at least`, `at most` or `above` what is asked for; NaN is none of these."""
    if sense == "above":
        return seen > asked
    return seen >= asked if sense == "at least" else seen <= asked


def refuse(lines: Iterable[RedLine], where: Path, *, cut_short: bool) -> None:
    """Raise `GateError` for the first line that does not hold, naming where the figures stand."""
    for line in lines:
        if not line.holds and not (cut_short and line.whole_training):
            told = f"gate.{line.key}: {line.what}: {line.figure}, asked for {line.limit}"
            raise GateError(f"{where}: {told}; {line.remedy}", told)

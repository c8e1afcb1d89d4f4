"""Reports as they are made → a history that keeps each, what came before a report, and what has changed since.

A change is one only where the two intervals lie apart. For two like estimates that happens by chance one time in 350
(they then differ by 2.8 of their standard errors), so that twenty figures raise a false alarm in one report of twenty.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from poem_build.errors import ArtifactError
from poem_build.evaluation import bootstrap
from poem_build.evaluation.report import MODEL, Evaluation, Figure, Former, read_evaluation, write_evaluation

FOLDER = "history"
"""Beside the stages' folders: what makes `eval` anew does not touch it."""
REGRESSION = "regression"
"""What a reason is called that a fall is."""
_DEVICE = "speed."
"""Figures that tell of the machine and its load as much as of the model."""
_HEARD = (".judge", "duel.composer")
"""How the names of figures end that are one judge's."""
Choice = Literal["this", "former", "either", "neither"]


@dataclass(frozen=True)
class Change:
    """One figure of the model beside the former build's."""

    now: Figure
    former: Figure

    @property
    def sense(self) -> Literal["better", "worse", ""]:
        """Empty where it may be chance, or where neither way is the better one."""
        (low, high), (before_low, before_high) = _interval(self.now), _interval(self.former)
        up, down = low > before_high, high < before_low
        if not self.now.better or not (up or down):
            return ""
        return "better" if up == (self.now.better == "higher") else "worse"

    @property
    def regression(self) -> bool:
        """Whether it turns the verdict: a fall in what the model is, not in how fast this machine was today."""
        return self.sense == "worse" and not self.now.name.startswith(_DEVICE)


def changes(figures: Sequence[Figure], former: Former | None) -> Iterator[Change]:
    """The model's figures that the former report has too."""
    there = {_key(one): one for one in former.figures} if former else {}
    for figure in figures:
        if figure.writer == MODEL and (one := there.get(_key(figure))):
            yield Change(figure, one)


def choice(evaluation: Evaluation) -> Choice:
    """Which of the two builds to take to the stage."""
    former, passed = evaluation.former, evaluation.verdict.passed
    if former is None or passed != former.passed:
        return "this" if passed else "former" if former else "neither"
    if not passed:
        return "neither"
    if evaluation.verdict.below_composer != former.below_composer:
        return "this" if former.below_composer else "former"
    return "this" if any(one.sense == "better" for one in changes(evaluation.figures, former)) else "either"


def history(folder: Path) -> list[Evaluation]:
    """All reports that can still be read, the oldest first."""
    found = []
    for path in sorted(folder.glob("*.json")):
        with contextlib.suppress(ArtifactError):
            found.append(read_evaluation(path))
    return found


def damaged(folder: Path) -> list[str]:
    """Of each report that cannot be read, which and why."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            read_evaluation(path)
        except ArtifactError as error:
            found.append(error.told)
    return found


def before(folder: Path, gguf: str, hands_version: str, game_digest: str) -> Evaluation | None:
    """The last report on another build of the same deck, whose hands were drawn in the same way.

    Prefers one that passed, or a refused fall would become the next build's measure; among those, one on the very same
    hands; then the newest.
    """
    number = hands_version.partition("-")[0]
    others = [one for one in history(folder) if one.provenance.gguf != gguf]
    others = [one for one in others if one.provenance.game_digest == game_digest]
    others = [one for one in others if one.provenance.hands_version.partition("-")[0] == number]
    fitting = [(one.verdict.passed, one.provenance.hands_version == hands_version, n) for n, one in enumerate(others)]
    return others[max(fitting)[-1]] if fitting else None


def keep(folder: Path, evaluation: Evaluation) -> None:
    """Add the report. One that measured the same again takes its first one's place: only the verdict may be another."""
    folder.mkdir(exist_ok=True)
    told = evaluation.provenance
    for path in sorted(folder.glob(f"*-{told.gguf[:8]}.json")):
        with contextlib.suppress(ArtifactError):
            if _of_writers(read_evaluation(path)) == _of_writers(evaluation):
                write_evaluation(path, evaluation)
                return
    stamp = told.made_at.partition("+")[0].replace(":", "").replace("-", "")
    write_evaluation(folder / f"{stamp}-{told.gguf[:8]}.json", evaluation)


def _of_writers(evaluation: Evaluation) -> list[Figure]:
    return [one for one in evaluation.figures if one.writer]


def _interval(figure: Figure) -> tuple[float, float]:
    """The figure's own; where nothing varied and the bootstrap has none, Wilson's of a share of none or all."""
    if figure.low < figure.high or figure.unit != "share" or figure.value not in (0, 1):
        return figure.low, figure.high
    found = bootstrap.share([bool(figure.value)] * figure.count)
    return found.low, found.high


def _key(figure: Figure) -> tuple[str, str, str]:
    """What two reports' figures have in common: of a judge's, the judge too, whom its words name."""
    return figure.name, figure.writer, figure.what if figure.name.endswith(_HEARD) else ""

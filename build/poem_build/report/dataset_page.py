"""What was found in a data set → a page with plots, in one file, and the same as JSON."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from poem_build.data.checks import Findings
from poem_build.report.picture import FAULT, NOW, drawn
from poem_build.report.plots import Plot
from poem_build.report.templating import environment
from poem_build.store.folder import write_text

PAGE = "report.html"
_SHOWN = 200
"""Problems on the page; all are in the JSON beside it."""


def write_report(folder: Path, found: Findings) -> None:
    """Write `report.json` and `report.html` into the folder, made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    told = found.as_json()
    write_text(folder / "report.json", json.dumps(told, ensure_ascii=False, indent=1) + "\n")
    plots = [*_lengths(found.lengths), *_problems(told["counts"])]
    write_text(folder / PAGE, environment().get_template("dataset.html").render(**told, plots=plots, shown=_SHOWN))


def _lengths(lengths: Sequence[int]) -> Iterator[Plot]:
    def draw(axes: Any) -> None:
        axes.hist(lengths, bins=range(min(lengths), max(lengths) + 2), color=NOW)
        axes.set_xlabel("characters")

    if lengths:
        said = f"From {min(lengths)} to {max(lengths)} characters."
        yield Plot("lengths", "Length of the poems", said, drawn("lengths", 2.4, draw))


def _problems(counts: Mapping[str, int]) -> Iterator[Plot]:
    def draw(axes: Any) -> None:
        axes.barh(list(counts), list(counts.values()), color=FAULT)
        axes.xaxis.get_major_locator().set_params(integer=True)

    if counts:
        said = f"{sum(counts.values())} in all."
        yield Plot("problems", "Problems by kind", said, drawn("problems", 2.4, draw, left=1.1))

"""What was found in a data set → a page with plots, in one file."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from poem_build.data.checks import Findings
from poem_build.report.picture import FAULT, NOW, drawn
from poem_build.report.plots import Plot
from poem_build.report.templating import environment
from poem_build.store.folder import write_text

_SHOWN = 200
"""Problems on the page; all are in the JSON beside it."""


def write_page(path: Path, found: Findings) -> None:
    """Write the page."""
    told = found.as_json()
    plots = [*_lengths(found.lengths), *_problems(told["counts"])]
    write_text(path, environment().get_template("dataset.html").render(**told, plots=plots, shown=_SHOWN))


def _lengths(lengths: Sequence[int]) -> Iterator[Plot]:
    def draw(axes: Any) -> None:
        axes.hist(lengths, bins=30, color=NOW)
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

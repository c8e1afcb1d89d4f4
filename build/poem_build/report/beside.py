"""A report's figures of all writers → one table, a row a writer."""

from collections.abc import Sequence
from dataclasses import dataclass

from poem_build.evaluation.report import Evaluation, Figure

_PLAYED = "pass.first"
"""Whoever wrote for any hand has this figure; who has others alone, as the base's perplexity, has written nothing."""


@dataclass(frozen=True)
class Row:
    """A writer."""

    writer: str
    hands: int
    """That it wrote for; a table may hold none of them."""
    values: Sequence[Figure | None]
    """In the order of the columns; None for what was not measured of it."""


@dataclass(frozen=True)
class Beside:
    """All writers' figures of some names."""

    columns: Sequence[Figure]
    """One of each figure that somebody has, for its name and unit."""
    rows: Sequence[Row]


def beside(evaluation: Evaluation, names: Sequence[str]) -> Beside:
    """The figures of those names, the model's first; also a row for who had no poem for any of the hands."""
    ranked = evaluation.matrix.writers if evaluation.matrix else []
    played = [one.writer for one in evaluation.figures if one.name == _PLAYED]
    writers = dict.fromkeys([*played, *ranked])
    found = {(one.name, one.writer): one for one in evaluation.figures}
    heads = [next((found[name, who] for who in writers if (name, who) in found), None) for name in names]
    columns = [one for one in heads if one]
    rows = []
    for who in writers:
        asked = found.get((_PLAYED, who))
        rows.append(Row(who, asked.count if asked else 0, [found.get((one.name, who)) for one in columns]))
    return Beside(columns, rows)

"""What several people said of the same things → how far they agree beyond chance.

Of two it is the kappa of Cohen (1960, "A Coefficient of Agreement for Nominal Scales"), of more that of Fleiss (1971,
"Measuring Nominal Scale Agreement Among Many Raters"), each thing weighed by whoever said something of it. Things are
drawn anew for the interval.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from poem_build.evaluation import bootstrap
from poem_build.evaluation.bootstrap import Estimate
from poem_build.evaluation.measures import figure
from poem_build.evaluation.report import Figure

if TYPE_CHECKING:
    import numpy as np


def agreement(said: Sequence[Sequence[float | None]]) -> Figure | None:
    """The kappa over a row a thing and a column a person; None where no two spoke of one, or all always say the same.

    1 is agreement throughout, 0 what chance brings.
    """
    rows = [row for row in said if sum(one is not None for one in row) > 1]
    kinds = sorted({one for row in rows for one in row if one is not None})
    if len(kinds) < 2:
        return None
    two = len(rows[0]) == 2
    values = _cohen(rows, kinds) if two else _fleiss(rows, kinds)
    low, high = bootstrap.bounds(values[1:])
    found = Estimate(round(float(values[0]), 6), round(low, 6), round(high, 6), len(rows))
    name = "Cohen" if two else "Fleiss"
    return figure("readers.kappa", f"{name}'s kappa of the readers", found, "ratio", "higher")


def _drawn(rows: Sequence[Sequence[float | None]]) -> "np.ndarray":
    """How often each thing counts: once each, then as the bootstrap draws them."""
    import numpy as np

    return np.vstack([np.ones(len(rows)), bootstrap.weights(len(rows))])


def _cohen(rows: Sequence[Sequence[float | None]], kinds: Sequence[float]) -> "np.ndarray":
    import numpy as np

    seen = np.zeros((len(rows), len(kinds), len(kinds)))
    for n, (one, other) in enumerate(rows):
        assert one is not None
        assert other is not None
        seen[n, kinds.index(one), kinds.index(other)] = 1
    tables = np.tensordot(_drawn(rows), seen, axes=1) / len(rows)
    agreed = np.trace(tables, axis1=1, axis2=2)
    chance = (tables.sum(axis=1) * tables.sum(axis=2)).sum(axis=1)
    return _beyond(agreed, chance)


def _fleiss(rows: Sequence[Sequence[float | None]], kinds: Sequence[float]) -> "np.ndarray":
    import numpy as np

    counts = np.asarray([[row.count(kind) for kind in kinds] for row in rows], dtype=float)
    people = counts.sum(axis=1)
    pairs = (counts * (counts - 1)).sum(axis=1) / (people * (people - 1))
    drawn = _drawn(rows)
    shares = drawn @ counts / (drawn @ people)[:, None]
    return _beyond(drawn @ pairs / len(rows), (shares**2).sum(axis=1))


def _beyond(agreed: "np.ndarray", chance: "np.ndarray") -> "np.ndarray":
    """By how much agreement is above chance; 1 where everybody always said the same thing."""
    import numpy as np

    return np.where(chance < 1, (agreed - chance) / np.where(chance < 1, 1 - chance, 1), 1.0)

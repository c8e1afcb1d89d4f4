"""Measured values → their spread."""

import statistics
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict


class Figures(BaseModel):
    """A part of a report."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Spread(Figures):
    """Median and the value that 95 % do not exceed."""

    median: float
    p95: float


def spread(values: Sequence[float]) -> Spread:
    """The spread of the values."""
    ordered = sorted(values)
    return Spread(
        median=round(statistics.median(ordered), 3),
        p95=round(ordered[max(0, -(-len(ordered) * 95 // 100) - 1)], 3),
    )

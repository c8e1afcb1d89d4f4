"""Values → their mean and half of its 95 % interval."""

import math
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

_Z = 1.96


class Interval(BaseModel):
    """A mean, and half of its 95 % interval: ±1.96 standard errors by the normal approximation."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    mean: float
    interval: float

    def __str__(self) -> str:
        return f"{self.mean:+.3f} ± {self.interval:.3f}"


def mean_interval(values: Sequence[float]) -> Interval:
    """The mean of at least two values."""
    mean = sum(values) / len(values)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
    return Interval(mean=round(mean, 3), interval=round(_Z * deviation / math.sqrt(len(values)), 3))

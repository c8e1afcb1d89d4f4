"""Values → their mean and half of its 95 % interval."""

import math
from collections.abc import Sequence

_Z = 1.96


def mean_interval(values: Sequence[float]) -> dict[str, float]:
    """`mean` and `interval`, ±1.96 standard errors by the normal approximation; at least two values."""
    mean = sum(values) / len(values)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
    return {"mean": round(mean, 3), "interval": round(_Z * deviation / math.sqrt(len(values)), 3)}

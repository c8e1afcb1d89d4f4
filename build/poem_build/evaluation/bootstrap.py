"""Values, one a hand → an estimate with the 95 % interval of its bootstrap.

The percentile interval of Efron (1979, "Bootstrap Methods: Another Look at the Jackknife"): hands are drawn anew with
replacement, since what one hand's poem does is what varies. A sample without variation has none to draw from; of a
share that is 0 or 1 the interval is then Wilson's (1927), so that 20 of 20 is not taken for certainty.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

_DRAWS = 2000
_SEED = 17
_LEVEL = 95.0
_Z = 1.96


@dataclass(frozen=True)
class Estimate:
    """A value, its interval, and of how many hands it is."""

    value: float
    low: float
    high: float
    count: int


def share(kept: Sequence[bool]) -> Estimate:
    """The share of hands of which it holds."""
    found = mean([float(one) for one in kept])
    if len(set(kept)) > 1:
        return found
    # Wilson's interval at 0 or 1 of n is z² / (n + z²) wide.
    width = _Z**2 / (len(kept) + _Z**2)
    low, high = (1 - width, 1.0) if kept[0] else (0.0, width)
    return Estimate(found.value, round(low, 6), round(high, 6), len(kept))


def mean(values: Sequence[float]) -> Estimate:
    """The mean of at least one value."""
    return ratio(values, [1.0] * len(values))


def ratio(
    tops: Sequence[float], bottoms: Sequence[float], shown: Callable[[float], float] = lambda value: value
) -> Estimate:
    """The sum of one value over that of another, hand by hand: tokens a second, say; as `shown` (exp, say) has it."""
    import numpy as np

    def found(places: "np.ndarray") -> "np.ndarray":
        return np.asarray(top[places].sum(axis=-1) / bottom[places].sum(axis=-1))

    top, bottom = np.asarray(tops, dtype=float), np.asarray(bottoms, dtype=float)
    return _estimate(found, len(top), shown)


def median(values: Sequence[float]) -> Estimate:
    """The middle value."""
    import numpy as np

    there = np.asarray(values, dtype=float)
    return _estimate(lambda places: np.asarray(np.median(there[places], axis=-1)), len(there))


def draws(count: int) -> "np.ndarray":
    """Places of `count` hands drawn anew, a row a draw; the same for the same count."""
    import numpy as np

    return np.random.default_rng(_SEED).integers(0, count, (_DRAWS, count))


def weights(count: int) -> "np.ndarray":
    """How often each of `count` hands was drawn, a row a draw."""
    import numpy as np

    return np.asarray([np.bincount(places, minlength=count) for places in draws(count)], dtype=float)


def bounds(values: "np.ndarray") -> tuple[float, float]:
    """The interval that the middle 95 % of the draws' values span."""
    import numpy as np

    rest = (100 - _LEVEL) / 2
    low, high = np.percentile(values, [rest, 100 - rest])
    return float(low), float(high)


def _estimate(
    found: Callable[["np.ndarray"], "np.ndarray"], count: int, shown: Callable[[float], float] = lambda value: value
) -> Estimate:
    import numpy as np

    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = found(draws(count))
        value = float(found(np.arange(count)))
    if not math.isfinite(value):
        raise ValueError("nothing to divide by")
    low, high = bounds(drawn[np.isfinite(drawn)])
    value, low, high = (round(shown(one), 6) for one in (value, low, high))
    return Estimate(value, low, high, count)

"""Intervals against what is known of them."""

import math
from random import Random

import pytest

from poem_build.evaluation import bootstrap


def test_a_mean_has_the_interval_that_its_spread_says() -> None:
    rng = Random(0)
    values = [rng.gauss(5, 2) for _ in range(400)]
    found = bootstrap.mean(values)
    center = sum(values) / 400
    error = math.sqrt(sum((value - center) ** 2 for value in values) / 399 / 400)
    assert found.value == pytest.approx(center, abs=1e-6)
    assert found.low == pytest.approx(center - 1.96 * error, abs=0.02)
    assert found.high == pytest.approx(center + 1.96 * error, abs=0.02)
    assert found == bootstrap.mean(values)


def test_400_hands_are_a_point_either_way_at_99_of_100() -> None:
    found = bootstrap.share([n >= 4 for n in range(400)])
    assert (found.value, found.count) == (0.99, 400)
    assert 0.975 <= found.low < 0.985 < 0.99 < found.high <= 1.0


@pytest.mark.parametrize(("kept", "low", "high"), [(True, 0.839, 1.0), (False, 0.0, 0.161)])
def test_what_never_varied_is_not_taken_for_certain(kept: bool, low: float, high: float) -> None:
    found = bootstrap.share([kept] * 20)
    assert (found.value, round(found.low, 3), round(found.high, 3)) == (float(kept), low, high)


def test_a_ratio_is_of_the_sums_and_shown_as_asked() -> None:
    found = bootstrap.ratio([2.0, 6.0], [1.0, 3.0], math.exp)
    assert found.value == pytest.approx(math.exp(2), abs=1e-5)
    assert (found.low, found.high) == (found.value, found.value)
    assert bootstrap.median([1.0, 9.0, 2.0]).value == 2.0
    with pytest.raises(ValueError, match="nothing to divide by"):
        bootstrap.ratio([1.0], [0.0])

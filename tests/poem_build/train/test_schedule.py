import pytest

from poem_build.recipe.training import Train
from poem_build.train.schedule import rate


def _rates(schedule: str, warmup: float) -> list[float]:
    spec = Train.model_validate({"learning_rate": 1.0, "epochs": 1, "batch": 1, "schedule": schedule, "warmup": warmup})
    return [rate(spec, step, 20) for step in range(20)]


@pytest.mark.parametrize(("schedule", "middle", "last"), [("cosine", 0.5, 0.0062), ("linear", 0.5, 0.05)])
def test_it_rises_over_the_warm_up_and_falls_to_nothing(schedule: str, middle: float, last: float) -> None:
    rates = _rates(schedule, 0.2)
    assert rates[:3] == [0.25, 0.5, 0.75]
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert (rates[10], rates[-1]) == pytest.approx((middle, last), abs=1e-4)
    assert _rates(schedule, 0.0)[0] == 1.0


def test_a_constant_rate_warms_up_too() -> None:
    assert _rates("constant", 0.2) == [0.25, 0.5, 0.75, *[1.0] * 17]

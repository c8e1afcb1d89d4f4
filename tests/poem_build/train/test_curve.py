"""What a course of losses is called."""

from poem_build.train.curve import overfitting

FALLING = [2.0 - step / 100 for step in range(100)]


def test_over_fitting_is_called_by_name_with_its_step() -> None:
    told = overfitting(FALLING, [(0, 2.1), (50, 1.7), (75, 1.8), (100, 1.9)], 50)
    assert told == (
        "over-fitting since step 50: validation loss 1.70 → 1.90 while training went 1.75 → 1.25; the weights of step "
        "50 are kept"
    )


def test_what_still_falls_wavers_or_breaks_down_is_not() -> None:
    assert overfitting(FALLING, [(0, 2.1), (50, 1.8), (100, 1.7)], 100) == ""
    assert overfitting(FALLING, [(0, 2.1), (50, 1.70), (100, 1.72)], 50) == ""
    rising = FALLING[:50] + [3.0] * 50
    assert overfitting(rising, [(0, 2.1), (50, 1.7), (100, 3.0)], 50) == ""

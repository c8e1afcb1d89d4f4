"""Failures in a row open it, a success closes it."""

from poem_service.watch.breaker import Breaker, BreakerState


def test_the_breaker_opens_after_failures_in_a_row_and_closes_on_a_success() -> None:
    breaker = Breaker(threshold=2, cooldown_s=10)
    breaker.fail(0)
    breaker.succeed()
    breaker.fail(1)
    assert breaker.state(1) is BreakerState.CLOSED
    breaker.fail(2)
    assert [breaker.state(now) for now in (2, 11.9, 12)] == [
        BreakerState.OPEN,
        BreakerState.OPEN,
        BreakerState.HALF_OPEN,
    ]
    breaker.fail(12)
    assert breaker.state(13) is BreakerState.OPEN
    breaker.succeed()
    assert breaker.state(13) is BreakerState.CLOSED

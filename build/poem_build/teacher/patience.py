"""A call that a teacher refuses for now, fails or loses → what it gives in the end, or one line."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from poem_build.errors import TeacherError
from poem_build.teacher.protocol import BusyError, FailedError, LostError

R = TypeVar("R")
_TIMES = 8
"""In a row that a call may be refused, fail or get lost until we give up."""


async def patiently(teacher: str, call: Callable[[], Awaitable[R]]) -> R:
    """What the call gives, made anew while the teacher is busy or out of order, after as long as it asks for.

    Raises `TeacherError` in the end.
    """
    from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

    passing = (BusyError, FailedError, LostError)
    longer = wait_random_exponential(multiplier=0.5, max=60)

    def wait(state: Any) -> float:
        return float(getattr(state.outcome.exception(), "seconds", None) or longer(state))

    async def once() -> R:  # tenacity awaits what says of itself that it is to be awaited
        return await call()

    retrying = AsyncRetrying(
        retry=retry_if_exception_type(passing), wait=wait, stop=stop_after_attempt(_TIMES), reraise=True
    )
    try:
        return await retrying(once)
    except passing as error:
        raise TeacherError(
            f"{teacher}: {error}, {_TIMES} times in a row; what was answered is kept, try again later"
        ) from error

"""How long a teacher that does not answer is asked again."""

import time

import pytest

from poem_build.errors import TeacherError
from poem_build.teacher.patience import patiently
from poem_build.teacher.protocol import BusyError, FailedError


async def test_it_is_asked_again_after_as_long_as_it_says() -> None:
    faults = [FailedError("status 500"), BusyError(0.3), BusyError(0.3)]

    async def call(what: str) -> str:
        if faults:
            raise faults.pop()
        return what

    begun = time.monotonic()
    assert await patiently("gemini", lambda: call("answered")) == "answered"
    assert time.monotonic() - begun >= 0.6


async def test_it_is_given_up_in_one_line_in_the_end() -> None:
    made = []

    async def call() -> None:
        made.append(1)
        raise BusyError(0.001)

    with pytest.raises(TeacherError) as caught:
        await patiently("gemini", call)
    assert str(caught.value) == (
        "gemini: too many requests (429), 8 times in a row; what was answered is kept, try again later"
    )
    assert len(made) == 8


async def test_what_no_patience_mends_passes_at_once() -> None:
    async def call() -> None:
        raise TeacherError("status 403")

    with pytest.raises(TeacherError, match=r"^status 403$"):
        await patiently("gemini", call)

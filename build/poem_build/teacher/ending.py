"""Work that pays for answers, and a signal → its orderly end: nothing new is asked, what is out is waited for."""

import asyncio
import signal
import sys
from collections.abc import Coroutine
from types import FrameType
from typing import Any, TypeVar

R = TypeVar("R")
PATIENCE_S = 30.0
"""For what is out when the first signal comes; the next signal ends that too."""

_APART_S = 0.1
"""Two signals that come at once would be one cancellation to asyncio."""


def orderly(work: Coroutine[Any, Any, R]) -> R:
    """Run the work. SIGINT and SIGTERM cancel it, and cancel it again after 30 s or with the next of them.

    Raises `KeyboardInterrupt` or `SystemExit` when the work has ended so.
    """
    signals: list[int] = []

    async def watched() -> R:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def end() -> None:
            if len(signals) > 1:
                loop.call_later(_APART_S, task.cancel)
                return
            task.cancel()
            loop.call_later(PATIENCE_S, task.cancel)
            told = f"What is out is waited for, {PATIENCE_S:.0f} s at most; once more leaves at once"
            sys.stderr.write(f"{told}\n")

        def caught(number: int, _: FrameType | None) -> None:
            signals.append(number)
            loop.call_soon_threadsafe(end)

        before = {number: signal.signal(number, caught) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            return await work
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    try:
        return asyncio.run(watched())
    except asyncio.CancelledError:
        if signals[:1] == [signal.SIGTERM]:
            raise SystemExit(128 + signal.SIGTERM) from None
        raise KeyboardInterrupt from None

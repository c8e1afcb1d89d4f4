"""A loop → the same loop with a bar on a terminal; in a pipe nothing is shown."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


def progress(items: Iterable[T], what: str) -> Iterator[T]:
    """The items, with a bar naming what is done to them if standard error is a terminal."""
    from tqdm import tqdm

    yield from tqdm(items, desc=what, leave=False, disable=not sys.stderr.isatty())


@contextmanager
def bar(what: str, total: int | None) -> Iterator[Callable[[bool], None]]:
    """A bar that grows by one when what it yields is called with true."""
    from tqdm import tqdm

    with tqdm(total=total, desc=what, leave=False, disable=not sys.stderr.isatty()) as shown:
        yield lambda grown: shown.update(int(grown)) and None


@contextmanager
def token_bar(what: str, total: int | None, done: int, unit: str = "tok") -> Iterator[Callable[[int, str], None]]:
    """A bar with the rate, and the time left where the total is known; it takes the next units and a note beside it."""
    from tqdm import tqdm

    with tqdm(
        total=total,
        initial=done,
        desc=what,
        unit=unit,
        unit_scale=True,
        leave=False,
        disable=not sys.stderr.isatty(),
        smoothing=0.1,
    ) as bar:

        def advance(more: int, note: str) -> None:
            bar.set_postfix_str(note, refresh=False)
            bar.update(more)

        yield advance

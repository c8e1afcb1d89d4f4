"""A loop → the same loop with a bar on a terminal; in a pipe nothing is shown."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def progress(items: Iterable[T], what: str) -> Iterator[T]:
    """The items, with a bar naming what is done to them if standard error is a terminal."""
    from tqdm import tqdm

    yield from tqdm(items, desc=what, leave=False, disable=not sys.stderr.isatty())

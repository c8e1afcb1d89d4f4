"""Texts → their runs of characters, and how many of those are different ones."""

from collections import Counter
from collections.abc import Sequence


def runs(text: str, n: int) -> list[str]:
    """The runs of n characters, in order."""
    return [text[start : start + n] for start in range(len(text) - n + 1)]


def distinct(texts: Sequence[str], n: int) -> tuple[list[float], list[float]]:
    """Of each text, its part of the different runs of n characters, and how many runs it has.

    One sum over the other is distinct-n (Li et al. 2016); parts let its interval be drawn from texts: a run that comes
    k times gives each text that has it a kth of a run.
    """
    found = [runs(text, n) for text in texts]
    counts = Counter(run for some in found for run in some)
    return [sum(1 / counts[run] for run in some) for some in found], [float(len(some)) for some in found]

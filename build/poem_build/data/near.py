"""Texts → those that are nearly the same: found by MinHash over runs of characters, then measured."""

from collections.abc import Iterator
from typing import Any

_PERMUTATIONS = 64
_LOOSER = 0.8
"""MinHash errs by about 1 / √64, so it is asked for a little less than what is measured afterwards."""


class Near:
    """Texts by name; the likeness of two is that of their sets of runs (Jaccard)."""

    def __init__(self, threshold: float, run: int = 2) -> None:
        from datasketch import MinHashLSH

        self._threshold, self._run = threshold, run
        self._index = MinHashLSH(threshold=threshold * _LOOSER, num_perm=_PERMUTATIONS)
        self._sets: dict[str, frozenset[str]] = {}

    def add(self, name: str, text: str) -> None:
        """Remember a text."""
        runs = self._runs(text)
        if name not in self._sets:
            self._sets[name] = runs
            self._index.insert(name, self._hash(runs))

    def like(self, text: str) -> Iterator[tuple[str, float]]:
        """The names of remembered texts that are nearly this one, and how like it they are."""
        runs = self._runs(text)
        for name in self._index.query(self._hash(runs)):
            other = self._sets[name]
            likeness = len(runs & other) / max(1, len(runs | other))
            if likeness >= self._threshold:
                yield str(name), likeness

    def _runs(self, text: str) -> frozenset[str]:
        return frozenset(text[n : n + self._run] for n in range(max(1, len(text) - self._run + 1)))

    def _hash(self, runs: frozenset[str]) -> Any:
        from datasketch import MinHash

        made = MinHash(num_perm=_PERMUTATIONS)
        made.update_batch([run.encode() for run in sorted(runs)])
        return made

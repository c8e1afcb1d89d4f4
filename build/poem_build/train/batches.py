"""Examples → the batches of an epoch."""

from collections.abc import Iterator, Sequence
from random import Random

from poem_build.models.tokens import Tokens
from poem_build.recipe.training import Train


def batches(examples: Sequence[Tokens], size: int, seed: str) -> Iterator[list[Tokens]]:
    """One epoch in seeded order, examples of like length together so that little is padding."""
    rng = Random(seed)
    order = rng.sample(range(len(examples)), len(examples))
    window = size * 16
    found = []
    for start in range(0, len(order), window):
        near = sorted(order[start : start + window], key=lambda n: len(examples[n]))
        found += [near[n : n + size] for n in range(0, len(near), size)]
    rng.shuffle(found)
    for rows in found:
        yield [examples[n] for n in rows]


def plan(examples: Sequence[Tokens], spec: Train) -> list[list[Tokens]]:
    """The batches of all steps, in order."""
    epochs = (batches(examples, spec.batch, f"{spec.seed} {epoch}") for epoch in range(spec.epochs))
    return [batch for epoch in epochs for batch in epoch][: spec.max_steps]

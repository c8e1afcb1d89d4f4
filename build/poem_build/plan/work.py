"""A recipe, its shape and how long its examples are → the work that making and serving its model is."""

from pathlib import Path

from poem_build.models.mixture import file_type
from poem_build.plan.lengths import Lengths
from poem_build.plan.machines import Work
from poem_build.plan.memory import Training
from poem_build.plan.sizes import size
from poem_build.recipe.quantize import MIXTURES, SERVED_MIXTURE
from poem_build.recipe.schema import Recipe
from poem_build.recipe.shape import Shape

_OPERATIONS = {"full": 6}
"""A weight and token: two forward, two for the inputs' gradients, two for its own, if it is trained."""
_SEARCHED = 5
"""How much longer than a K-quant a weight of the `IQ` mixtures takes: two to eight times (docs/log.md)."""
_COPIED = 8
"""Bits from which on a weight is rounded as fast as it is read."""


def work_of(recipe: Recipe, shape: Shape, how: Training | None, lengths: Lengths) -> Work:
    """The recipe's work; `how` is None where nothing is trained."""
    operations = _OPERATIONS.get(how.method, 4) + 2 * how.gradient_checkpointing if how else 0
    tokens, examples = texts_of(recipe, lengths) * lengths.example, trained_examples(recipe, lengths)
    layered = shape.active - sum(matrix.parameters for matrix in shape.embeddings)
    products = 4 * lengths.example * shape.heads * shape.head_dim * shape.layers  # attention's, of each token
    return Work(
        train=float(operations) * lengths.example * examples * shape.active,
        passes=examples / how.micro_batch if how else 0.0,
        weigh=float(tokens) * (2 * layered + products),
        squares=float(tokens) * sum(matrix.columns * matrix.count for matrix in shape.modules),
        rounded=float(shape.parameters) * sum(map(_effort, _rounded(recipe))),
        read=size(shape, SERVED_MIXTURE) * shape.active / shape.parameters * lengths.answer,
    )


def trained_examples(recipe: Recipe, lengths: Lengths) -> int:
    """Those that the training sees, each as often as it does; none where nothing is trained, or was before."""
    spec = recipe.train
    if spec is None or recipe.adapter:
        return 0
    examples = lengths.examples * spec.epochs
    return min(examples, spec.max_steps * spec.batch) if spec.max_steps else examples


def texts_of(recipe: Recipe, lengths: Lengths) -> int:
    """Of the importance matrix; 0 where there is none, as for a GGUF as it comes, or a base that games share."""
    weighed = recipe.quantize.imatrix and not recipe.serve.unmerged and not is_given_gguf(recipe)
    return min(recipe.quantize.texts, lengths.examples) if weighed else 0


def is_given_gguf(recipe: Recipe) -> bool:
    """Whether nothing is made of the base but the file that is served."""
    return recipe.train is None and recipe.base.gguf is not None


def is_served_as_it_is(gguf: Path | None) -> bool:
    """Whether the file is in the mixture that is served."""
    return gguf is not None and file_type(gguf) == SERVED_MIXTURE


def _rounded(recipe: Recipe) -> tuple[str, ...]:
    """The mixtures that are made by rounding."""
    if not is_given_gguf(recipe):
        return recipe.quantize.made
    return () if is_served_as_it_is(recipe.base.gguf) else (SERVED_MIXTURE,)


def _effort(mixture: str) -> int:
    """Beside a K-quant's."""
    return _SEARCHED if mixture.startswith("IQ") else int(MIXTURES[mixture] < _COPIED)
